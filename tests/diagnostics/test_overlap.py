import numpy as np
import pytest
import torch

from salcheck.diagnostics.overlap import score
from salcheck.maps.notes import Kind, Note
from tests.nets import make_images, make_net, make_view

CLASSES = torch.tensor([[0, 1]])  # not read: the maps are given


@pytest.fixture(scope="module")
def view():
    return make_view(make_net("test_resnet"), make_images(count=1, side=40))


def by_hand(u: np.ndarray, v: np.ndarray, size: int) -> float:
    tops = [set(np.argsort(-one.flatten(), kind="stable")[:size].tolist()) for one in (u, v)]
    return 100 * len(tops[0] & tops[1]) / size


@pytest.mark.oracle
def test_equals_sets_made_by_a_stable_sort_of_pixels(view):
    maps = torch.rand(1, 2, 40, 40, generator=torch.Generator().manual_seed(0))
    for percent in (5, 20, 50):
        expected = by_hand(*maps[0].numpy(), size=round(percent / 100 * 1600))
        assert score(view, CLASSES, maps, percent=percent).values["overlap"].item() == pytest.approx(expected)


@pytest.mark.oracle
@pytest.mark.parametrize("percent", [5, 20])
def test_equals_them_where_pictures_are_wider_than_high(percent):
    view = make_view(make_net("test_resnet"), make_images(count=1, side=64)[:, :, :40])
    maps = torch.rand(1, 2, 40, 64, generator=torch.Generator().manual_seed(0))
    expected = by_hand(*maps[0].numpy(), size=round(percent / 100 * 40 * 64))
    assert score(view, CLASSES, maps, percent=percent).values["overlap"].item() == pytest.approx(expected)


def test_a_map_agrees_with_itself_and_with_its_double(view):
    one = torch.rand(1, 1, 7, 7)
    assert score(view, CLASSES, torch.cat([one, one], 1), percent=5).values["overlap"].item() == 100
    assert score(view, CLASSES, torch.cat([one, one * 3], 1), percent=5).values["overlap"].item() == 100


def test_disjoint_maps_share_nothing(view):
    maps = torch.zeros(1, 2, 2, 2)
    maps[0, 0, 0, 0] = maps[0, 1, 1, 1] = 1
    assert score(view, CLASSES, maps, percent=5).values["overlap"].item() == 0


def test_independent_noise_shares_about_the_size_of_its_sets():
    """Spec 9.2: i.i.d. pixels about k %; on a 7x7 grid upsampled a little more."""
    generator = torch.Generator().manual_seed(0)
    wide = make_view(make_net("test_resnet"), make_images(count=400, side=224)[:, :, :, :])
    pixels = score(wide, CLASSES, torch.rand(400, 2, 7, 7, generator=generator), percent=5).values["overlap"]
    assert 5 < pixels.mean() < 10
    assert pixels.median() < pixels.mean()


def test_two_blank_maps_do_not_agree(view):
    good, blank = torch.rand(1, 1, 7, 7), torch.zeros(1, 1, 7, 7)
    for pair in ([blank, blank], [good, blank], [blank, good]):
        scores = score(view, CLASSES, torch.cat(pair, 1), percent=5)
        assert scores.values["overlap"].isnan().all()
        assert scores.notes == [Note(Kind.BLANK, "no positive value")]
    assert score(view, CLASSES, torch.cat([good, good], 1), percent=5).notes == [None]


def test_negative_evidence_does_not_count(view):
    signed = torch.randn(1, 2, 7, 7, generator=torch.Generator().manual_seed(2))
    values = [score(view, CLASSES, maps, percent=5).values["overlap"].item() for maps in (signed, signed.clamp(min=0))]
    assert values[0] == values[1]


def test_ties_are_counted_as_a_share_of_the_sets(view):
    flat = torch.zeros(1, 2, 40, 40)
    flat[..., :20] = 1  # 800 equal pixels for a set of 80
    assert score(view, CLASSES, flat, percent=5).values["tied"].item() == 100


def test_a_map_that_is_not_finite_has_no_score(view):
    for bad in (float("nan"), float("inf")):
        maps = torch.rand(1, 2, 7, 7)
        maps[0, 1, 3, 3] = bad
        scores = score(view, CLASSES, maps, percent=5)
        assert scores.values["overlap"].isnan().all()
        assert scores.notes == [Note(Kind.BLANK, "not finite")]
