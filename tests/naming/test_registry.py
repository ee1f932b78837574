import pytest

from salcheck.errors import SalcheckError
from salcheck.naming import registry
from salcheck.naming.words import one_line, unknown


@pytest.mark.parametrize("spelling", ["gradcam", "Grad-CAM", "GRAD_CAM"])
def test_spelling_is_forgiven(spelling):
    assert registry.canonical("methods", spelling) == "gradcam"


def test_names_are_the_files_that_are_there(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "PACKAGE", tmp_path)
    (tmp_path / "methods").mkdir()
    for name in ("__init__.py", "_hidden.py", "other_image.py", "case.py", "notes.txt"):
        (tmp_path / "methods" / name).touch()
    assert registry.names("methods") == ["case", "other-image"]
    assert registry.canonical("methods", "otherimage") == "other-image"


def test_every_name_loads():
    for kind in ("methods", "diagnostics", "datasets", "formats"):
        assert all(registry.load(kind, name).__doc__ for name in registry.names(kind))


def test_an_unknown_name_is_told_the_nearest_and_all():
    with pytest.raises(SalcheckError, match=r"unknown method 'gradcan': did you mean gradcam.*known: ablationcam, "):
        registry.load("methods", "gradcan")


def test_a_long_list_is_not_recited():
    line = unknown("class", "zzzzzz", [f"class {i}" for i in range(1000)])
    assert line == "unknown class 'zzzzzz': no name comes near"


def test_text_of_strangers_stays_on_one_line_and_moves_no_cursor():
    assert one_line("a\nb\t\x1b[31mc\udcff é 日") == "a b \\x1b[31mc\\udcff é 日"


def test_flagged_files_are_those_that_say_so_at_their_top_level_and_none_is_imported(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "PACKAGE", tmp_path)
    (tmp_path / "methods").mkdir()
    texts = {
        "other_image": "raise RuntimeError\nALWAYS = True\n",
        "case": "CONTROL = True\n",
        "edges": "ALWAYS = False\n",
        "local": "def saliency():\n    ALWAYS = True\n",
        "told": '"""ALWAYS = True"""\n',
        "center": "CONTROL = ALWAYS = True\n",
        "_hidden": "ALWAYS = True\n",
    }
    for name, text in texts.items():
        (tmp_path / "methods" / f"{name}.py").write_text(text)
    assert registry.flagged("methods", "ALWAYS") == ["center", "other-image"]


def test_standing_controls_are_flagged():
    assert registry.flagged("methods", "ALWAYS") == [
        name for name in registry.names("methods") if getattr(registry.load("methods", name), "ALWAYS", False)
    ]
    assert {"center", "edges", "random"} <= set(registry.flagged("methods", "ALWAYS"))
