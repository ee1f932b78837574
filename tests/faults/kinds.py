"""Every kind of fault: what is tried, and what was lost in it. Each kind is a function of a workshop, that yields."""

import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.faults import child, work
from tests.faults.injected import POINTS, READ, Fault

ALL = 10**6


@dataclass(frozen=True)
class Workshop:
    """Where faults are tried. made: inputs that are never disturbed. short: a few of each kind."""

    root: Path
    short: bool

    @property
    def made(self) -> Path:
        return self.root / "made"

    def folder(self, name: str = "tried") -> Path:
        return self.root / name


@dataclass(frozen=True)
class Trial:
    """One fault. lost: what was wrong afterwards, "" where nothing was."""

    name: str
    lost: str = ""


Kind = Callable[[Workshop], Iterator[Trial]]
# Which n of which work the short form tries.
FEW = {
    "full": {"eval": (4,), "train": (2,), "report": (2,)},
    "broken": {"eval": (6,)},
    "killed": {"eval": (2, 9), "train": (3,)},
}


def full_disk(shop: Workshop) -> Iterator[Trial]:
    """From the n-th write, fsync, rename, open, statement or commit on there is no room."""
    return _each_point(shop, "full")


def broken_disk(shop: Workshop) -> Iterator[Trial]:
    """The n-th of them alone fails with EIO."""
    return _each_point(shop, "broken")


def killed(shop: Workshop) -> Iterator[Trial]:
    """kill -9 at the n-th of them: in the reference pass, while scoring, in training, while a report is written."""
    return _each_point(shop, "killed")


def _each_point(shop: Workshop, what: str) -> Iterator[Trial]:
    for name, piece in work.pieces(shop.made).items():
        if shop.short and name not in FEW[what]:
            continue
        calm = piece.undisturbed(shop.folder("calm"))
        for point in POINTS:
            for n in FEW[what][name] if shop.short else range(1, ALL):
                folder = piece.fresh(shop.folder())
                disturbed = child.run(folder, piece.command, Fault(point, n, what, folder))
                if not disturbed.hit:
                    break
                yield Trial(f"{name}, {point} {n}", disturbed.sound() or _again(piece, folder, calm))


def killed_twice(shop: Workshop) -> Iterator[Trial]:
    """kill -9, the resume killed, and the resume of that resume."""
    piece = work.pieces(shop.made)["eval"]
    calm = piece.undisturbed(shop.folder("calm"))
    for point in ("write", "rename", "commit") if shop.short else POINTS:
        for n in (4,) if shop.short else range(1, ALL):
            folder = piece.fresh(shop.folder())
            if not child.run(folder, piece.command, Fault(point, n, "killed", folder)).hit:
                break
            for again in (1 + n // 2, 1 + n // 3):
                child.run(folder, piece.command, Fault(point, again, "killed", folder))
            yield Trial(f"{point} {n}", _again(piece, folder, calm))


def _again(piece: work.Work, folder: Path, calm: object) -> str:
    """What is wrong with what the same command leaves now, "" where it leaves what an undisturbed one does."""
    ended = child.run(folder, piece.command)
    if ended.code:
        return f"called again, it fails: {ended.err[-300:]}"
    left = piece.left(folder)
    return "" if left == calm else f"something else is left: {_differing(left, calm)}"


def _differing(left: object, calm: object) -> str:
    if not isinstance(left, dict) or not isinstance(calm, dict):
        return repr(left)[:200]
    return ", ".join(name for name in sorted({*left, *calm}) if left.get(name) != calm.get(name))


def small_disk(shop: Workshop) -> Iterator[Trial]:
    """A real file system that is full, larger and larger; only where this user may mount one."""
    piece, disk = work.pieces(shop.made)["eval"], shop.folder("disk")
    disk.mkdir(exist_ok=True)
    calm = piece.undisturbed(shop.folder("calm"))
    for size in (120, 300) if shop.short else range(40, 2000, 40):
        if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}k", "none", disk], check=False).returncode:
            return
        try:
            folder = piece.fresh(disk / "work")
            first = child.run(folder, piece.command)
            subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
            yield Trial(f"{size} kB", first.sound() or _again(piece, folder, calm))
        finally:
            subprocess.run(["umount", "--lazy", disk], check=True)
        if first.code == 0:
            return


def killed_migration(shop: Workshop) -> Iterator[Trial]:
    """kill -9 while an old database is brought up to date."""
    old = shop.folder("old")
    command = ["report", "--run", "1", "--out", "report.json"]
    piece = work.Work("migration", command, work.stored, before=work.old_database)
    calm = piece.undisturbed(old)
    for point in ("statement", "commit"):
        for n in (1, 40) if shop.short else range(1, ALL):
            folder = piece.fresh(shop.folder())
            if not child.run(folder, command, Fault(point, n, "killed", folder)).hit:
                break
            yield Trial(f"{point} {n}", _again(piece, folder, calm))


