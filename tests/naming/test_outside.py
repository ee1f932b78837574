"""The door: files, modules and installed packages of others, added to the shelves."""

import os
import subprocess
import sys

import pytest

from salcheck import questions
from salcheck.errors import SalcheckError
from salcheck.methods import GROUPS, THE_MODEL, parse_method, parse_methods
from salcheck.naming import outside, registry

METHOD = """
\"\"\"Mine: the first channel.\"\"\"


def saliency(view, classes, *, k: int = 1):
    return view.acts[:, :1].expand(-1, classes.shape[1], -1, -1) * k
"""
QUESTION = """
from salcheck.questions import TOP1, Metric, Question

QUESTION = Question(
    name="mine", title="Mine?", diagnostic="mine", roles=(TOP1,), metric="most",
    metrics={"most": Metric("largest value")}, claim="", source="a test",
)


def score(view, classes, maps, *, scale: float = 1.0):
    raise NotImplementedError
"""


@pytest.fixture
def write(tmp_path):
    def write(text, name="mine.py"):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return str(file)

    return write


def refused(source):
    with pytest.raises(SalcheckError) as caught:
        registry.add(source)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_file_is_named_by_its_path_where_a_name_is_typed(write, tmp_path):
    write(METHOD, "my_own.py")
    method = parse_method("./my_own.py:k=3")
    assert (method.name, method.spec, method.parameters) == ("my-own", "my-own:k=3", {"k": 3})
    assert [m.spec for m in parse_methods(["gradcam,./my_own.py:k=2", "my-own"])] == ["gradcam", "my-own:k=2", "my-own"]
    assert "my-own" in registry.names("methods")
    assert "my-own" not in registry.names("datasets")
    assert registry.source_of("methods", "my-own") == tmp_path / "my_own.py"
    assert "my-own" in [m.name for m in parse_methods(["all"])]


def test_what_was_added_is_listed_in_order_once_and_by_absolute_path(write, tmp_path, monkeypatch):
    files = [write(METHOD, "b.py"), write("def render(report, pictures): ...", "a.py")]
    for source in ("./b.py", "a.py", files[0]):
        registry.add(source)
    assert registry.sources() == files
    monkeypatch.setattr(registry, "_added", {})
    for source in files:
        registry.add(source)
    assert registry.names("formats")[0] == "a"


def test_a_question_is_a_row_and_its_diagnostic_and_is_imported_when_it_is_asked_for(write):
    file = write(QUESTION)
    registry.add(file)
    assert "mine" in registry.names("diagnostics")
    assert questions.names()[-1] == "mine"
    assert not [name for name in sys.modules if name.endswith("_mine") and sys.modules[name].__file__ == file]
    assert questions.known()["mine"].title == "Mine?"
    assert registry.load("diagnostics", "mine").QUESTION is questions.find("mine")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (('name="mine"', 'name="other"'), "is named 'other': name it 'mine', as its file is"),
        (('diagnostic="mine"', 'diagnostic="overlapp"'), "unknown diagnostic 'overlapp': did you mean overlap"),
        (("QUESTION = Question", "QUESTION = dict"), "is no salcheck.questions.Question"),
        (('metric="most"', 'metric="least"'), "its metric 'least' is not one of its metrics"),
        (("roles=(TOP1,)", 'roles=("top1",)'), "role 'top1' is no salcheck.questions.Role"),
    ],
)
def test_a_row_that_cannot_be_used_is_one_line(write, change, says):
    registry.add(write(QUESTION.replace(*change)))
    with pytest.raises(SalcheckError, match=says):
        questions.known()


def test_no_name_is_taken_twice(write):
    assert "salcheck's own methods/gradcam.py" in refused(write(METHOD, "grad_cam.py"))
    assert "for methods that word has another meaning" in refused(write(METHOD, "all.py"))
    registry.add(write(METHOD, "x/mine.py"))
    line = refused(write(METHOD, "y/mine.py"))
    assert "x/mine.py" in line
    assert "y/mine.py" in line
    registry.add(write("def render(report, pictures): ...", "z/mine.py"))  # on another shelf
    assert registry.names("methods").count("mine") == 1
    registry.add(write(QUESTION.replace("mine", "rq1"), "rq1.py"))
    with pytest.raises(SalcheckError, match=r"two questions are called rq1: salcheck's own and '.*rq1.py'"):
        questions.names()


