"""Which code made a number."""

import ast
import functools
import hashlib
from collections.abc import Iterator, Sequence
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
    return file.relative_to(PACKAGE).as_posix() if file.is_relative_to(PACKAGE) else file.name


@functools.lru_cache(maxsize=1024)
def _imports(file: Path, source: bytes) -> tuple[Path, ...]:
    """The files that one file imports by name: of salcheck, or of its own folder where it lies outside."""
    places = [PACKAGE.parent] if file.is_relative_to(PACKAGE) else [PACKAGE.parent, file.parent]
    names = [name for name in _names(ast.parse(source)) if name]
    return tuple(path for name in names for place in places if (path := _file(place, name)))


def _names(tree: ast.AST) -> Iterator[str]:
    """Dotted names of what may be modules: `a.b` of `import a.b`, and both `a` and `a.b` of `from a import b`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (module for module in modules if _file(PACKAGE.parent, module))
            # A package is read for what is defined in it, not for its modules.
            if not all(_file(PACKAGE.parent, module) for module in modules):
                yield node.module


def _file(place: Path, module: str) -> Path | None:
    path = place.joinpath(*module.split("."))
    if place == PACKAGE.parent and path.parts[: len(PACKAGE.parts)] != PACKAGE.parts:
        return None
    candidates = (path.with_name(f"{path.name}.py"), path / "__init__.py")
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def _bytes(file: Path) -> bytes:
    return file.read_bytes()
