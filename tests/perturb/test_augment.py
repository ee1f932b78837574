import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

from salcheck.errors import SalcheckError
from salcheck.perturb.augment import CHANGES, changed, check_changes, taken_back
from tests.linear import LinearNet, linear_view

COLOURS = ((0.5, 0.4, 0.3), (0.2, 0.25, 0.4))
MOVING = ("flip", "shift", "odd-shift", "zoom")


def pictures_of(count=3, height=56, width=84, seed=0):
    """Smooth pictures in 0...1, no two colours alike."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 7, 9, generator=generator)
    return torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic").clamp(0.05, 0.8)


def view_of(pictures, seeds=None):
    mean, deviation = (torch.tensor(part).view(3, 1, 1) for part in COLOURS)
    net = LinearNet(torch.rand(2, *pictures.shape[1:]))
    return linear_view(net, (pictures - mean) / deviation, seeds, normalisation=COLOURS)


def after(pictures, name, seeds=None):
    """The changed pictures, in 0...1."""
    mean, deviation = (torch.tensor(part).view(3, 1, 1) for part in COLOURS)
    return changed(view_of(pictures, seeds), slice(0, len(pictures)), name) * deviation + mean


@pytest.mark.parametrize("name", CHANGES)
def test_what_is_taken_back_is_where_it_was(name):
    """The map is the picture's own first colour: changed and taken back, it is the first colour again."""
    pictures = pictures_of()
    maps, both = taken_back(after(pictures, name)[:, 0], name)
    assert maps.shape == pictures[:, 0].shape
    off = (maps - pictures[:, 0]).abs()[:, both]
    allowed = {"zoom": 0.05, "brightness": 0.101, "contrast": 0.1, "noise": 0.1, "blur": 0.02}
    assert off.max() < allowed.get(name, 1e-5)
    assert both.float().mean() > 0.75
    assert after(pictures, name).sub(pictures).abs().max() > 0.01  # it is a change


@pytest.mark.parametrize("name", MOVING)
def test_a_bright_spot_comes_back_to_its_own_pixel(name):
    """Smooth pictures would hide an error of one pixel."""
    for y, x in ((20, 31), (40, 12), (14, 70)):
        picture = torch.zeros(1, 3, 56, 84)
        picture[..., y, x] = 1
        moved = after(picture, name)[:, 0]
        assert moved[0, y, x] < 0.99
        maps, _ = taken_back(moved, name)
        assert divmod(int(maps[0].argmax()), 84) == (y, x)


def test_shifts_go_where_they_say_and_repeat_the_edges():
    """Of 56 pixels it is 2, then 1: a row and a column of numbers by hand."""
    pictures = torch.arange(56.0).view(1, 1, 56, 1).repeat(1, 3, 1, 84) / 56
    down = torch.cat([torch.zeros(2), torch.arange(54.0)]) / 56
    torch.testing.assert_close(after(pictures, "shift")[0, 0, :, 5], down)
    up = torch.cat([torch.arange(1.0, 56), torch.tensor([55.0])]) / 56
    torch.testing.assert_close(after(pictures, "odd-shift")[0, 0, :, 5], up)
    across = pictures.transpose(2, 3)  # 84 rows of 56
    torch.testing.assert_close(after(across, "shift")[0, 2, 7], down)
    torch.testing.assert_close(after(across, "odd-shift")[0, 2, 7], up)


@pytest.mark.parametrize(("side", "steps"), [(28, (2, 1)), (64, (2, 1)), (128, (4, 3)), (224, (8, 7)), (299, (10, 9))])
def test_one_shift_is_never_a_multiple_of_a_stride(side, steps):
    ones = torch.ones(1, side, side)
    hidden = [side - int(taken_back(ones, name)[1].any(1).sum()) for name in ("shift", "odd-shift")]
    assert tuple(hidden) == steps
    assert hidden[1] % 2 == 1
    below = [taken_back(ones, name)[1][-1].any() for name in ("shift", "odd-shift")]
    assert below == [False, True]  # what was moved down left the picture at the bottom


def test_zoom_is_what_pillow_makes_of_the_middle():
    picture = (pictures_of(1, 60, 80) * 255).round()
    top, left, h, w = 3, 4, 54, 72
    band = picture[0, 1].numpy()[top : top + h, left : left + w]
    expected = np.asarray(Image.fromarray(band).resize((80, 60), Image.Resampling.BILINEAR))
    np.testing.assert_allclose(after(picture / 255, "zoom")[0, 1] * 255, expected, atol=1e-2)
    _, both = taken_back(torch.ones(1, 60, 80), "zoom")
    assert both.nonzero().amin(0).tolist() == [top, left]
    assert both.nonzero().amax(0).tolist() == [top + h - 1, left + w - 1]


def test_light_and_contrast_in_plain_numpy():
    picture = pictures_of(2)
    picture[0, :, :5] = 0.98
    plain = picture.double().numpy()
    np.testing.assert_allclose(after(picture, "brightness"), np.minimum(plain + 0.1, 1), atol=1e-6)
    mean = plain.mean((1, 2, 3))[:, None, None, None]
    np.testing.assert_allclose(after(picture, "contrast"), mean + 0.8 * (plain - mean), atol=1e-6)


@pytest.mark.parametrize(("height", "width", "sigma"), [(56, 84, 0.5), (336, 350, 1.5)])
def test_blur_equals_scipys(height, width, sigma):
    picture = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0))
    expected = ndimage.gaussian_filter(picture[0, 0].double().numpy(), sigma, mode="mirror", truncate=3.4)
    np.testing.assert_allclose(after(picture, "blur")[0, 0], expected, atol=2e-3)


def test_noise_is_that_of_the_image_alone_and_of_no_method():
    picture = torch.full((4, 3, 56, 84), 0.5)
    noise = after(picture, "noise", seeds=[5, 6, 7, 5]) - picture
    assert noise.std().item() == pytest.approx(0.02, rel=0.02)  # in units of the picture, whatever the normalisation
    assert noise.mean().abs() < 1e-3
    assert noise[0].equal(noise[3])
    assert (noise[0] - noise[1]).std() > 0.02
    alone = after(picture[:1], "noise", seeds=[7]) - picture[:1]
    assert alone[0].equal(noise[2])
    methods_own = torch.randn(3, 56, 84, generator=torch.Generator().manual_seed(5))
    assert np.corrcoef(methods_own.flatten(), noise[0].flatten())[0, 1] < 0.05


def test_pictures_end_at_black_and_white():
    extremes = torch.cat([torch.zeros(1, 3, 56, 84), torch.ones(1, 3, 56, 84)])
    for name in CHANGES:
        found = after(extremes, name)
        assert found.min() > -1e-6
        assert found.max() < 1 + 1e-6


def test_changes_that_are_not_there_are_refused():
    check_changes(["flip", "blur"])
    for wrong, words in (
        (["flop"], "unknown change 'flop'"),
        ([], "name one or more"),
        (["flip", "flip"], "each once"),
    ):
        with pytest.raises(SalcheckError, match=words):
            check_changes(wrong)
