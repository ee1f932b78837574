import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from salcheck.datasets._images import MAX_PIXELS, read_image
from salcheck.errors import SalcheckError

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def picture(path, **options):
    """A 40 x 20 picture, left half red and right half blue."""
    image = Image.new("RGB", (40, 20), RED)
    image.paste(BLUE, (20, 0, 40, 20))
    image.save(path, **options)
    return path


def refusal(path):
    """The one line that says why the file is refused; it names the file."""
    with pytest.raises(SalcheckError) as caught:
        read_image(path)
    line = str(caught.value)
    assert str(path) in line
    assert "\n" not in line
    return line


def close(pixel, colour, slack=40):
    return all(abs(a - b) <= slack for a, b in zip(pixel, colour, strict=True))


def png(width, height, body=b""):
    """A PNG with this header, whatever its body holds."""

    def part(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", header) + part(b"IDAT", zlib.compress(body)) + part(b"IEND", b"")


def test_a_missing_file(tmp_path):
    assert "No such file" in refusal(tmp_path / "missing.jpg")


def test_a_folder_given_for_an_image(tmp_path):
    assert "is a folder" in refusal(tmp_path)


def test_a_name_longer_than_the_system_allows(tmp_path):
    assert "too long" in refusal(tmp_path / ("n" * 300))


@pytest.mark.parametrize(
    "content", [b"", b"This is a text about cats.\n", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"]
)
def test_what_is_no_picture_is_said_to_be_none(tmp_path, content):
    file = tmp_path / "cat.jpg"
    file.write_bytes(content)
    assert "no image" in refusal(file)


@pytest.mark.parametrize("suffix", ["jpg", "png", "gif"])
def test_a_picture_cut_short_is_not_half_read(tmp_path, suffix):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    file = tmp_path / f"cut.{suffix}"
    Image.fromarray(noise).save(file)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    assert "damaged" in refusal(file)


def test_cmyk_keeps_its_colours(tmp_path):
    file = tmp_path / "print.jpg"
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(file)  # no cyan, all magenta and yellow: red
    assert close(read_image(file).getpixel((4, 4)), RED)


def test_grey_has_three_equal_channels(tmp_path):
    Image.new("L", (8, 8), 77).save(tmp_path / "grey.png")
    image = read_image(tmp_path / "grey.png")
    assert (image.mode, image.getpixel((3, 3))) == ("RGB", (77, 77, 77))


def test_sixteen_bits_are_scaled_and_not_clipped(tmp_path):
    values = np.array([[0, 257, 25700, 32896, 65535]], dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / "deep.png")
    assert np.asarray(read_image(tmp_path / "deep.png"))[0, :, 0].tolist() == [0, 1, 100, 128, 255]


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_what_is_transparent_is_white(tmp_path, mode):
    clear = (0,) * len(mode)
    Image.new(mode, (8, 8), clear).save(tmp_path / "clear.png")
    assert read_image(tmp_path / "clear.png").getpixel((4, 4)) == WHITE


def test_what_is_half_transparent_is_mixed_with_white(tmp_path):
    Image.new("RGBA", (8, 8), (255, 0, 0, 51)).save(tmp_path / "pale.png")
    assert close(read_image(tmp_path / "pale.png").getpixel((4, 4)), (255, 204, 204), slack=1)


def test_a_palette_with_a_transparent_colour(tmp_path):
    image = Image.new("P", (8, 4), 0)
    image.putpalette([*RED, *GREEN])
    image.paste(1, (4, 0, 8, 4))
    image.save(tmp_path / "palette.png", transparency=0)
    shown = read_image(tmp_path / "palette.png")
    assert (shown.getpixel((1, 1)), shown.getpixel((6, 1))) == (WHITE, GREEN)


def test_an_animation_gives_its_first_frame(tmp_path):
    frames = [Image.new("RGB", (8, 8), colour) for colour in (GREEN, RED, BLUE)]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    assert read_image(tmp_path / "moving.gif").getpixel((4, 4)) == GREEN


@pytest.mark.parametrize(
    ("orientation", "size", "red_at"),
    [(1, (40, 20), (5, 10)), (3, (40, 20), (35, 10)), (6, (20, 40), (10, 5)), (8, (20, 40), (10, 35))],
)
def test_a_turned_photograph_is_upright(tmp_path, orientation, size, red_at):
    exif = Image.Exif()
    exif[0x0112] = orientation
    shown = read_image(picture(tmp_path / "turned.jpg", exif=exif, quality=95))
    assert shown.size == size
    assert close(shown.getpixel(red_at), RED)
    assert close(shown.getpixel((size[0] - 1 - red_at[0], size[1] - 1 - red_at[1])), BLUE)


def test_a_damaged_orientation_does_not_lose_the_photograph(tmp_path):
    assert read_image(picture(tmp_path / "x.jpg", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")).size == (40, 20)


def test_a_single_pixel(tmp_path):
    Image.new("RGB", (1, 1), GREEN).save(tmp_path / "one.png")
    image = read_image(tmp_path / "one.png")
    assert (image.size, image.getpixel((0, 0))) == ((1, 1), GREEN)


@pytest.mark.parametrize("side", [60_000, 11_000])  # beyond Pillow's own limit, and where Pillow would only warn
def test_a_decompression_bomb_is_not_decoded(tmp_path, monkeypatch, side):
    def decode(self):
        raise AssertionError("the pixels of a bomb were decoded")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", decode)
    file = tmp_path / "bomb.png"
    file.write_bytes(png(side, side, b"\0" * 1000))
    assert side * side > MAX_PIXELS
    assert "too large" in refusal(file)


def test_floating_point_pixels_are_refused(tmp_path):
    Image.fromarray(np.full((4, 4), 0.5, dtype=np.float32)).save(tmp_path / "float.tif")
    assert "floating-point" in refusal(tmp_path / "float.tif")


def test_altered_bytes_give_a_picture_or_a_refusal_and_never_another_error(tmp_path):
    rng = np.random.default_rng(0)
    for suffix in ("jpg", "png", "gif", "bmp", "webp"):
        whole = picture(tmp_path / f"x.{suffix}").read_bytes()
        for _ in range(60):
            altered = bytearray(whole)
            for place in rng.integers(0, len(whole), 4):
                altered[place] = rng.integers(256)
            file = tmp_path / "altered"
            file.write_bytes(altered)
            try:
                assert read_image(file).mode == "RGB"
            except SalcheckError as error:
                assert str(file) in str(error)


def test_an_image_that_a_transform_would_blow_up_is_one_line(tmp_path):
    Image.new("L", (5000, 1)).save(tmp_path / "thin.png")
    with pytest.raises(SalcheckError, match=r"too thin \(5000x1 pixels\)"):
        read_image(tmp_path / "thin.png")
