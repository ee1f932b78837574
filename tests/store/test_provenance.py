"""The digest of code: what a number depends on changes it, and nothing else does."""

import pytest

from salcheck.naming import registry
from salcheck.store import provenance
from salcheck.store.provenance import _bytes


def code_of(*files, **more):
    """As another process would find it."""
    _bytes.cache_clear()
    return provenance.code_of(*files, **more)


FILES = {
    "methods/one.py": "from salcheck.methods._shared import f\nfrom salcheck.room import low\n",
    "methods/two.py": "x = 2\n",
    "methods/_shared.py": "def f():\n    from salcheck.room.late import g\n    return g\n",
    "methods/__init__.py": "import salcheck.formats.csv\n",
    "room/__init__.py": "",
    "room/low.py": "import numpy\n",
    "room/late.py": "g = 1\n",
    "formats/csv.py": "text = 'a'\n",
}


@pytest.fixture
def package(tmp_path, monkeypatch):
    root = tmp_path / "salcheck"
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    for module in (registry, provenance):
        monkeypatch.setattr(module, "PACKAGE", root)
    return root


@pytest.mark.parametrize("name", ["methods/one.py", "methods/_shared.py", "room/low.py", "room/late.py"])
def test_a_change_of_what_is_imported_changes_it(package, name):
    before = code_of(package / "methods" / "one.py")
    (package / name).write_text(FILES[name] + "# changed\n")
    assert code_of(package / "methods" / "one.py") != before


@pytest.mark.parametrize("name", ["methods/two.py", "formats/csv.py", "methods/__init__.py"])
def test_a_change_of_anything_else_does_not(package, name):
    before = code_of(package / "methods" / "one.py")
    (package / name).write_text("changed = True\n")
    assert code_of(package / "methods" / "one.py") == before


def test_a_file_from_outside_counts_with_what_lies_beside_it(package, tmp_path):
    mine, helper = tmp_path / "mine" / "mine.py", tmp_path / "mine" / "helper.py"
    mine.parent.mkdir()
    mine.write_text("import helper\nfrom salcheck.room.late import g\n")
    helper.write_text("a = 1\n")
    seen = {code_of(mine)}
    for file in (helper, package / "room" / "late.py", mine):
        file.write_text(file.read_text() + "# changed\n")
        seen.add(code_of(mine))
    assert len(seen) == 4


def test_a_file_that_counts_alone_counts_without_what_it_imports(package):
    one, two = package / "methods" / "one.py", package / "methods" / "two.py"
    seen = [code_of(two), code_of(two, alone=[one])]
    (package / "room" / "low.py").write_text("changed = True\n")
    assert code_of(two, alone=[one]) == seen[1] != seen[0]
    one.write_text("changed = True\n")
    assert code_of(two, alone=[one]) != seen[1]


def test_within_a_process_it_stays_that_of_the_code_that_was_imported(package):
    before = code_of(package / "methods" / "two.py")
    (package / "methods" / "two.py").write_text("x = 3\n")
    assert provenance.code_of(package / "methods" / "two.py") == before
    assert code_of(package / "methods" / "two.py") != before


LAB = {
    "lab/__init__.py": "",
    "lab/mine.py": "from lab.core import a\nfrom . import near\nfrom .late import c\nimport lab.deep.low\n",
    "lab/core.py": "a = 1\n",
    "lab/near.py": "",
    "lab/late.py": "",
    "lab/deep/__init__.py": "",
    "lab/deep/low.py": "from ..other import b\n",
    "lab/other.py": "b = 1\n",
    "lab/unused.py": "",
}


@pytest.mark.parametrize("name", LAB)
def test_what_an_installed_package_imports_of_itself_counts(package, tmp_path, name):
    root = tmp_path / "site"
    for file, text in LAB.items():
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_text(text)
    before = code_of(root / "lab" / "mine.py")
    (root / name).write_text(LAB[name] + "# changed\n")
    unused = ("lab/unused.py", "lab/__init__.py", "lab/deep/__init__.py")
    assert (code_of(root / "lab" / "mine.py") == before) == (name in unused)


def test_it_is_the_same_wherever_the_package_lies(package, tmp_path, monkeypatch):
    before = code_of(package / "methods" / "one.py")
    moved = tmp_path / "elsewhere" / "salcheck"
    moved.parent.mkdir()
    package.rename(moved)
    monkeypatch.setattr(provenance, "PACKAGE", moved)
    assert code_of(moved / "methods" / "one.py") == before


def test_no_format_and_no_other_method_decides_a_map():
    package = registry.PACKAGE
    names = {provenance._name(file) for file in provenance._imported([package / "methods" / "gradcam.py"])}
    assert "salcheck/network/view.py" in names
    rooms = {name.split("/")[1] for name in names}
    assert not rooms & {"formats", "screen", "report", "runs", "store", "commands", "questions", "__init__.py"}
    assert {name for name in names if name.startswith("salcheck/methods/") and "/_" not in name} == {
        "salcheck/methods/gradcam.py"
    }
