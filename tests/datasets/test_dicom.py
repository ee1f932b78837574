import io
import struct
import zlib

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.pixels import apply_modality_lut, apply_windowing
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
)

from salcheck.datasets import _dicom
from salcheck.datasets._dicom import dicom_size, read_dicom
from salcheck.errors import SalcheckError
from tests.datasets.dicoms import dicom, save, save_jpeg

pytestmark = pytest.mark.filterwarnings("ignore")  # pydicom warns of much that can still be read
RNG = np.random.default_rng(0)
BYTES = RNG.integers(0, 256, (6, 9), dtype=np.uint8)
WORDS = RNG.integers(0, 65536, (6, 9), dtype=np.uint16)


def grey(path):
    image = read_dicom(path)
    pixels = np.asarray(image)
    assert image.mode == "RGB" and (pixels == pixels[..., :1]).all()
    assert image.size == dicom_size(path)
    return pixels[..., 0]


def test_eight_bits_without_a_window_stay_as_they_are(tmp_path):
    assert np.array_equal(grey(save(tmp_path / "a.dcm", BYTES)), BYTES)


def test_monochrome1_shows_high_values_dark(tmp_path):
    path = save(tmp_path / "a.dcm", BYTES, PhotometricInterpretation="MONOCHROME1")
    assert np.array_equal(grey(path), 255 - BYTES)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_other_ways_to_write_uncompressed_pixels(tmp_path, syntax):
    pixels = WORDS.byteswap().view(WORDS.dtype.newbyteorder(">")) if syntax == ExplicitVRBigEndian else WORDS
    path = save(tmp_path / "a.dcm", pixels, syntax=syntax)
    assert np.array_equal(grey(path), (WORDS / 65535 * 255 + 0.5).astype(np.uint8))


def test_twelve_stored_bits_show_their_whole_range_and_not_the_images_own(tmp_path):
    pixels = np.array([[0, 1000, 2000, 4095]], np.uint16)
    path = save(tmp_path / "a.dcm", pixels, BitsStored=12, HighBit=11)
    assert grey(path).tolist() == [[0, 62, 125, 255]]  # 1000 / 4095 * 255 = 62.27, 2000 / 4095 * 255 = 124.54
    brighter = save(tmp_path / "b.dcm", pixels[:, :3], BitsStored=12, HighBit=11)
    assert grey(brighter).tolist() == [[0, 62, 125]]


def test_signed_values_go_from_the_least_to_the_greatest(tmp_path):
    path = save(tmp_path / "a.dcm", np.array([[-2048, 0, 2047]], np.int16), BitsStored=12, HighBit=11)
    assert grey(path).tolist() == [[0, 128, 255]]  # 2048 / 4095 * 255 = 127.53


def test_a_window_is_worked_out_by_hand(tmp_path):
    # Centre 100, width 51: 75 - 0.5 and below are black, 125 - 0.5 and above white, 99.5 is the middle.
    pixels = np.array([[0, 74, 75, 99, 100, 124, 125, 200]], np.uint8)
    path = save(tmp_path / "a.dcm", pixels, WindowCenter=100, WindowWidth=51)
    expected = [
        0,
        0,
        round(255 * 0.5 / 50),
        round(255 * 24.5 / 50),
        round(255 * 25.5 / 50),
        round(255 * 49.5 / 50),
        255,
        255,
    ]
    assert grey(path).tolist() == [expected]


WINDOWS = [
    {"WindowCenter": 30000, "WindowWidth": 20000},
    {"WindowCenter": 30000.5, "WindowWidth": 20000, "VOILUTFunction": "LINEAR_EXACT"},
    {"WindowCenter": 200, "WindowWidth": 900, "RescaleSlope": 0.02, "RescaleIntercept": -100},
    {"WindowCenter": -300, "WindowWidth": 500, "RescaleSlope": -0.01, "RescaleIntercept": 10},
    {"WindowCenter": 40000, "WindowWidth": 20000, "VOILUTFunction": "SIGMOID"},
    {"WindowCenter": [10000, 50], "WindowWidth": [30000, 80]},
]


@pytest.mark.parametrize("window", WINDOWS, ids=range(len(WINDOWS)))
@pytest.mark.parametrize("meaning", ["MONOCHROME1", "MONOCHROME2"])
def test_windows_are_those_of_pydicom(tmp_path, window, meaning):
    path = save(tmp_path / "a.dcm", WORDS, PhotometricInterpretation=meaning, **window)
    theirs = pydicom.dcmread(path)
    values = apply_windowing(apply_modality_lut(theirs.pixel_array, theirs), theirs, index=0)
    ends = [end * window.get("RescaleSlope", 1) + window.get("RescaleIntercept", 0) for end in (0, 65535)]
    share = (values - ends[0]) / (ends[1] - ends[0])
    shown = 255 * (1 - share if meaning == "MONOCHROME1" else share)
    assert shown.std() > 20
    assert np.abs(grey(path) - shown).max() <= 0.5 + 1e-6


