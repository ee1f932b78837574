"""What readers of annotated pictures share: text, names and places that nobody vouches for."""

import dataclasses
import os
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from salcheck.datasets import Dataset, Item
from salcheck.datasets._images import DAMAGED, FORMATS, MAX_PIXELS
from salcheck.errors import SalcheckError
from salcheck.naming.files import open_file, read_file
from salcheck.naming.words import one_line

Corners = tuple[float, float, float, float]  # x0, y0, x1, y1

ORIENTATION = 0x0112  # the EXIF tag
# What makes a stored picture upright: whether x and y change places, and then whether x and y are counted from the
# other end (EXIF 2.3, table of Orientation).
TURNS = {
    **{2: (False, True, False), 3: (False, True, True), 4: (False, False, True), 5: (True, False, False)},
    **{6: (True, True, False), 7: (True, True, True), 8: (True, False, True)},
}


@dataclass(frozen=True)
class Picture:
    """An image file's width and height as stored, and how what was marked in the stored pixels turns with the image
    when `read_image` puts it upright. Annotators' tools and the published evaluations know no EXIF.
    """

    path: Path
    size: tuple[int, int]
    turn: tuple[bool, bool, bool] = (False, False, False)

    def points(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Where points (n, 2), x before y, of the stored picture are in the upright one."""
        swapped, *flips = self.turn
        upright = points[:, ::-1] if swapped else points
        extent = self.size[::-1] if swapped else self.size
        return np.where(flips, np.array(extent) - upright, upright)

    def mask(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """A mask (height, width) of the stored picture in the upright one."""
        swapped, flip_x, flip_y = self.turn
        upright = mask.T if swapped else mask
        return np.ascontiguousarray(upright[:: -1 if flip_y else 1, :: -1 if flip_x else 1])

    def box(self, corners: Corners, source: str) -> Corners:
        """The part of a box's edges that lies in the picture, upright.

        Published boxes reach beyond their pictures now and then, by 32 pixels in CUB. Raises SalcheckError, which names
        the `source`, where half of the box or more does, and for a box without an area.
        """
        x0, y0, x1, y1 = corners
        shown = f"{source}: the box {x0:g} {y0:g} {x1:g} {y1:g} (x0 y0 x1 y1)"
        if not (np.isfinite(corners).all() and x0 < x1 and y0 < y1):
            raise SalcheckError(f"{shown} is empty: x1 must be above x0, and y1 above y0")
        width, height = self.size
        left, top, right, bottom = max(x0, 0), max(y0, 0), min(x1, width), min(y1, height)
        if max(right - left, 0) * max(bottom - top, 0) < 0.5 * (x1 - x0) * (y1 - y0):
            raise SalcheckError(f"{shown} lies outside the picture of {width}x{height} pixels")
        (a, b), (c, d) = self.points(np.array([[left, top], [right, bottom]], dtype=np.float64)).tolist()
        return min(a, c), min(b, d), max(a, c), max(b, d)


def picture_of(path: Path) -> Picture:
    """Size and orientation by an image's header; raises SalcheckError where it cannot be read."""
    try:
        with open_file(path) as file, Image.open(file, formats=FORMATS) as image:
            return Picture(path, image.size, TURNS.get(image.getexif().get(ORIENTATION, 1), (False, False, False)))
    except (*DAMAGED, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise SalcheckError(f"image '{path}' cannot be read ({one_line(error)}): save or fetch it again") from error


def read_indices(path: Path, picture: Picture) -> NDArray[np.uint8]:
    """A PNG of numbers (palette or grey) over the stored pixels of `picture`: uint8 (height, width).

    Raises SalcheckError where it is damaged, has colours in place of numbers, or is of another size.
    """
    try:
        with open_file(path) as file, Image.open(file, formats=("PNG",)) as image:
            if image.size != picture.size or image.width * image.height > MAX_PIXELS:
                raise SalcheckError(f"'{path}' is {_by(image.size)} pixels and its picture {_by(picture.size)}")
            if image.mode not in ("P", "L"):
                raise SalcheckError(f"'{path}' has colours ({image.mode}): a palette or grey image is expected")
            return np.asarray(image)
    except (*DAMAGED, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise SalcheckError(f"'{path}' is no PNG that can be read ({one_line(error)}): fetch it again") from error


def read_text(path: Path) -> str:
    """A text file's content; raises SalcheckError where it is missing or no UTF-8."""
    try:
        return read_file(path).decode("utf-8-sig")
    except (OSError, ValueError) as error:
        raise SalcheckError(f"cannot read '{path}': {one_line(error)}") from error


def below(folder: Path, name: str, source: str) -> Path:
    """folder/name for a name that the file `source` gives; raises SalcheckError for one that leads out of `folder`."""
    parts = PurePosixPath(name).parts
    if not parts or ".." in parts or name.startswith("/") or any(c in name for c in "\\:\0"):
        raise SalcheckError(f"{source} names '{one_line(name)}': a path below '{folder}' is expected")
    return folder / name


def require_images(paths: Sequence[Path], source: str) -> None:
    """Raises SalcheckError that counts the images of `source` that are not there and names the first."""
    missing = [path for path in paths if not os.path.isfile(path)]  # noqa: PTH113 (a name may be too long)
    if missing:
        raise SalcheckError(
            f"{len(missing)} of the {len(paths)} images that {source} names are missing: '{missing[0]}'"
        )


def require_paths(root: Path, names: Sequence[str], layout: str) -> None:
    """Raises SalcheckError that names what `root` lacks and the expected layout."""
    missing = [name for name in names if not (root / name).exists()]
    if missing:
        raise SalcheckError(f"'{root}' has no {', '.join(missing)}: give a folder laid out as {layout}")


def faulty(dataset: Dataset, faults: Mapping[str, str]) -> Dataset:
    """The dataset where images, by their keys, have an annotation that cannot be used: reading one says why. Raises
    SalcheckError where no image has one that can.
    """
    if not faults:
        return dataset
    if all(item.key in faults for item in dataset.items):
        raise SalcheckError(next(iter(faults.values())))

    def read(item: Item) -> Image.Image:
        if item.key in faults:
            raise SalcheckError(faults[item.key])
        return dataset.read(item)

    return dataclasses.replace(dataset, read=read)


def paths(dataset: Dataset) -> dict[str, Path]:
    """The file of each item, by its key."""
    return {item.key: path for item in dataset.items if (path := dataset.path(item))}


def annotated(dataset: Dataset, note: Callable[[Item], bytes]) -> Dataset:
    """The dataset with each item's annotation told from another by a checksum of `note(item)`."""
    items = [dataclasses.replace(one, annotation=f"{zlib.crc32(note(one)):08x}") for one in dataset.items]
    return dataclasses.replace(dataset, items=items)


def known_classes(dataset: str, names: Sequence[str], index: Callable[[str], int | None]) -> dict[str, int]:
    """The model's index of each class, -1 where it has none; raises SalcheckError where it has none of them."""
    found = {name: index(name) for name in names}
    if all(one is None for one in found.values()):
        some = one_line(", ".join(names[:5]))
        raise SalcheckError(f"the model has none of the classes of {dataset} ({some}, …): take one trained on them")
    return {name: -1 if one is None else one for name, one in found.items()}


def by_area(areas: Sequence[tuple[int, float]]) -> tuple[int, ...]:
    """Labels by the total of their areas, largest first, equal ones by label; those below 0 are left out."""
    total: dict[int, float] = {}
    for label, area in areas:
        total[label] = total.get(label, 0.0) + area
    return tuple(sorted((label for label in total if label >= 0), key=lambda label: (-total[label], label)))


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
