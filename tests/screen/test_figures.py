import warnings

import numpy as np
import pytest
from PIL import Image

from salcheck.naming.words import shorten
from salcheck.screen.figures import draw_overlays, draw_sheet


def draw(file, maps, titles=None, footer="gradcam on a toy", side=64):
    picture = np.full((side, side, 3), 0.5, dtype=np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw_overlays(file, picture, maps, titles or [f"kind {i}" for i in range(len(maps))], footer)
    return np.asarray(Image.open(file).convert("RGB"), dtype=float)


def bright_left(side=64):
    values = np.zeros((side, side), dtype=np.float32)
    values[:, : side // 2] = 3.0
    return values


def yellow(pixels):
    """Where the top of the colour scale lies over the grey picture."""
    red, green, blue = np.moveaxis(pixels, -1, 0)
    return (red > 180) & (green > 180) & (blue < red - 40)


@pytest.mark.parametrize(("count", "columns", "rows"), [(1, 2, 1), (2, 3, 1), (3, 4, 1), (5, 4, 2), (9, 4, 3)])
def test_a_panel_for_the_photograph_and_one_for_each_class(tmp_path, count, columns, rows):
    height, width, _ = draw(tmp_path / "x.png", [bright_left()] * count).shape
    assert width == pytest.approx(374 * columns, abs=2)
    assert height == pytest.approx((2.95 * rows + 0.35) * 110, abs=2)


def test_colour_lies_where_the_map_is_high(tmp_path):
    pixels = draw(tmp_path / "x.png", [bright_left()])
    panel = yellow(pixels)[60:300, 380:680]
    left, right = panel[:, :140].mean(), panel[:, 160:].mean()
    assert left > 0.5
    assert right < 0.02


def test_the_negative_part_is_not_shown(tmp_path):
    map_ = bright_left()
    signed = np.where(map_ > 0, map_, -100).astype(np.float32)
    assert np.array_equal(draw(tmp_path / "a.png", [map_]), draw(tmp_path / "b.png", [signed]))


@pytest.mark.parametrize("fill", [0.0, -1.0, np.nan])
def test_a_blank_map_shows_no_colour_and_says_so(tmp_path, fill):
    pixels = draw(tmp_path / "x.png", [np.full((64, 64), fill, dtype=np.float32)])
    panel = pixels[40:300, 380:670]
    assert not yellow(panel).any()
    assert (panel.min(-1) > 240).any()  # the white words


@pytest.mark.parametrize("name", ["$x_1$", "$\\frac{", "日本 😀", "[bold]", "x" * 300])
def test_a_name_is_drawn_as_it_is_and_breaks_nothing(tmp_path, name):
    assert draw(tmp_path / "x.png", [bright_left()], [shorten(name)], footer=name * 2).shape[2] == 3


def test_a_failed_picture_leaves_no_file(tmp_path):
    (tmp_path / "x.png").mkdir()
    with pytest.raises(OSError, match=r"x\.png"):
        draw(tmp_path / "x.png", [bright_left()])
    assert [path.name for path in tmp_path.iterdir()] == ["x.png"]


def test_long_names_are_shortened():
    assert shorten("tench") == "tench"
    assert shorten("great white shark of the seven seas") == "great white shark of th…"
    assert len(shorten("x" * 99)) == 24


def draw_sheet_of(file, blocks, classes=("kind 0", "kind 1")):
    picture = np.full((64, 64, 3), 0.5, dtype=np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw_sheet(file, picture, blocks, classes, "a toy")
    return np.asarray(Image.open(file).convert("RGB"), dtype=float)


def test_a_sheet_has_a_block_for_each_method_and_four_pairs_in_a_row(tmp_path):
    blank = np.zeros((64, 64), dtype=np.float32)
    heights = {}
    for count in (3, 4, 7, 8):
        pixels = draw_sheet_of(tmp_path / "x.png", [("gradcam", [bright_left(), blank])] * count)
        heights[count] = pixels.shape[0]
        columns = yellow(pixels).any(axis=0)
        starts = int(columns[0]) + int((columns[1:] & ~columns[:-1]).sum())
        assert starts == min(count, 4) if count > 3 else 3
    assert heights[3] < heights[4] == heights[7] < heights[8]


def test_each_map_of_a_sheet_is_scaled_to_its_own_peak(tmp_path):
    pixels = draw_sheet_of(tmp_path / "x.png", [("gradcam", [bright_left(), bright_left() * 1e-6])])
    columns = yellow(pixels).any(axis=0)
    assert int((columns[1:] & ~columns[:-1]).sum()) == 2


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_the_names_of_the_classes_lie_on_no_map(tmp_path, count):
    black = np.zeros((64, 64), dtype=np.float32)
    names = [f"a class with a long name {m}  12.3%" for m in range(count)]
    draw = lambda classes: draw_sheet_of(tmp_path / "x.png", [("m", [black] * count)] * 12, classes)  # noqa: E731
    changed = (draw(names) != draw([""] * count)).any(axis=-1)
    below, right = changed.any(axis=1).nonzero()[0].max(), changed.any(axis=0).nonzero()[0].max()
    assert below < 110 * (1.35 + 0.24)
    assert right < 110 * (0.12 + max(2, count) * 1.35 + 0.12 * (count == 1))


def test_a_map_that_is_positive_everywhere_is_drawn_like_itself_without_its_floor(tmp_path):
    plain, raised = (draw_sheet_of(tmp_path / "x.png", [("m", [bright_left() + floor] * 2)]) for floor in (0.0, 64.0))
    assert np.array_equal(plain, raised)
    constant = np.full((64, 64), 5.0, dtype=np.float32)
    assert yellow(draw_sheet_of(tmp_path / "y.png", [("m", [constant] * 2)])).any()  # and not called blank
