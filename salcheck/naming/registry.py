"""The registry: how what a user types finds its file.

A thing on a shelf (a method, diagnostic, dataset, format, command, engine) is a file in `salcheck/<shelf>/`, a module
that an installed package announces (entry points of the group `salcheck.<shelf>`), or a file or module that was added
in this process: by its path where a name is typed, or by --plugin. No two may have one name.
"""

import ast
import os
from pathlib import Path
from types import ModuleType

from salcheck.errors import SalcheckError
from salcheck.naming import outside
from salcheck.naming.outside import Brought, Source
from salcheck.naming.words import unknown

PACKAGE = Path(__file__).resolve().parents[1]
PLUGINS = "SALCHECK_PLUGINS"  # the environment variable that names files and modules to add
RESERVED = {"methods": ("all", "quick", "model")}  # words with a meaning of their own where a name is typed

_added: dict[str, Brought] = {}  # by absolute path or module name, in the order in which they were added


def add(source: str) -> Brought:
    """Adds a file (`./mine.py`) or a module (`lab.mine`), once; what it brings is told by what it defines.

    Raises SalcheckError where it cannot be read, brings nothing, or has the name of another thing on its shelf.
    """
    brought = outside.read(source)
    for shelf in brought.shelves:
        check_free(shelf, brought.name, brought.source)
    _added.setdefault(str(brought.source.file or brought.source.module), brought)
    return brought


def check_free(shelf: str, name: str, source: Source) -> None:
    """Raises SalcheckError where another source has this name on the shelf, or the name is a word with a meaning."""
    _check(shelf, name, source, {**_own(shelf), **brought_to(shelf)})


def add_from_environment() -> None:
    """Adds what SALCHECK_PLUGINS names, divided as PATH is; raises SalcheckError as `add` does."""
    for source in filter(None, os.environ.get(PLUGINS, "").split(os.pathsep)):
        add(source)


def sources() -> list[str]:
    """What was added in this process, in order: absolute paths and module names, as `add` takes them in another one."""
    return list(_added)


def brought_to(shelf: str) -> dict[str, Source]:
    """What others brought to a shelf, by name; raises SalcheckError where an installed package takes a name twice."""
    found = {brought.name: brought.source for brought in _added.values() if shelf in brought.shelves}
    for name, source in outside.installed(shelf).items():
        _check(shelf, name, source, {**_own(shelf), **found})
        found[name] = source
    return found


def names(shelf: str) -> list[str]:
    """Names of what is on a shelf, sorted, as a user types them (`other-image`).

    Imports nothing, so that `--help` stays quick.
    """
    return sorted({*_own(shelf), *brought_to(shelf)})


def load(shelf: str, name: str) -> ModuleType:
    """The module of a name; spelling is forgiven (`Grad-CAM`, `gradcam++`), and a path (`./mine.py`) is added.

    Raises SalcheckError with the nearest names where there is none, and where another's module cannot be imported.
    """
    return _source(shelf, canonical(shelf, name)).load()


def source_of(shelf: str, name: str) -> Path:
    """The file that a name comes from; raises SalcheckError with the nearest names where there is none."""
    return _source(shelf, canonical(shelf, name)).path


def flagged(shelf: str, flag: str) -> list[str]:
    """Names of salcheck's own files on a shelf with the line `flag = True`, sorted. Imports none of them."""
    files = {name: PACKAGE / shelf / f"{name.replace('-', '_')}.py" for name in _own(shelf)}
    return sorted(name for name, file in files.items() if _is_set(file, flag))


def _is_set(file: Path, flag: str) -> bool:
    """Whether a module sets `flag` to True at its top level."""
    return any(
        isinstance(line, ast.Assign)
        and isinstance(line.value, ast.Constant)
        and line.value.value is True
        and any(isinstance(target, ast.Name) and target.id == flag for target in line.targets)
        for line in ast.parse(file.read_text(encoding="utf-8")).body
    )


def canonical(shelf: str, name: str) -> str:
    """The one spelling of a name on a shelf; of a path (`./mine.py`), the name of what it brings, which is added.

    Raises SalcheckError with the nearest names, or for a file that brings nothing to this shelf.
    """
    if name.endswith(".py"):
        brought = add(name)
        if shelf not in brought.shelves:
            wanted = ", ".join(key for key, value in outside.SHELF_OF.items() if value == shelf)
            raise SalcheckError(f"{brought.source.words} is no {_singular(shelf)}: it does not define `{wanted}`")
        return brought.name
    found = {_plain(known): known for known in names(shelf)}
    if _plain(name) in found:
        return found[_plain(name)]
    raise SalcheckError(unknown(_singular(shelf), name, names(shelf)))


def _own(shelf: str) -> dict[str, Source]:
    """The files of salcheck's own folder, by name."""
    stems = [file.stem for file in (PACKAGE / shelf).glob("*.py") if not file.stem.startswith("_")]
    return {
        stem.replace("_", "-"): Source(f"salcheck's own {shelf}/{stem}.py", module=f"salcheck.{shelf}.{stem}")
        for stem in stems
    }


def _source(shelf: str, name: str) -> Source:
    return (_own(shelf) | brought_to(shelf))[name]


def _check(shelf: str, name: str, source: Source, there: dict[str, Source]) -> None:
    """Raises SalcheckError where another source on the shelf has the name, in whatever spelling, or a word has it."""
    if _plain(name) in map(_plain, RESERVED.get(shelf, ())):
        raise SalcheckError(f"{source.words} cannot be called {name}: for {shelf} that word has another meaning")
    taken = {_plain(known): one for known, one in there.items()}.get(_plain(name))
    if taken is not None and not source.same(taken):
        what = f"two {shelf} are called {name}"
        raise SalcheckError(f"{what}: {taken.words} and {source.words}; rename one of them, or leave it out")


def _singular(shelf: str) -> str:
    return shelf.removesuffix("s")


def _plain(name: str) -> str:
    return name.lower().replace("+", "p").replace("-", "").replace("_", "")
