"""Pictures with 10 or 12 bits in files of 16: the same picture in 8 bits is what they must look like."""

import numpy as np
import pytest
from PIL import Image

from salcheck.datasets._depth import Depth, depth_of
from salcheck.datasets._files import at_depth
from salcheck.datasets._images import read_image
from salcheck.errors import SalcheckError
from salcheck.inputs.opening import open_data
from salcheck.network.loading import load_model
from salcheck.store.results import Store
from tests.calls import run
from tests.makers import save_model

SHOWN = np.linspace(0, 255, 64).round().reshape(8, 8)  # as it looks


def save(file, bits, share=1.0):
    """The picture as values of so many bits in a file of 16; `share`: how much of the range it takes."""
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((SHOWN / 255 * share * (2**bits - 1)).round().astype(np.uint16)).save(file)
    return file


def grey(image):
    values = np.asarray(image)
    assert (values == values[..., :1]).all()
    return values[..., 0].astype(float)


@pytest.mark.oracle
@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("bits", [8, 10, 12, 16])
def test_a_picture_of_any_depth_looks_as_in_eight_bits(tmp_path, suffix, bits):
    assert np.abs(grey(read_image(save(tmp_path / f"deep.{suffix}", bits))) - SHOWN).max() <= 1


def test_a_dark_picture_is_scaled_as_it_is_told_and_not_by_its_own_maximum(tmp_path):
    file = save(tmp_path / "dark.png", 12, share=0.2)
    assert np.abs(grey(read_image(file, Depth(12))) - 0.2 * SHOWN).max() <= 1
    assert grey(read_image(file)).max() > 200  # by itself it is taken for 10 bits
    with pytest.raises(SalcheckError, match="its values go from 0 to 819, which 8 bits do not hold: --bits 16 does"):
        read_image(file, Depth(8))


def test_a_pgm_says_how_deep_it_is_and_a_dark_one_stays_dark(tmp_path):
    values = (SHOWN / 255 * 900).round().astype(">u2")
    (tmp_path / "dark.pgm").write_bytes(b"P5\n8 8\n4095\n" + values.tobytes())
    assert np.abs(grey(read_image(tmp_path / "dark.pgm")) - SHOWN * 900 / 4095).max() <= 1
    assert np.abs(grey(read_image(tmp_path / "dark.pgm", Depth(10))) - SHOWN * 900 / 4095).max() <= 1


def test_hounsfield_units_are_not_cut_at_zero(tmp_path):
    values = (SHOWN / 255 * 4095 - 1024).round().astype(np.int32)
    Image.fromarray(values).save(tmp_path / "ct.tif")
    assert np.abs(grey(read_image(tmp_path / "ct.tif")) - SHOWN).max() <= 1
    assert depth_of(-2000, 3071) == Depth(16, -(2**15))


def test_values_that_no_depth_holds_are_one_line(tmp_path):
    Image.fromarray(np.full((8, 8), 70000, dtype=np.int32)).save(tmp_path / "x.tif")
    with pytest.raises(SalcheckError, match="70000, which 16 bits do not hold"):
        read_image(tmp_path / "x.tif")


def png16(file, pixels):
    """A PNG of 16-bit colours, which Pillow does not write."""
    import struct
    import zlib

    def part(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    head = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 16, 2, 0, 0, 0)
    body = part(b"IHDR", head) + part(b"IDAT", zlib.compress(rows)) + part(b"IEND", b"")
    file.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    return file


def test_deep_colours_are_read_or_refused_and_never_black(tmp_path):
    pixels = np.repeat(SHOWN[..., None], 3, axis=2) * 257
    assert np.abs(grey(read_image(png16(tmp_path / "full.png", pixels))) - SHOWN).max() <= 1
    with pytest.raises(SalcheckError, match="its colours have 12 bits or fewer in 16"):
        read_image(png16(tmp_path / "twelve.png", pixels / 16))


@pytest.fixture
def model(tmp_path):
    return load_model(save_model(tmp_path / "toy", classes=2), device="cpu")


def test_a_dataset_is_scaled_alike_and_its_depth_is_its_identity(tmp_path, model):
    bright, dark = save(tmp_path / "data/0/b.png", 12), save(tmp_path / "data/1/a.png", 12, share=0.2)
    guessed = open_data("folder", tmp_path / "data", model, 0)
    same = {bits: open_data("folder", tmp_path / "data", model, 0, bits) for bits in (12, 16)}
    keys = {file: next(i for i in guessed.items if i.key.endswith(file.name)) for file in (bright, dark)}
    assert np.abs(grey(guessed.read(keys[dark])) - 0.2 * SHOWN).max() <= 1
    assert np.abs(grey(guessed.read(keys[bright])) - SHOWN).max() <= 1
    assert grey(same[16].read(keys[bright])).max() <= 16
    assert guessed.digest == same[12].digest != same[16].digest
    assert "read as 12 bits by the largest value" in guessed.read.note
    assert same[16].read.note == "grey values of 16-bit files are read as 16 bits"


def test_a_dataset_of_usual_pictures_has_no_depth(tmp_path, model):
    (tmp_path / "data" / "0").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(tmp_path / "data" / "0" / "x.png")
    opened = open_data("folder", tmp_path / "data", model, 0)
    assert opened.name == "folder"
    assert opened.read.note is None
    assert at_depth(opened, None) is opened


def test_the_depth_is_said_stored_and_reported(tmp_path):
    toy = save_model(tmp_path / "toy", classes=2)
    for u in range(2):
        for i in range(4):
            save(tmp_path / f"data/{u}/{i}.png", 12, share=1 - i / 10 - u / 20)
    call = ("eval", "rq1", "--arch", toy, "--data", tmp_path / "data", "-n", 2, "-m", "gradcam", "--all-images")
    assert "16-bit files are read as 12 bits by the largest value" in run(*call).stderr
    assert "16-bit files are read as 16 bits" in run(*call, "--bits", 16).stderr
    with Store("salcheck.db") as store:
        names = store.query("SELECT name FROM datasets ORDER BY id")["name"].tolist()
    assert names == ["folder, 16-bit files as 12 bits", "folder, 16-bit files as 16 bits"]
    assert "folder, 16-bit files as 12 bits" in " ".join(run("report", "--run", 1).stdout.split())
    shown = run("explain", tmp_path / "data/0/0.png", "--arch", toy, "-m", "gradcam").stdout
    assert "note: grey values of 16-bit files are read as 12 bits" in " ".join(shown.split())
    assert run("explain", tmp_path / "data/0/0.png", "--arch", toy, "-m", "gradcam", "--bits", 10, code=1)
    assert "--bits" in run("eval", "rq1", "--bits", 7, code=2).stderr
