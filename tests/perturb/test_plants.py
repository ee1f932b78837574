import numpy as np
import pytest
import torch

from salcheck.errors import SalcheckError
from salcheck.maps.notes import Kind, Note
from salcheck.perturb.plants import check_size, plant
from tests.linear import LinearNet, linear_view

COLOURS = ((0.5, 0.4, 0.3), (0.2, 0.25, 0.4))
KINDS = ("dot", "stroke", "patch", "gap")
SIZE = 0.02


def view_of(pictures, seeds=None):
    mean, deviation = (torch.tensor(part).view(3, 1, 1) for part in COLOURS)
    net = LinearNet(torch.rand(2, *pictures.shape[1:]))
    return linear_view(net, (pictures - mean) / deviation, seeds, normalisation=COLOURS)


def seen(images):
    mean, deviation = (torch.tensor(part).view(3, 1, 1) for part in COLOURS)
    return images * deviation + mean


def bars(count=6, height=60, width=80):
    """A white bar, ten pixels wide, on black."""
    pictures = torch.zeros(count, 3, height, width)
    pictures[:, :, :, 30:40] = 1
    return pictures


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_changes_but_the_plant_and_all_of_it_does(kind):
    view = view_of(bars())
    planted = plant(view, kind, SIZE)
    change = (seen(planted.images) - bars()).abs().amax(1)
    assert planted.images[:, 0][~planted.masks].equal(view.images[:, 0][~planted.masks])
    assert (change[planted.masks] > 0.1).all()
    assert planted.masks.any((1, 2)).all()
    assert planted.notes == [None] * 6
    assert seen(planted.images).min() > -1e-6
    assert seen(planted.images).max() < 1 + 1e-6


@pytest.mark.parametrize("kind", ["dot", "stroke", "patch"])
@pytest.mark.parametrize("size", [0.005, 0.02, 0.1])
def test_a_plant_is_as_large_as_it_says_and_all_within_the_picture(kind, size):
    """On dark grey: there no pixel of a white plant is unchanged."""
    pictures = torch.full((40, 3, 120, 160), 0.3)
    pictures[..., 1] -= 0.2  # no cell of a patch has both colours
    masks = plant(view_of(pictures), kind, size).masks.float()
    share = {"patch": 0.8}.get(kind, 1.0)  # a fifth of its cells are within a tenth of the grey
    assert masks.mean((1, 2)).mean().item() == pytest.approx(share * size, rel=0.1 if kind == "patch" else 0.02)
    if kind != "patch":  # a part of it outside would be missing
        assert masks.mean((1, 2)).min() > 0.9 * size


def test_places_are_anywhere_and_a_dot_is_round():
    masks = plant(view_of(torch.zeros(200, 3, 60, 80)), "dot", SIZE).masks
    centers = np.array([mask.nonzero().float().mean(0).numpy() for mask in masks])
    radius = np.sqrt(SIZE * 60 * 80 / np.pi)
    low, high = centers.min(0), centers.max(0)
    assert (low < radius + 2).all()
    assert (high > np.array([60, 80]) - radius - 3).all()
    assert np.abs(centers.mean(0) + 0.5 - [30, 40]).max() < 4
    for mask, center in zip(masks, centers, strict=True):
        away = np.linalg.norm(mask.nonzero().numpy() - center, axis=1)
        assert away.max() < radius + 0.8


def test_strokes_are_long_and_turned_every_way():
    masks = plant(view_of(torch.zeros(100, 3, 200, 200)), "stroke", SIZE).masks
    turns = []
    for mask in masks:
        points = mask.nonzero().double().numpy()
        values, axes = np.linalg.eigh(np.cov(points.T))
        # A capsule of length 10 r between its ends and radius r: 2.55 r by 0.49 r in standard deviations, roughly.
        assert 4.5 < np.sqrt(values[1] / values[0]) < 7
        turns.append(np.arctan2(axes[0, 1], axes[1, 1]) % np.pi)
    assert np.histogram(turns, bins=4, range=(0, np.pi))[0].min() > 10


def test_dots_are_white_on_dark_and_black_on_light():
    pictures = torch.zeros(2, 3, 60, 80)
    pictures[1] = 0.8
    planted = plant(view_of(pictures), "dot", SIZE)
    whole = seen(planted.images).permute(0, 2, 3, 1)
    torch.testing.assert_close(whole[0][planted.masks[0]], torch.ones(int(planted.masks[0].sum()), 3))
    torch.testing.assert_close(
        whole[1][planted.masks[1]], torch.zeros(int(planted.masks[1].sum()), 3), atol=1e-6, rtol=0
    )


