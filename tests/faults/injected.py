"""The n-th write, fsync, rename, open, statement or commit of this process fails, or is its last."""

import builtins
import errno
import io
import os
import signal
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy.engine.default import DefaultDialect

DISK = ("open", "write", "fsync", "rename", "mkdir")
SQL = ("statement", "commit")
POINTS = (*DISK, *SQL)
READ = "read"  # a file is opened to be read


@dataclass
class Fault:
    """What happens at the n-th point of a kind below `root`: `full` (and from then on), `broken` (that once) or
    `killed`. hit: called when it happens.
    """

    point: str
    n: int
    what: str
    root: Path
    hit: Callable[[], object] = lambda: None
    seen: int = 0

    def reached(self) -> bool:
        """Whether this point is one that fails."""
        self.seen += 1
        if self.seen == self.n:
            self.hit()
        return self.seen == self.n or (self.what == "full" and self.seen > self.n)

    def happen(self) -> None:
        """The end of the process, or an error as the system would give it."""
        if self.what == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.point in SQL:
            text = "database or disk is full" if self.what == "full" else "disk I/O error"
            raise sqlite3.OperationalError(text)
        code = errno.ENOSPC if self.what == "full" else errno.EIO
        raise OSError(code, os.strerror(code))

    def concerns(self, place: Any) -> bool:
        """Whether a path, or an open file by its number, lies below the root."""
        if isinstance(place, int):
            try:
                place = Path(f"/proc/self/fd/{place}").readlink()
            except OSError:
                return False
        return (Path.cwd() / os.fsdecode(place)).is_relative_to(self.root)


def inject(fault: Fault) -> None:
    """Lays the fault into this process, for good."""
    if fault.point in ("open", "write"):
        _into_open(fault)
    elif fault.point == READ:
        reads = lambda path, flags, *_: not flags & (os.O_WRONLY | os.O_RDWR) and fault.concerns(path)  # noqa: E731
        os.open = _failing(fault, os.open, reads)
    elif fault.point in SQL:
        names = ("do_commit",) if fault.point == "commit" else ("do_execute", "do_executemany")
        for name in names:
            setattr(DefaultDialect, name, _failing(fault, getattr(DefaultDialect, name), lambda *_: True))
    else:
        names = {"fsync": ("fsync",), "rename": ("rename", "replace"), "mkdir": ("mkdir",)}[fault.point]
        for name in names:
            setattr(os, name, _failing(fault, getattr(os, name), lambda *given: fault.concerns(given[0])))


def _failing(fault: Fault, real: Callable[..., Any], counts: Callable[..., bool]) -> Callable[..., Any]:
    def call(*given: Any, **named: Any) -> Any:
        if counts(*given) and fault.reached():
            fault.happen()
        return real(*given, **named)

    return call


def _into_open(fault: Fault) -> None:
    real, real_low = io.open, os.open

    def opened(file: Any, mode: str = "r", *given: Any, **named: Any) -> Any:
        writes = any(sign in mode for sign in "wxa+")
        if not writes or not fault.concerns(file):
            return real(file, mode, *given, **named)
        if fault.point == "open" and not isinstance(file, int) and fault.reached():
            fault.happen()
        found = real(file, mode, *given, **named)
        return Written(found, fault) if fault.point == "write" else found

    def opened_low(path: Any, flags: int, *given: Any, **named: Any) -> int:
        if fault.point == "open" and flags & os.O_CREAT and fault.concerns(path) and fault.reached():
            fault.happen()
        return real_low(path, flags, *given, **named)

    io.open = builtins.open = opened  # type: ignore[assignment]
    os.open = opened_low  # type: ignore[assignment]


class Written:
    """An open file whose writes count. Of the one that fails, half is written."""

    def __init__(self, file: Any, fault: Fault):
        self._file, self._fault = file, fault

    def write(self, data: Any) -> int:
        if self._fault.reached():
            self._file.write(data[: len(data) // 2])
            self._file.flush()
            self._fault.happen()
        return self._file.write(data)

    def truncate(self, size: int | None = None) -> int:
        if self._fault.reached():
            self._fault.happen()
        return self._file.truncate(size)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> "Written":
        self._file.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._file.__exit__(*error)

    def __iter__(self) -> Any:
        return iter(self._file)
