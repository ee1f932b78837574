"""Read a picture that nobody vouches for: upright, RGB, eight bits, or one line that says why not."""

import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from salcheck.errors import SalcheckError
from salcheck.naming.files import open_file

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


def read_image(path: Path) -> Image.Image:
    """The picture in `path` as upright RGB (EXIF orientation applied, first frame of an animation).

    Transparency is laid on white; 16-bit grey is scaled to 8 bits, not clipped.
    Raises SalcheckError where the file is missing, a folder, no picture, cut short or too large.
    """
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
            return _to_rgb(ImageOps.exif_transpose(image))
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


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit grey, under several names
        image = Image.fromarray((np.asarray(image).clip(0, 65535) // 257).astype(np.uint8))
    elif image.mode == "F":
        raise ValueError("floating-point pixels have no known range; convert it to 8 bits")
    if "A" in image.getbands() or "a" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")
