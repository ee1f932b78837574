"""Datasets whose items are image files below a folder."""

import os
from collections.abc import Iterable
from pathlib import Path

from salcheck.datasets import Dataset, Item
from salcheck.errors import SalcheckError
from salcheck.images import SUFFIXES, read_image


def images_below(root: Path) -> list[Path]:
    """Image files below `root` at any depth by their suffix, sorted; hidden ones are left out."""
    found = (path for path in root.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    return sorted(path for path in found if not any(part.startswith(".") for part in path.relative_to(root).parts))


def require_folder(root: Path | None, layout: str) -> Path:
    """`root` as a folder that is there; raises SalcheckError that says the expected layout."""
    if root is None:
        raise SalcheckError(f"no folder given: add --data DIR, laid out as {layout}")
    if not root.is_dir():
        raise SalcheckError(f"no folder '{root}': --data takes a folder laid out as {layout}")
    return root


def file_dataset(name: str, root: Path, files: Iterable[tuple[Path, tuple[int, ...]]]) -> Dataset:
    """A dataset of image files with their labels, keyed by their path below `root`.

    The fingerprint is the file's size: enough to notice another image under the same name without
    reading 50,000 files, and the same after a copy to another machine.
    """
    paths = {_key(path, root): (path, labels) for path, labels in files}
    items = [Item(key, labels, str(path.stat().st_size)) for key, (path, labels) in sorted(paths.items())]
    if not items:
        raise SalcheckError(f"no images in '{root}': files end in {', '.join(sorted(SUFFIXES))}")
    return Dataset(name, str(root), items, lambda item: read_image(paths[item.key][0]), lambda item: paths[item.key][0])


def _key(path: Path, root: Path) -> str:
    # A file name may hold any bytes; what is no UTF-8 is escaped so that a database can store it.
    return os.fsencode(path.relative_to(root).as_posix()).decode("utf-8", "backslashreplace")
