"""Datasets whose items are image files below a folder."""

import contextlib
import os
import zlib
from collections.abc import Iterable
from pathlib import Path

from salcheck.datasets import Dataset, Item, portable
from salcheck.datasets._images import SUFFIXES, read_image
from salcheck.errors import SalcheckError
from salcheck.naming.files import open_file

PIECE = 4096  # bytes


def images_below(root: Path) -> list[Path]:
    """Image files below `root` at any depth by their suffix, sorted; hidden ones are left out, links followed. One that
    cannot be read is among them; raises SalcheckError for a folder that cannot be listed, whose images nobody knows.
    """

    def refuse(error: OSError) -> None:
        raise SalcheckError(f"cannot list the folder '{error.filename}': {error.strerror}") from error

    found: list[Path] = []
    if not root.is_dir():
        return found
    seen: set[str] = set()
    for place, folders, files in os.walk(root, onerror=refuse, followlinks=True):
        real = os.path.realpath(place)
        # A link may lead back to where it lies.
        folders[:] = [] if real in seen else [name for name in folders if not name.startswith(".")]
        found += [] if real in seen else [Path(place, name) for name in files if not name.startswith(".")]
        seen.add(real)
    return sorted(path for path in found if path.suffix.lower() in SUFFIXES and _may_be_file(path))


def _may_be_file(path: Path) -> bool:
    """Also where the disk does not say."""
    try:
        return path.is_file()
    except OSError:
        return True


def require_folder(root: Path | None, layout: str) -> Path:
    """`root` as a folder that is there; raises SalcheckError that says the expected layout."""
    if root is None:
        raise SalcheckError(f"no folder given: add --data DIR, laid out as {layout}")
    if not root.is_dir():
        raise SalcheckError(f"no folder '{root}': give one laid out as {layout}")
    if not os.access(root, os.R_OK | os.X_OK):
        raise SalcheckError(f"folder '{root}' may not be read by this user")
    return root


def file_dataset(name: str, root: Path, files: Iterable[tuple[Path, tuple[int, ...]]]) -> Dataset:
    """A dataset of image files with their labels, keyed by their path below `root`.

    The fingerprint is the file's size with a checksum of its beginning, middle and end: another image under
    the same name is noticed without reading 50,000 files whole, and a copy on another machine is the same.
    """
    paths = {portable(path.relative_to(root).as_posix()): (path, labels) for path, labels in files}
    items = [Item(key, labels, fingerprint(path)) for key, (path, labels) in sorted(paths.items())]
    if not items:
        raise SalcheckError(f"no images in '{root}': files end in {', '.join(sorted(SUFFIXES))}")
    whole = portable(str(root))
    return Dataset(name, whole, items, lambda item: read_image(paths[item.key][0]), lambda item: paths[item.key][0])


def fingerprint(path: Path) -> str:
    """Size and checksum of three pieces of a file, as far as it can be read."""
    size = checksum = 0
    with contextlib.suppress(OSError):
        size = path.stat().st_size
    with contextlib.suppress(OSError), open_file(path) as file:
        for start in (0, size // 2, max(0, size - PIECE)):
            file.seek(start)
            checksum = zlib.crc32(file.read(PIECE), checksum)
    return f"{size}-{checksum:08x}"
