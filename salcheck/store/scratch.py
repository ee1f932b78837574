"""Scratch: what is filled under a name of its own and renamed when it is whole. What a killed process left of it is
found and removed.

Whoever fills a scratch file or folder holds a lock on it, which ends with the process. One without a lock is nobody's.
"""

import contextlib
import functools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, TypeVar

try:
    import fcntl
except ImportError:  # a system without such locks: nothing is removed there
    fcntl = None  # type: ignore[assignment]

T = TypeVar("T", int, int | None)
MARK = ".salcheck-"  # how the names begin


@contextlib.contextmanager
def scratch_file(folder: Path, suffix: str = "") -> Iterator[tuple[BinaryIO, Path]]:
    """A new file in the folder, open to be written, and its path. It is removed unless it was renamed."""
    with _held(folder, lambda: _new_file(folder, suffix)) as (handle, path), os.fdopen(handle, "w+b") as out:
        yield out, path


@contextlib.contextmanager
def scratch_folder(folder: Path) -> Iterator[Path]:
    """A new folder in the folder, removed at the end unless it was renamed."""
    with _held(folder, lambda: _new_folder(folder)) as (handle, path):
        try:
            yield path
        finally:
            if handle is not None:
                os.close(handle)


@functools.cache  # once in a process
def sweep(folder: Path) -> None:
    """Removes the scratch files and folders here that no process holds any more."""
    for path in _marked(folder):
        with contextlib.suppress(OSError):
            _remove_if_free(path)


def _marked(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            found = [entry for entry in entries if entry.name.startswith(MARK)]
            return [Path(e.path) for e in found if e.is_dir(follow_symlinks=False) or e.is_file(follow_symlinks=False)]
    except OSError:
        return []


def _remove_if_free(path: Path) -> None:
    if fcntl is None:
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)  # an OSError where somebody holds it
        _remove(path)
    finally:
        os.close(handle)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _new_file(folder: Path, suffix: str) -> tuple[int, Path]:
    handle, name = tempfile.mkstemp(dir=folder, prefix=MARK, suffix=suffix)
    return handle, Path(name)


def _new_folder(folder: Path) -> tuple[int | None, Path]:
    path = Path(tempfile.mkdtemp(dir=folder, prefix=MARK))
    return None if fcntl is None else os.open(path, os.O_RDONLY), path


@contextlib.contextmanager
def _held(folder: Path, make: Callable[[], tuple[T, Path]]) -> Iterator[tuple[T, Path]]:
    """Something new with a lock on it; made again where it was taken for nobody's before it was locked."""
    sweep(folder)
    while True:
        handle, path = make()
        if fcntl is None or not isinstance(handle, int):
            break
        with contextlib.suppress(OSError):  # a file system without locks: nothing is removed there
            fcntl.flock(handle, fcntl.LOCK_EX)
        if path.exists():
            break
        os.close(handle)
    try:
        yield handle, path
    finally:
        _remove(path)
