"""What others bring: files and modules outside salcheck's own folders, and packages that announce theirs.

What a file brings is told by the names that it defines. They are read from its text, so that nothing is imported
before it is asked for.
"""

import ast
import functools
import hashlib
import importlib
import importlib.metadata
import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from salcheck.errors import SalcheckError
from salcheck.naming.files import read_file

SHELF_OF = {
    "saliency": "methods",
    "score": "diagnostics",
    "QUESTION": "questions",
    "open_dataset": "datasets",
    "render": "formats",
}
ALSO = {"questions": ("questions", "diagnostics")}  # a question's module is its diagnostic too


@dataclass(frozen=True)
class Source:
    """Where a thing comes from: a file that was named by its path, or a module; `words` say it in messages."""

    words: str
    module: str = ""
    file: Path | None = None

    @property
    def path(self) -> Path:
        """The file of Python text; raises SalcheckError where there is none."""
        return self.file or _file_of(self.module, self.words)

    def same(self, other: "Source") -> bool:
        """Whether both are one file."""
        return self == other or self.path.resolve() == other.path.resolve()

    def load(self) -> ModuleType:
        """The module, imported once; raises SalcheckError, one line, where another's import fails."""
        if self.module.startswith("salcheck."):
            return importlib.import_module(self.module)  # what goes wrong there is a defect of salcheck
        try:
            return importlib.import_module(self.module) if self.module else _run(self.path)
        except SalcheckError:
            raise
        except Exception as error:  # the text of strangers may raise anything
            said = f"{type(error).__name__}: {error}"
            raise SalcheckError(f"cannot import {self.words}: {said}; mend it, or leave it out") from error


@dataclass(frozen=True)
class Brought:
    """A source, the name of what it brings, and the shelves that this stands on."""

    name: str
    source: Source
    shelves: tuple[str, ...]


def read(typed: str) -> Brought:
    """What a file (`./mine.py`) or a module (`lab.mine`) brings, without importing it.

    Raises SalcheckError for one that is not there, is no Python, or defines none of the names that are asked for.
    """
    if typed.endswith(".py"):
        file = Path(typed).expanduser().resolve()
        source, stem = Source(f"'{file}'", file=file), file.stem
    else:
        source, stem = Source(f"module '{typed}'", module=typed), typed.rpartition(".")[2]
    there = _defined(source)
    shelves = tuple(shelf for name, shelf in SHELF_OF.items() if name in there)
    if not shelves:
        wanted = ", ".join(f"`{name}` ({shelf})" for name, shelf in SHELF_OF.items())
        raise SalcheckError(f"{source.words} brings nothing that salcheck knows: it defines none of {wanted}")
    return Brought(stem.replace("_", "-"), source, shelves)


@functools.cache
def installed(shelf: str) -> dict[str, Source]:
    """What installed packages announce in `[project.entry-points."salcheck.<shelf>"]`, by name."""
    found = {}
    for group in (group for group in (shelf, *ALSO) if shelf in ALSO.get(group, (group,))):
        for point in _points().select(group=f"salcheck.{group}"):
            package = point.dist.name if point.dist else "an unnamed package"
            source = Source(f"installed package {package} ({point.module})", module=point.module)
            found[point.name.replace("_", "-")] = source
    return found


@functools.cache
def _points() -> Any:
    """Entry points of all packages: an object with `select`, of one type until Python 3.11 and another from 3.12 on.

    Read once: it takes 15 ms, and more where there are many packages.
    """
    return importlib.metadata.entry_points()


def _defined(source: Source) -> set[str]:
    """The names that a module binds at its top level."""
    try:
        tree = ast.parse(read_file(source.path))
    except OSError as error:
        raise SalcheckError(f"cannot read {source.words}: {error.strerror}; give the path of a .py file") from error
    except (SyntaxError, ValueError) as error:
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) else ""
        raise SalcheckError(f"{source.words}{line} is no Python: {error}") from error
    return {name for statement in tree.body for name in _bound(statement)}


def _bound(statement: ast.stmt) -> list[str]:
    if isinstance(statement, ast.FunctionDef):
        return [statement.name]
    if isinstance(statement, ast.ImportFrom):
        return [alias.asname or alias.name for alias in statement.names]
    targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _file_of(module: str, words: str) -> Path:
    try:
        spec = importlib.util.find_spec(module)
    except Exception as error:  # a parent package that cannot be imported, or a name that is none
        raise SalcheckError(f"cannot import {words}: {type(error).__name__}: {error}") from error
    if spec is None or spec.origin is None or not spec.has_location:
        raise SalcheckError(f"no {words} can be imported: install its package, or give the path of a .py file")
    return Path(spec.origin)


def _run(file: Path) -> ModuleType:
    """The module of a file in no package, under a name that no other file has."""
    name = f"_outside_{hashlib.sha256(str(file).encode()).hexdigest()[:12]}_{file.stem}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, file)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # dataclasses and pickle look a module up by its name
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
    return sys.modules[name]