def test_words_with_a_meaning_of_their_own_are_reserved():
    assert {*GROUPS, THE_MODEL} <= set(registry.RESERVED["methods"])


def test_a_source_that_cannot_be_read_is_one_line(write):
    assert "No such file" in refused("missing.py")
    assert "line 2 is no Python" in refused(write("import os\ndef saliency(:\n"))
    assert "defines none of `saliency` (methods), " in refused(write("def saliencies(): ..."))
    assert "install its package, or give the path" in refused("no_such_module")
    assert "No module named 'no_such'" in refused("no_such.module")
    with pytest.raises(SalcheckError, match=r"mine.py' is no method: it does not define `saliency`"):
        parse_method(write("def render(report, pictures): ..."))


def test_an_import_that_fails_is_one_line_whenever_it_is_tried(write):
    registry.add(write(METHOD + "\nraise ValueError('no\\nluck')"))
    for _ in range(2):
        with pytest.raises(SalcheckError, match=r"cannot import '.*mine.py': ValueError: no\nluck; mend it"):
            registry.load("methods", "mine")


def test_a_module_is_found_by_its_name(write, tmp_path, monkeypatch):
    write("", "lab/__init__.py")
    write("from lab.other import saliency\n", "lab/first_channel.py")
    write(METHOD, "lab/other.py")
    monkeypatch.syspath_prepend(tmp_path)
    registry.add("lab.first_channel")
    assert parse_method("first-channel:k=2").parameters == {"k": 2}
    assert registry.sources() == ["lab.first_channel"]
    assert registry.source_of("methods", "first-channel") == tmp_path / "lab" / "first_channel.py"


ANNOUNCED = """
[salcheck.methods]
{name} = lab.cams

[salcheck.questions]
mine = lab.mine

[salcheck.commands]
hello = lab.hello
"""


@pytest.mark.parametrize("name", ["lab_cam", "gradcam"])
def test_installed_packages_announce_theirs(write, tmp_path, name):
    """In a process of its own, from a folder that looks like an installed package."""
    write("", "site/lab/__init__.py")
    write(METHOD, "site/lab/cams.py")
    write(QUESTION, "site/lab/mine.py")
    write('def command() -> None:\n    """Say hello. Nothing more."""\n', "site/lab/hello.py")
    write("Metadata-Version: 2.1\nName: lab\nVersion: 1\n", "site/lab-1.dist-info/METADATA")
    write(ANNOUNCED.format(name=name), "site/lab-1.dist-info/entry_points.txt")
    code = "import sys; sys.path.insert(1, 'site'); from salcheck.cli import main; main()"

    def shown(*words):
        done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
        return done.stdout, done.stderr

    if name == "gradcam":
        line = shown("explain", "--help")[1]
        assert line.startswith(
            "salcheck: two methods are called gradcam: salcheck's own methods/gradcam.py and installed"
        )
        assert "package lab (lab.cams)" in line
        return
    assert "lab-cam" in shown("explain", "--help")[0]
    assert "hello      Say hello." in shown("--help")[0]
    assert "mine: Mine?" in shown("questions")[0]
    assert "lab-cam: Mine: the first channel." in shown("methods")[0]


def test_the_environment_names_plugins_for_every_command(write, monkeypatch):
    files = [write(METHOD, "cam_of_mine.py"), write(QUESTION)]
    monkeypatch.setenv(registry.PLUGINS, os.pathsep.join(files))
    command = [sys.executable, "-m", "salcheck", "eval", "--help"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "cam-of-mine" in "".join(shown.split())
    assert "mine" in shown.split("Options:")[0]
    monkeypatch.setenv(registry.PLUGINS, "missing.py")
    shown = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (shown.returncode, shown.stdout, shown.stderr.count("\n")) == (2, "", 1)


def test_what_defines_a_name_is_a_file_of_a_known_shelf():
    assert set(outside.SHELF_OF.values()) == {"methods", "diagnostics", "questions", "datasets", "formats"}
