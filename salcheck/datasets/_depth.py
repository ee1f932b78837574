"""How many bits the values of a deep file have: cameras and scanners store 10 or 12 in files of 16.

Read as 16 bits such a picture is nearly black. Its file does not say how many there are, so the largest value decides,
of one file or of the first of a dataset, or the user does.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

BITS = (8, 10, 12, 16)
CT = (-1024, 3071)  # Hounsfield units, as 12 bits hold them


@dataclass(frozen=True)
class Depth:
    """Values from `low`, which is shown black, to `low` + 2 ** `bits` - 1, which is shown white."""

    bits: int
    low: int = 0

    @property
    def high(self) -> int:
        return self.low + 2**self.bits - 1

    def __str__(self) -> str:
        return f"{self.bits} bits" + (f" from {self.low}" if self.low else "")


def is_deep(image: Image.Image) -> bool:
    """Whether its grey values have more than 8 bits, and the file does not say how many (a PGM does)."""
    return image.mode.startswith("I") and image.format != "PPM"


def is_deep_colour(image: Image.Image) -> bool:
    """Whether its colours have 16 bits, of which Pillow gives the upper 8."""
    return image.mode in ("RGB", "RGBA") and any(";16" in str(tile[-1]) for tile in getattr(image, "tile", ()))


def depth_of(low: int, high: int) -> Depth:
    """The fewest bits that hold values from `low` to `high`; raises ValueError where 16 do not."""
    fit = [Depth(bits) for bits in BITS] if low >= 0 else [Depth(12, CT[0]), Depth(16, -(2**15))]
    found = next((one for one in fit if one.low <= low and high <= one.high), None)
    if found is None:
        raise ValueError(f"its values go from {low} to {high}, which 16 bits do not hold")
    return found


def stated(bits: int, low: int) -> Depth:
    """The depth that a user states, for values that begin at `low`: negative ones are Hounsfield units, or centred."""
    if low >= 0:
        return Depth(bits)
    return Depth(bits, CT[0] if bits == 12 else -(2 ** (bits - 1)))


def to_eight_bits(values: NDArray[Any], depth: Depth) -> NDArray[np.uint8]:
    """Values (H, W) in 0 to 255; raises ValueError for those that the depth does not hold."""
    low, high = int(values.min()), int(values.max())
    if low < depth.low or high > depth.high:
        raise ValueError(f"its values go from {low} to {high}, which {depth} do not hold: --bits 16 does")
    share = (values.astype(np.float64) - depth.low) / (depth.high - depth.low)
    return (share * 255 + 0.5).astype(np.uint8)
