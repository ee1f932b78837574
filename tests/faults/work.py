"""Pieces of work to be disturbed, and what is left of each when it is done."""

import contextlib
import functools
import hashlib
import lzma
import shutil
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from salcheck.store.scratch import MARK
from tests.faults import child
from tests.makers import save_images, save_model

VIEWS = {
    "scores": "SELECT question, method, metric, level, image, value, note, kind FROM all_scores",
    "maps": "SELECT method, role, image, checksum, signature FROM all_maps",
    "facts": "SELECT method, role, image, name, value FROM all_facts",
    "predictions": "SELECT * FROM all_predictions",
}


@dataclass(frozen=True)
class Work:
    """A command in a folder; before: what is called on the folder first; left: what is there when it is done."""

    name: str
    command: Sequence[str]
    left: Callable[[Path], Any]
    before: Callable[[Path], object] = lambda folder: None

    def fresh(self, folder: Path) -> Path:
        """An empty folder in which the work can be done."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self.before(folder)
        return folder

    def undisturbed(self, folder: Path) -> Any:
        """What the work leaves when nothing happens."""
        ended = child.run(self.fresh(folder), self.command)
        if ended.code:
            raise AssertionError(f"{self.name} fails undisturbed: {ended.err[-2000:]}")
        return self.left(folder)


def rows(folder: Path) -> dict[str, list[Any]]:
    """Every row of the folder's database by names, with the maps as they are in the cache."""
    with contextlib.closing(sqlite3.connect(folder / "salcheck.db")) as database:
        found = {name: sorted(map(repr, database.execute(sql))) for name, sql in VIEWS.items()}
        damaged = (
            database.execute("PRAGMA integrity_check").fetchall()
            + database.execute("PRAGMA foreign_key_check").fetchall()
        )
    return {**found, "damaged": damaged, "scratch": scratch(folder)}


def scratch(folder: Path) -> list[str]:
    """What was left of things that were never finished."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob(f"{MARK}*"))


def files(*patterns: str) -> Callable[[Path], dict[str, Any]]:
    """The content of these files, and what scratch is there."""

    def of(folder: Path) -> dict[str, Any]:
        found = {str(p.relative_to(folder)): p for pattern in patterns for p in sorted(folder.glob(pattern))}
        digests = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in found.items()}
        return {**digests, "scratch": scratch(folder)}

    return of


def pieces(made: Path) -> dict[str, Work]:
    """Every piece of work, its inputs in the folder `made`."""
    arch = save_model(made / "model", side=64)
    images = save_images(made / "images", classes=5, each=4)
    few = ["--arch", arch, "--data", str(images), "--all-images", "--n", "4", "--batch-size", "2"]
    asked = ["eval", "rq1", *few, "-m", "gradcam,diffcam,libracam:p_top=0", "--layer", "layer3"]
    scored = made / "scored"
    if not scored.exists():
        done = child.run(scored, ["eval", "deletion", *few, "-m", "gradcam"])
        assert done.code == 0, done.err
    copy = functools.partial(shutil.copy, scored / "salcheck.db")
    picture = str(images / "0" / "0.png")
    return {
        "eval": Work("eval", asked, rows),
        "report": Work("report", ["report", "--out", "report.md"], files("*.md", "*.png"), before=copy),
        "explain": Work(
            "explain", ["explain", picture, "--arch", arch, "-m", "gradcam", "--raw", "raw"], files("*.png", "raw/*")
        ),
        "train": Work(
            "train",
            ["train", "--dataset", "folder", "--data", str(images), "--steps", "4", "--out", "net"],
            files("net/*"),
        ),
    }


OLD = Path(__file__).parents[1] / "assets" / "study_0001.db.xz"


def old_database(folder: Path) -> None:
    """The database of an older schema."""
    (folder / "salcheck.db").write_bytes(lzma.decompress(OLD.read_bytes()))


def stored(folder: Path) -> dict[str, Any]:
    """Every table of the database and the report."""
    with contextlib.closing(sqlite3.connect(folder / "salcheck.db")) as database:
        names = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        tables = {name: sorted(map(repr, database.execute(f'SELECT * FROM "{name}"'))) for name in names}
    return {**tables, "report": (folder / "report.json").read_text(), "scratch": scratch(folder)}