def signals(shop: Workshop) -> Iterator[Trial]:
    """Ctrl-C once, twice, and SIGTERM, at any moment of every command."""
    pieces = work.pieces(shop.made)
    commands = {name: (piece.command, piece) for name, piece in pieces.items()}
    commands |= {name: ([name], None) for name in ("methods", "questions", "demo")}
    commands["new"] = (["new", "method", "mine"], None)
    if shop.short:
        commands = {name: commands[name] for name in ("eval", "train", "report", "methods")}
    moments = (0.4,) if shop.short else (0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.3, 1.6, 2.0, 3.0)
    for name, (command, piece) in commands.items():
        calm = piece.undisturbed(shop.folder("calm")) if piece else None
        for sent in ((signal.SIGTERM,), (signal.SIGINT,), (signal.SIGINT, signal.SIGINT)):
            for moment in moments:
                folder = shop.folder()
                if piece:
                    piece.fresh(folder)
                else:
                    shutil.rmtree(folder, ignore_errors=True)
                number = child.start(folder, command, within=lambda m=moment, s=sent: _later(m, s))  # type: ignore[misc]
                lost = _stopped(child.ended(number), 128 + sent[0])
                said = f"{name}, {'+'.join(one.name for one in sent)} after {moment:g} s"
                yield Trial(said, lost or (_again(piece, folder, calm) if piece else ""))


def _later(moment: float, sent: tuple[signal.Signals, ...]) -> None:
    """Sends signals to this process in a moment, at once one after another."""

    def send() -> None:
        for one in sent:
            os.kill(os.getpid(), one)
            threading.Event().wait(0.01)

    timer = threading.Timer(moment, send)
    timer.daemon = True
    timer.start()


def _stopped(ended: child.Ended, code: int) -> str:
    if ended.code == 0:  # it was quicker
        return ""
    if ended.code != code:
        return f"exit code {ended.code}: {ended.err[-300:]}"
    lines = [line for line in ended.err.splitlines() if line.startswith("salcheck: stopped")]
    whole = "Traceback" not in ended.err and "Exception ignored" not in ended.err
    return "" if len(lines) == 1 and whole else f"not one line: {ended.err[-600:]}"


def unreadable(shop: Workshop) -> Iterator[Trial]:
    """The n-th time that an image is opened, the disk does not give it: a note, or a picture left out."""
    pieces = work.pieces(shop.made)
    for name in ("eval", "train"):
        for n in (1, 25, 45) if shop.short else range(1, ALL):
            folder = pieces[name].fresh(shop.folder())
            fault = Fault(READ, n, "broken", shop.made / "images")
            ended = child.run(folder, pieces[name].command, fault)
            if not ended.hit:
                break
            went_on = "" if ended.code == 0 else f"one bad file ended it: {ended.err[-300:]}"
            yield Trial(f"{name}, opened for the {n}. time", ended.sound() or went_on)


def pipes(shop: Workshop) -> Iterator[Trial]:
    """A pipe in the place of every file that is read."""
    pieces = work.pieces(shop.made)
    piece, folder = pieces["eval"], shop.folder()
    ended = child.run(piece.fresh(folder), piece.command)
    kept = [path for path in sorted((folder / "cache").rglob("*")) if path.is_file()]
    for path in kept[:: max(1, len(kept) // 4)] if shop.short else kept:
        path.unlink()
        os.mkfifo(path)
        command = [word.replace("rq1", "rq1:percent=20") for word in piece.command]  # of the same maps
        ended = child.ended(child.start(folder, command))
        yield Trial(f"eval, {path.relative_to(folder)}", ended.sound() or ("" if ended.code == 0 else "it waits"))
        path.unlink()
    os.mkfifo(pieces["explain"].fresh(folder) / "pipe")
    for command in (
        ["explain", "pipe", "--arch", "scenes"],
        ["explain", "pipe", "--arch", "resnet", "--checkpoint", "pipe"],
        ["report", "--db", "pipe"],
        ["eval", "rq1", "--arch", "scenes", "--db", "pipe"],
        ["methods", "--plugin", "pipe"],
    ):
        ended = child.ended(child.start(folder, command))
        yield Trial(" ".join(command), "" if ended.code in (1, 2) and "Traceback" not in ended.err else repr(ended))


KINDS: dict[str, Kind] = {
    "full-disk": full_disk,
    "broken-disk": broken_disk,
    "small-disk": small_disk,
    "killed": killed,
    "killed-twice": killed_twice,
    "killed-migration": killed_migration,
    "signals": signals,
    "unreadable": unreadable,
    "pipes": pipes,
}
