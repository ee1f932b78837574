"""Read an untrusted DICOM image as `salcheck.datasets._images` reads a picture: RGB, eight bits, first frame.

Grey values go through the file's slope and intercept and then through the file's first window (PS3.3 C.11.2.1.2 and
.3); a file without a window shows the whole range that its bits can hold, so that an image's brightness does not depend
on its own pixels, and eight bits stay as they are. MONOCHROME1 is turned to show high values dark. Lookup tables are
refused in place of a slope, and passed over in place of a window. Pixels stay as stored: DICOM has no EXIF orientation.
"""

import contextlib
import math
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from salcheck.datasets._images import DAMAGED, MAX_ASPECT, MAX_PIXELS
from salcheck.errors import SalcheckError
from salcheck.naming.files import open_file
from salcheck.naming.words import one_line

HEADER = [
    *("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated", "BitsStored"),
    *("PixelRepresentation", "RescaleSlope", "RescaleIntercept", "WindowCenter", "WindowWidth", "VOILUTFunction"),
    "ModalityLUTSequence",
]
# Uncompressed in three ways, JPEG baseline, RLE. Not deflated, which is unpacked whole before anything is known of it,
# and not JPEG 2000: pydicom 3.0 reads the header of an altered one for ever.
SYNTAXES = {f"1.2.840.10008.1.2{end}" for end in ("", ".1", ".2", ".4.50", ".5")}
COLOURS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")

# pydicom warns of what can still be read. Once for all, as in `salcheck.datasets._images`.
warnings.filterwarnings("ignore", module=r"pydicom\.")


def read_dicom(path: Path) -> Image.Image:
    """The image in a DICOM file as RGB.

    Raises SalcheckError where the file is missing, no DICOM, cut short, without pixels, too large, or compressed
    otherwise than as JPEG baseline or RLE.
    """
    with _in_one_line(path):
        from pydicom.pixels import pixel_array

        header = _header(path)
        pixels = pixel_array(path, index=0)
        if header.SamplesPerPixel == 1:
            pixels = _grey(pixels, header)
        if pixels.dtype != np.uint8 or pixels.shape[:2] != (header.Rows, header.Columns):
            raise ValueError(f"its pixels are {pixels.dtype} {pixels.shape}")
        return Image.fromarray(pixels).convert("RGB")


def dicom_size(path: Path) -> tuple[int, int]:
    """Width and height by the file's header; raises SalcheckError where `read_dicom` refuses the header."""
    with _in_one_line(path):
        header = _header(path)
        return header.Columns, header.Rows


@contextlib.contextmanager
def _in_one_line(path: Path) -> Iterator[None]:
    from pydicom.errors import BytesLengthException, InvalidDicomError

    try:
        open_file(path).close()  # pydicom would wait at a pipe for ever
        yield
    except InvalidDicomError as error:
        raise SalcheckError(f"'{path}' is no DICOM file: fetch it again", "no DICOM file") from error
    except (*DAMAGED, RuntimeError, BytesLengthException, Image.DecompressionBombError) as error:
        if missing := getattr(error, "strerror", None):
            raise SalcheckError(f"cannot read DICOM file '{path}': {missing}", f"cannot be read: {missing}") from error
        said = f"DICOM file '{path}' is damaged ({one_line(error)[:300]}): fetch it again"
        raise SalcheckError(said, "damaged") from error


def _header(path: Path) -> Any:
    """The file's elements HEADER, checked as far as they must be before a pixel is read."""
    from pydicom import dcmread
    from pydicom.filereader import read_file_meta_info

    _check_decoder(path, read_file_meta_info(path).TransferSyntaxUID)
    header = dcmread(path, stop_before_pixels=True, specific_tags=list(HEADER))
    if not all(isinstance(header.get(name), int) and header.get(name) > 0 for name in ("Rows", "Columns")):
        raise ValueError("it has no Rows and Columns, so no image")
    size = (header.Columns, header.Rows)
    if math.prod(size) > MAX_PIXELS:
        raise SalcheckError(f"image '{path}' is too large ({size[0]}x{size[1]} pixels; the limit is {MAX_PIXELS})")
    if max(size) > MAX_ASPECT * min(size):
        raise SalcheckError(f"image '{path}' is too thin ({size[0]}x{size[1]} pixels): crop it")
    kind = (header.SamplesPerPixel, header.PhotometricInterpretation)
    if kind not in [(1, "MONOCHROME1"), (1, "MONOCHROME2"), *((3, colour) for colour in COLOURS)]:
        raise ValueError(f"{kind[0]} samples of {kind[1]} a pixel are not known: grey or RGB is expected")
    if header.BitsAllocated not in (8, 16) or not 1 <= header.BitsStored <= header.BitsAllocated:
        raise ValueError(f"{header.BitsStored} of {header.BitsAllocated} bits a sample: 8 or 16 are expected")
    if header.get("ModalityLUTSequence"):
        raise ValueError("its values need a lookup table, which salcheck does not apply")
    return header


def _check_decoder(path: Path, syntax: Any) -> None:
    if syntax not in SYNTAXES:
        shown = one_line(syntax.name)
        raise SalcheckError(f"'{path}' is compressed as {shown}, which salcheck does not decode: save it uncompressed")


def _grey(pixels: NDArray[np.integer], header: Any) -> NDArray[np.uint8]:
    """Stored values (H, W) as they are shown, by a table of all values that there can be."""
    bits = 8 * pixels.dtype.itemsize
    unsigned, native = np.dtype(f"u{bits // 8}"), pixels.dtype.newbyteorder("=")
    table = _shown(np.arange(2**bits).astype(unsigned).view(native).astype(np.float64), header)
    return table[np.ascontiguousarray(pixels, native).view(unsigned)]


def _shown(stored: NDArray[np.float64], header: Any) -> NDArray[np.uint8]:
    slope, intercept = (
        _number(header.get(name), other) for name, other in (("RescaleSlope", 1), ("RescaleIntercept", 0))
    )
    if slope == 0:
        raise ValueError("its slope is 0")
    half = 2 ** (header.BitsStored - 1)
    ends = [-half, half - 1] if header.get("PixelRepresentation") else [0, 2 * half - 1]
    values = stored * slope + intercept
    centre, width = (_number(header.get(name), None) for name in ("WindowCenter", "WindowWidth"))
    if centre is None or width is None:
        low, high = sorted(end * slope + intercept for end in ends)
        share = (values - low) / (high - low)
    else:
        share = _windowed(values, centre, width, header.get("VOILUTFunction") or "LINEAR")
    share = share.clip(0, 1)
    return ((1 - share if header.PhotometricInterpretation == "MONOCHROME1" else share) * 255 + 0.5).astype(np.uint8)


def _windowed(values: NDArray[np.float64], centre: float, width: float, function: str) -> NDArray[np.float64]:
    if width <= 0 or function not in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        raise ValueError(f"its window has the width {width} and the function {function}")
    if function == "SIGMOID":
        return 1 / (1 + np.exp((-4 * (values - centre) / width).clip(-500, 500)))
    if function == "LINEAR_EXACT":
        return (values - centre) / width + 0.5
    return (values - (centre - 0.5)) / max(width - 1, 1e-9) + 0.5


def _number(value: Any, other: Any) -> Any:
    """An element's first number, `other` where it has none; raises ValueError for one that is none."""
    if value is None or value == "":
        return other
    number = float(value if isinstance(value, (int, float, str)) else value[0])
    if not math.isfinite(number):
        raise ValueError(f"{number} is no number for a slope, intercept or window")
    return number
