"""Datasets whose items are image files below a folder."""

import contextlib
import itertools
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from salcheck.datasets import Dataset, Item, portable
from salcheck.datasets._depth import Depth, depth_of, stated
from salcheck.datasets._images import SUFFIXES, deep_range, read_image
from salcheck.errors import SalcheckError
from salcheck.naming.files import open_file

PIECE = 4096  # bytes
DEEP = {".png", ".tif", ".tiff"}  # suffixes of files that can be deep and do not say how deep
TRIED = 256  # files that can be deep: where none of the first is, no more are looked at
SOME = 64  # deep files whose values decide how many bits all of them have


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
    places = {key: path for key, (path, _) in paths.items()}
    return Dataset(name, whole, items, Reader(places), lambda item: places[item.key])


@dataclass(frozen=True)
class Reader:
    """Reads the image files of a dataset, by their items' keys. depth: of the values of deep files; `guessed`, by their
    largest value.
    """

    places: Mapping[str, Path]
    depth: Depth | None = None
    guessed: bool = False

    def __call__(self, item: Item) -> Image.Image:
        return read_image(self.places[item.key], self.depth)

    @property
    def note(self) -> str | None:
        """How deep files are read, in one line; None where there are none."""
        if self.depth is None:
            return None
        why = f" by the largest value of the first {SOME}: --bits N says otherwise" if self.guessed else ""
        return f"grey values of 16-bit files are read as {self.depth}{why}"


def at_depth(dataset: Dataset, bits: int | None) -> Dataset:
    """The dataset with its deep files read as `bits`, or, without, as the largest value of the first SOME of them says.

    All of them are scaled alike. The dataset's name says how, so it is part of its identity and of a report. A dataset
    without deep files stays as it is.
    """
    if not isinstance(dataset.read, Reader):
        return dataset
    ranges = list(itertools.islice(_ranges(dataset.read.places.values()), SOME))
    if not ranges and bits is None:
        return dataset
    low, high = min((low for low, _ in ranges), default=0), max((high for _, high in ranges), default=0)
    try:
        depth = depth_of(low, high) if bits is None else stated(bits, low)
    except ValueError:
        return dataset  # each such file says by itself what is wrong with it
    read = replace(dataset.read, depth=depth, guessed=bits is None)
    return replace(dataset, name=f"{dataset.name}, 16-bit files as {depth}", read=read)


def _ranges(places: Iterable[Path]) -> Iterator[tuple[int, int]]:
    """Lowest and highest value of each deep file; those that cannot be read are passed over."""
    seen, able = False, (place for place in places if place.suffix.lower() in DEEP)
    for tried, place in enumerate(able):
        if tried == TRIED and not seen:
            return
        with contextlib.suppress(SalcheckError):
            if found := deep_range(place):
                seen = True
                yield found


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
