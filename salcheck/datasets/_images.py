"""Read a picture that nobody vouches for: upright, RGB, eight bits, or one line that says why not."""

import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from salcheck.datasets._depth import Depth, depth_of, is_deep, is_deep_colour, to_eight_bits
from salcheck.errors import SalcheckError
from salcheck.naming.files import open_file

T = TypeVar("T")

# What Pillow's decoders raise on a file that is cut short or altered.
DAMAGED = (
    *(OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, AttributeError, ArithmeticError),
    *(MemoryError, struct.error, zlib.error),
)
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})
# Not Pillow's whole list: its EPS reader starts another program on the file.
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
MAX_PIXELS = 120_000_000  # a 12k x 10k photograph; above it a small file is more likely a bomb

MAX_ASPECT = 100  # transforms scale by the shorter side: the longer one would outgrow the memory

# Pillow warns of what can still be read, and below twice its own limit of pixels. Once for all: pictures are
# read in threads, where catch_warnings is not safe.
warnings.filterwarnings("ignore", module=r"PIL\.")


def read_image(path: Path, depth: Depth | None = None) -> Image.Image:
    """The picture in `path` as upright RGB (EXIF orientation applied, first frame of an animation).

    Transparency is laid on white; grey values of more than 8 bits are scaled to 8 from `depth`, or from as few bits
    as hold the largest value.

    Raises SalcheckError where the file is missing, a folder, no picture, cut short or too large.
    """
    return _open(path, lambda image: _to_rgb(image, depth))


def deep_range(path: Path) -> tuple[int, int] | None:
    """The lowest and the highest grey value of a file with more than 8 bits that does not say how many; None for any
    other picture. Raises SalcheckError as `read_image` does.
    """

    def look(image: Image.Image) -> tuple[int, int] | None:
        values = np.asarray(image) if is_deep(image) else None
        return None if values is None else (int(values.min()), int(values.max()))

    return _open(path, look)


def _open(path: Path, use: Callable[[Image.Image], T]) -> T:
    try:
        file = open_file(path)
    except IsADirectoryError as error:
        raise SalcheckError(
            f"'{path}' is a folder: name an image file (a whole folder goes to `eval --data`)",
            "a folder and no image",
        ) from error
    except OSError as error:
        why = error.strerror or error
        raise SalcheckError(f"cannot read image '{path}': {why}", f"cannot be read: {why}") from error
    try:
        with file, Image.open(file, formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise _too_large(path, f"{image.width}x{image.height} pixels")
            if max(image.size) > MAX_ASPECT * min(image.size):
                thin = f"image '{path}' is too thin ({image.width}x{image.height} pixels): crop it"
                raise SalcheckError(thin, "too thin")
            return use(image)
    except Image.DecompressionBombError as error:
        raise _too_large(path, "a decompression bomb by its header") from error
    except UnidentifiedImageError as error:
        given = f"'{path}' is no image that can be read: give {', '.join(FORMATS)}"
        raise SalcheckError(given, "no image that can be read") from error
    except DAMAGED as error:
        raise SalcheckError(f"image '{path}' is damaged ({error}): save or fetch it again", "damaged") from error


def _too_large(path: Path, what: str) -> SalcheckError:
    line = f"image '{path}' is too large ({what}; the limit is {MAX_PIXELS}): make it smaller first"
    return SalcheckError(line, "too large")


def _to_rgb(image: Image.Image, depth: Depth | None) -> Image.Image:
    deep, deep_colour = is_deep(image), is_deep_colour(image)  # known of the file only
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):  # under several names
        values = np.asarray(image)
        own = (depth or depth_of(int(values.min()), int(values.max()))) if deep else Depth(16)
        image = Image.fromarray(to_eight_bits(values, own))
    elif image.mode == "F":
        raise ValueError("floating-point pixels have no known range; convert it to 8 bits")
    elif deep_colour and 0 < np.asarray(image)[..., :3].max() < 16:
        raise ValueError("its colours have 12 bits or fewer in 16, of which 8 are read: convert it to 8 bits")
    if "A" in image.getbands() or "a" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")