def test_a_slope_without_a_window_spans_its_own_range(tmp_path):
    for name, slope in (("a.dcm", 3), ("b.dcm", -3)):
        path = save(tmp_path / name, BYTES, RescaleSlope=slope, RescaleIntercept=-1024)
        assert np.array_equal(grey(path), BYTES if slope > 0 else 255 - BYTES)


def test_empty_elements_count_as_none(tmp_path):
    path = save(tmp_path / "a.dcm", BYTES, RescaleSlope="", WindowCenter="", WindowWidth="", VOILUTFunction="")
    assert np.array_equal(grey(path), BYTES)


def test_jpeg_baseline_as_rsna_and_siim_have_it(tmp_path):
    smooth = Image.fromarray(np.linspace(0, 255, 32 * 48).reshape(32, 48).astype(np.uint8))
    path, decoded = save_jpeg(tmp_path / "a.dcm", smooth)
    assert np.array_equal(grey(path), np.asarray(decoded))
    assert np.abs(grey(path).astype(int) - np.asarray(smooth)).max() < 10


def test_colours(tmp_path):
    colours = RNG.integers(0, 256, (6, 9, 3), dtype=np.uint8)
    assert np.array_equal(np.asarray(read_dicom(save(tmp_path / "a.dcm", colours))), colours)
    planes = colours.transpose(2, 0, 1).tobytes()
    assert np.array_equal(
        np.asarray(read_dicom(save(tmp_path / "b.dcm", colours, PlanarConfiguration=1, PixelData=planes))), colours
    )


def test_run_lengths_that_pydicom_itself_unpacks(tmp_path):
    made = dicom(WORDS)
    made.compress(RLELossless)
    made.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    assert np.array_equal(grey(tmp_path / "a.dcm"), grey(save(tmp_path / "b.dcm", WORDS)))


def test_the_first_of_several_frames_is_taken(tmp_path):
    both = np.stack([BYTES, 255 - BYTES])
    path = save(tmp_path / "a.dcm", BYTES, NumberOfFrames=2, PixelData=both.tobytes())
    assert np.array_equal(grey(path), BYTES)


def encapsulated(data):
    return encapsulate([data])