def test_a_gap_breaks_the_stroke_it_lies_on():
    """A line 3 pixels wide, and a disc of 9.8: after it, no way leads along the line."""
    pictures = torch.full((30, 3, 60, 80), 0.1)
    pictures[:, :, 20:23, 10:70] = 0.9
    pictures[:, :, 24, 10:70] = 0.25  # a dim edge, no part of what stands out
    pictures[:, :, 0, :5] = 0.3  # a few pixels at the border are not the background
    planted = plant(view_of(pictures), "gap", 0.016)
    assert seen(planted.images)[:, 0][planted.masks].sub(0.1).abs().max() < 1e-6
    pixel = plant(view_of(pictures), "gap", 1e-6).masks
    assert pixel.sum((1, 2)).tolist() == [1] * 30
    assert set(pixel.nonzero()[:, 1].tolist()) == {20, 21, 22}
    left = seen(planted.images)[:, 0, 20:23]
    broken = (left < 0.15).all(1)[:, 10:70]
    assert broken.any(1).all()
    assert not planted.masks[:, :20].any()  # what was background stays unmarked
    assert planted.masks[:, 24].any()  # what was dim is erased
    middles = np.array([mask[20:23].nonzero()[:, 1].float().mean() for mask in planted.masks])
    assert middles.min() < 20
    assert middles.max() > 60


def test_a_gap_is_anywhere_on_what_stands_out_and_nowhere_else():
    pictures = torch.zeros(300, 3, 40, 40)
    pictures[:, :, 5, 5] = pictures[:, :, 33, 8] = pictures[:, :, 20, 35] = 1
    masks = plant(view_of(pictures), "gap", 0.001).masks
    assert masks.sum((1, 2)).tolist() == [1] * 300
    counts = masks.sum(0)
    assert [int(counts[5, 5]), int(counts[33, 8]), int(counts[20, 35])] == pytest.approx([100] * 3, abs=30)


def test_a_gap_is_centered_on_a_pixel():
    pictures = torch.zeros(50, 3, 60, 60)
    pictures[..., 1:-1, 1:-1] = 1
    masks = plant(view_of(pictures), "gap", 0.02).masks
    whole = masks.sum((1, 2)) == masks.sum((1, 2)).max()
    centers = torch.stack([mask.nonzero().float().mean(0) for mask in masks[whole]])
    assert len(centers) > 10
    assert (centers - centers.round()).abs().max() < 1e-4


def test_where_nothing_stands_out_nothing_is_broken():
    pictures = bars(3)
    pictures[1] = 0.4
    pictures[1, :, 50:, 70:] = 0.7
    view = view_of(pictures)
    planted = plant(view, "gap", SIZE)
    assert planted.notes == [None, Note(Kind.EXCLUDED, "nothing stands out from the background"), None]
    assert planted.images[1].equal(view.images[1])


def test_patches_have_cells_of_many_greys():
    planted = plant(view_of(torch.full((1, 3, 64, 64), 0.5)), "patch", 0.0625)
    patch = seen(planted.images)[0]
    torch.testing.assert_close(patch[0], patch[1])
    there = (patch[0] - 0.5).abs() > 0.1
    rows, columns = there.any(1).nonzero(), there.any(0).nonzero()
    assert rows.max() - rows.min() == columns.max() - columns.min() == 15
    inside = patch[0, rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    cells = inside.reshape(4, 4, 4, 4).permute(0, 2, 1, 3).reshape(16, 16)
    assert (cells == cells[:, :1]).all()
    assert len(cells[:, 0].unique()) > 8


@pytest.mark.parametrize("kind", KINDS)
def test_a_plant_is_that_of_its_image_alone(kind):
    planted = plant(view_of(bars(4), seeds=[3, 4, 5, 3]), kind, SIZE)
    assert planted.masks[0].equal(planted.masks[3])
    assert not planted.masks[0].equal(planted.masks[1])
    alone = plant(view_of(bars(1), seeds=[5]), kind, SIZE)
    assert alone.images[0].equal(planted.images[2])
    assert alone.masks[0].equal(planted.masks[2])


def test_the_smallest_plant_changes_something():
    for kind in KINDS:
        assert plant(view_of(bars(20)), kind, 1e-6).masks.any((1, 2)).all()


def test_sizes_that_are_no_small_part_are_refused():
    check_size(0.1)
    for wrong in (0, -0.1, 0.2):
        with pytest.raises(SalcheckError, match="above 0 and up to"):
            check_size(wrong)
