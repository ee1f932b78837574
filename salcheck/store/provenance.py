"""Which code made a number."""

import ast
import functools
import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from salcheck.naming.registry import PACKAGE


def code_of(*files: Path, alone: Sequence[Path] = ()) -> str:
    """SHA-256 over these source files and every file of salcheck that they import, directly or not, and no others.

    alone: files that count without what they import.

    Imports are read from the text, those inside functions too. Of a file outside of salcheck, the files that it imports
    from its own folder count as well.
    """
    digest = hashlib.sha256()
    for file in sorted(_imported(files) | {file.resolve() for file in alone}, key=_name):
        digest.update(f"{_name(file)}\n".encode() + _bytes(file))
    return digest.hexdigest()


def _imported(files: Sequence[Path]) -> set[Path]:
    found: set[Path] = set()
    waiting = [file.resolve() for file in files]
    while waiting:
        file = waiting.pop()
        if file not in found:
            found.add(file)
            waiting += _imports(file, _bytes(file))
    return found


def _name(file: Path) -> str:
    """The same on every machine."""
    return file.relative_to(_home(file)).as_posix()


def _home(file: Path) -> Path:
    """The folder that a file's imports are looked up in: that of its outermost package, or its own."""
    if file.is_relative_to(PACKAGE):
        return PACKAGE.parent
    place = file.parent
    while (place / "__init__.py").is_file():
        place = place.parent
    return place


@functools.lru_cache(maxsize=4096)
def _imports(file: Path, source: bytes) -> tuple[Path, ...]:
    """The files that one file imports by name: of salcheck, or of its own home where it lies outside."""
    places = list(dict.fromkeys([PACKAGE.parent, _home(file)]))
    own = file.relative_to(_home(file)).with_suffix("").parts

    def find(name: Sequence[str]) -> Path | None:
        return next((path for place in places if (path := _file(place, name))), None)

    return tuple(path for name in _names(ast.parse(source), own, find) if (path := find(name)))


def _names(
    tree: ast.AST, own: Sequence[str], find: Callable[[Sequence[str]], Path | None]
) -> Iterator[tuple[str, ...]]:
    """What may be modules: a.b of `import a.b`; a.b and, if b is none, a of `from a import b`, relative ones too.

    own: the importing module's name in parts. A package is read for what is defined in it, not for its modules.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (tuple(alias.name.split(".")) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = tuple(own[: len(own) - node.level]) if node.level else ()
            whole = (*base, *(node.module.split(".") if node.module else ()))
            modules = [(*whole, alias.name) for alias in node.names]
            yield from modules
            if not all(find(module) for module in modules):
                yield whole


def _file(place: Path, module: Sequence[str]) -> Path | None:
    path = place.joinpath(*module)
    if not module or (place == PACKAGE.parent and module[0] != PACKAGE.name):
        return None
    candidates = (path.with_name(f"{path.name}.py"), path / "__init__.py")
    return next((candidate for candidate in candidates if candidate.is_file()), None)


@functools.cache
def _bytes(file: Path) -> bytes:
    """Read once in a process: what is edited later has not been imported."""
    return file.read_bytes()