BROKEN = {
    "no pixels": ({"PixelData": None}, "is damaged .*pixel data"),
    "too few pixels": ({"PixelData": BYTES.tobytes()[:-10]}, "is damaged"),
    "no rows": ({"Rows": None}, "no Rows and Columns, so no image"),
    "no columns": ({"Columns": 0}, "no Rows and Columns, so no image"),
    "too thin": ({"Rows": 1, "Columns": 54 * 2}, r"too thin \(108x1 pixels\)"),
    "too large": ({"Rows": 60000, "Columns": 60000}, r"too large \(60000x60000 pixels; the limit is"),
    "a palette": ({"PhotometricInterpretation": "PALETTE COLOR"}, "1 samples of PALETTE COLOR a pixel are not known"),
    "grey of three samples": ({"SamplesPerPixel": 3}, "3 samples of MONOCHROME2"),
    "no samples": ({"SamplesPerPixel": None}, "is damaged .*SamplesPerPixel"),
    "32 bits": ({"BitsAllocated": 32, "BitsStored": 32, "HighBit": 31}, "32 of 32 bits a sample: 8 or 16"),
    "more bits than there are": ({"BitsStored": 12, "HighBit": 11}, "12 of 8 bits a sample"),
    "slope of 0": ({"RescaleSlope": 0}, "its slope is 0"),
    "an endless slope": ({"RescaleSlope": float("inf")}, "inf is no number for a slope"),
    "a window of no width": ({"WindowCenter": 1, "WindowWidth": 0}, "window has the width 0"),
    "an unknown window": ({"WindowCenter": 1, "WindowWidth": 9, "VOILUTFunction": "CUBIC"}, "the function CUBIC"),
    "a lookup table": ({"ModalityLUTSequence": [pydicom.Dataset()]}, "need a lookup table"),
    "JPEG-LS": (
        {"syntax": JPEGLSLossless, "PixelData": encapsulated(b"1234")},
        "is compressed as JPEG-LS Lossless Image Compression, which salcheck does not decode: save it uncompressed",
    ),
    "an unknown compression": (
        {"syntax": pydicom.uid.UID("1.2.3.4")},
        r"compressed as 1\.2\.3\.4, which salcheck does not decode",
    ),
    "a broken JPEG": ({"syntax": JPEGBaseline8Bit, "PixelData": encapsulated(b"\xff\xd8\xff\xe0junk")}, "is damaged"),
    "another program's file": (
        {"syntax": JPEGBaseline8Bit, "PixelData": encapsulated(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 6\n")},
        "is damaged",
    ),
    "JPEG 2000, in which pydicom can read for ever": (
        {"syntax": JPEG2000Lossless, "PixelData": encapsulated(bytes(4) + b"jP  " + bytes(100))},
        "is compressed as JPEG 2000",
    ),
}


@pytest.mark.parametrize(("elements", "line"), BROKEN.values(), ids=BROKEN)
def test_a_broken_or_unknown_file_is_one_line(tmp_path, elements, line):
    path = save(tmp_path / "a.dcm", BYTES, **elements)
    with pytest.raises(SalcheckError, match=rf"a\.dcm'.*{line}") as error:
        read_dicom(path)
    assert "\n" not in str(error.value)


def test_a_code_that_is_no_way_to_write_pixels_is_one_line(tmp_path):
    path = save(tmp_path / "a.dcm", BYTES)
    path.write_bytes(path.read_bytes().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.9\0\0\0"))
    with pytest.raises(SalcheckError, match=r"is compressed as .*, which salcheck does not decode"):
        read_dicom(path)


def test_a_jpeg_larger_than_its_file_says_is_one_line(tmp_path):
    path, _ = save_jpeg(tmp_path / "a.dcm", Image.new("L", (64, 64)), Rows=8, Columns=8)
    with pytest.raises(SalcheckError, match="is damaged"):
        read_dicom(path)


def test_a_file_cut_short_anywhere_is_one_line_or_the_whole_image(tmp_path):
    whole = save(tmp_path / "a.dcm", BYTES, WindowCenter=100, WindowWidth=50).read_bytes()
    expected = grey(tmp_path / "a.dcm")
    refused = 0
    for end in range(0, len(whole), 3):
        (tmp_path / "b.dcm").write_bytes(whole[:end])
        try:
            assert np.array_equal(grey(tmp_path / "b.dcm"), expected)
        except SalcheckError:
            refused += 1
    assert refused == len(range(0, len(whole), 3))


def test_a_file_with_any_byte_altered_is_an_image_or_one_line(tmp_path):
    whole = save(tmp_path / "a.dcm", BYTES, WindowCenter=100, WindowWidth=50).read_bytes()
    for place in range(128, len(whole) - BYTES.nbytes):
        value = 255 if place % 2 else 0
        (tmp_path / "b.dcm").write_bytes(whole[:place] + bytes([value]) + whole[place + 1 :])
        try:
            read_dicom(tmp_path / "b.dcm")
        except SalcheckError as error:
            assert "\n" not in str(error)


def test_what_is_no_dicom_file_is_one_line(tmp_path):
    Image.fromarray(BYTES).save(tmp_path / "a.png")
    with pytest.raises(SalcheckError, match="is no DICOM file"):
        read_dicom(tmp_path / "a.png")
    with pytest.raises(SalcheckError, match=r"cannot read DICOM file .*No such file"):
        read_dicom(tmp_path / "none.dcm")
    with pytest.raises(SalcheckError, match=r"cannot read DICOM file .*Is a directory"):
        dicom_size(tmp_path)


def test_a_deflated_file_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    made = dicom(BYTES, DeflatedExplicitVRLittleEndian)
    made.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    monkeypatch.setattr(zlib, "decompress", lambda *args: pytest.fail("unpacked"))
    monkeypatch.setattr(zlib, "decompressobj", lambda *args: pytest.fail("unpacked"))
    with pytest.raises(SalcheckError, match="is compressed as Deflated Explicit VR"):
        read_dicom(tmp_path / "a.dcm")


def test_sequences_nested_without_end_are_one_line(tmp_path):
    opened = struct.pack("<HH2sHI", 0x0028, 0x3000, b"SQ", 0, 0xFFFFFFFF) + struct.pack(
        "<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF
    )
    buffer = io.BytesIO()
    dicom(BYTES, PixelData=None, Rows=None).save_as(buffer, enforce_file_format=True)
    (tmp_path / "a.dcm").write_bytes(buffer.getvalue() + opened * 100_000)
    with pytest.raises(SalcheckError):
        read_dicom(tmp_path / "a.dcm")


def test_the_limits_are_those_of_other_pictures(tmp_path, monkeypatch):
    path = save(tmp_path / "a.dcm", BYTES)
    monkeypatch.setattr(_dicom, "MAX_PIXELS", 54)
    assert read_dicom(path).size == (9, 6)
    monkeypatch.setattr(_dicom, "MAX_PIXELS", 53)
    with pytest.raises(SalcheckError, match="too large"):
        dicom_size(path)
