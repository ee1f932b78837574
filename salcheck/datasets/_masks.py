"""Masks from run lengths and polygons, as COCO writes them.

Source: https://cocodataset.org/#format-data; the compressed run lengths by the mask API of cocodataset/cocoapi.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from salcheck.errors import SalcheckError

MAX_CROSSINGS = 20_000_000  # of a polygon's edges with rows of pixels: some hundred megabytes
DIGIT, MORE, SIGN = 0x1F, 0x20, 0x10


def from_runs(counts: Sequence[int], height: int, width: int) -> NDArray[np.bool_]:
    """A mask (height, width) from lengths of runs, column by column: first pixels without, then with, and so on.

    Raises SalcheckError where a length is negative or they do not add up to the picture.
    """
    if any(count < 0 for count in counts) or sum(counts) != height * width:
        raise SalcheckError(f"run lengths do not add up to the picture's {width}x{height} pixels, or some are below 0")
    inside = np.arange(len(counts)) % 2 == 1
    return np.repeat(inside, np.array(counts, dtype=np.int64)).reshape(width, height).T


def uncompressed(text: str) -> list[int]:
    """Run lengths from COCO's compressed string.

    Numbers are written in digits of five bits, the lowest first, each as a character from '0' on; the sixth bit says
    that more follow, the fifth of a number's last digit that it is negative. From the fourth number on what is written
    is the difference to the last but one. Raises SalcheckError for other characters and where a number breaks off.
    """
    counts: list[int] = []
    number = place = 0
    for character in text:
        code = ord(character) - ord("0")
        if not 0 <= code < 64 or place > 60:
            raise SalcheckError("run lengths are no string of COCO's: it has characters from '0' to 'o', few a number")
        number |= (code & DIGIT) << place
        place += 5
        if not code & MORE:
            number -= (1 << place) if code & SIGN else 0
            counts.append(number + counts[-2] if len(counts) > 2 else number)
            number = place = 0
    if place:
        raise SalcheckError("run lengths break off within a number")
    return counts


def from_polygon(points: NDArray[np.float64], height: int, width: int) -> NDArray[np.bool_]:
    """The pixels (height, width) whose middle is inside a polygon of corners (n, 2), x before y, by the even-odd rule.

    Coordinates count from the outer edge of the first pixel, whose middle is (0.5, 0.5). COCO's own rasteriser draws
    the outline on a grid five times as fine, and so differs from this in pixels on the outline. Raises SalcheckError
    for a polygon with too many long edges.
    """
    (x0, y0), (x1, y1) = points.T, np.roll(points, -1, axis=0).T
    # An edge crosses the rows whose middles are from its upper end on, and before its lower end.
    first, last = (np.ceil(y.clip(0, height) - 0.5).astype(np.int64) for y in (np.minimum(y0, y1), np.maximum(y0, y1)))
    crossed = last - first
    if crossed.sum() > MAX_CROSSINGS:
        raise SalcheckError(f"a polygon of {len(points)} corners crosses too many rows of pixels")
    edge = np.repeat(np.arange(len(points)), crossed)
    row = np.arange(len(edge)) - np.repeat(crossed.cumsum() - crossed, crossed) + first[edge]
    x = x0[edge] + (row + 0.5 - y0[edge]) * (x1 - x0)[edge] / (y1 - y0)[edge]
    column = np.ceil(x.clip(0, width) - 0.5).astype(np.int64)  # the first whose middle is not left of the edge
    mask = np.zeros((height, width), dtype=bool)
    if len(edge):
        # A pixel is inside where the edges left of it are odd in number, which counting in eight bits leaves odd.
        top, left, high, wide = row.min(), column.min(), int(np.ptp(row)) + 1, int(np.ptp(column)) + 1
        flips = np.bincount((row - top) * wide + column - left, minlength=high * wide).reshape(high, wide)
        inside = flips.astype(np.uint8).cumsum(axis=1, dtype=np.uint8) % 2 == 1
        mask[top : top + high, left : left + wide] = inside[:, : width - left]
    return mask
