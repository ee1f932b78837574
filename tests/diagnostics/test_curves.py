"""What deletion and insertion have in common: which pixels go, what runs, and what has no score."""

import math
from types import SimpleNamespace

import pytest
import torch

from salcheck.diagnostics import deletion, insertion
from salcheck.errors import SalcheckError
from salcheck.perturb.answers import Memory
from tests.diagnostics.memories import with_memory
from tests.diagnostics.pixelnets import BETWEEN, CELL, FIRST, TOPS, grids, pictures, pixel_view, two_cells
from tests.nets import make_net, make_view


@pytest.fixture(params=[deletion, insertion], ids=["deletion", "insertion"])
def curve(request):
    """The diagnostic, with a memory in every call; `there` below is what an image of ones shows of itself on zeros."""
    return SimpleNamespace(score=with_memory(request.param.score), check=request.param.check, of=request.param)


@pytest.fixture(scope="module")
def net():
    return make_net("test_resnet")


def shown(view):
    """The pixels (H, W) of the images that ran, in order: True where they are the image's own, which is nowhere 0."""
    return [image[0] != 0 for image in view.net.seen]


def test_each_distinct_image_runs_once_for_all_methods(curve):
    """S steps are S images: S - 1 between the ends and the canvas. The image itself has run, a canvas runs once."""
    images, maps = torch.rand(3, 3, 8, 8), torch.rand(3, 1, 8, 8)
    view = pixel_view(images)
    assert len(view.logits) == len(images)  # the images themselves have run
    memory, ran = Memory(), []
    for one in (maps, maps.clone(), 2 * maps, 1 - maps):
        before = len(view.net.seen)
        curve.score(view, FIRST.expand(3, 1), one, steps=5, fill="mean", memory=memory)
        ran.append(len(view.net.seen) - before)
    assert ran == [15, 0, 0, 12]  # a new order: four masks of each image, and a canvas that is known
    assert sum(bool((image == 0).all()) for image in view.net.seen) == 3


@pytest.mark.parametrize("ties", ["random", "position"])
def test_all_steps_hold_as_many_pixels_to_a_pixel_also_where_most_are_equal(curve, ties):
    """A map with 60 % of its pixels 0: a threshold would take them all at once. The image itself runs first."""
    view = pixel_view(torch.rand(1, 3, 20, 30) + 1)
    maps = torch.rand(1, 1, 20, 30)
    maps[maps < maps.quantile(0.6)] = 0
    curve.score(view, FIRST, maps, steps=20, ties=ties, fill="mean")
    there = [int(one.sum()) for one in shown(view)]
    assert there == (list(range(600, -1, -30)) if curve.of is deletion else [600, *range(0, 600, 30)])


def test_ties_by_position_go_row_by_row(curve):
    maps = torch.zeros(1, 1, 4, 6)
    maps[..., -1, -1] = 1
    view = pixel_view(torch.ones(1, 3, 4, 6))
    curve.score(view, FIRST, maps, steps=2, ties="position", fill="mean")
    expected = torch.zeros(24, dtype=torch.bool)
    expected[:11] = expected[23] = True
    found = ~shown(view)[1] if curve.of is deletion else shown(view)[2]
    assert found.flatten().equal(expected)


@pytest.mark.parametrize(("ranking", "first"), [("native", CELL), ("upsampled", BETWEEN)])
def test_cells_rank_as_a_whole_with_native_ranking(curve, ranking, first):
    view = pixel_view(torch.ones(1, 3, 8, 8))
    curve.score(view, FIRST, two_cells(), steps=16, ranking=ranking, fill="mean")
    found = ~shown(view)[1] if curve.of is deletion else shown(view)[2]
    assert found.nonzero().tolist() == first


@pytest.mark.parametrize("fill", ["mean", "blur"])
def test_a_batch_equals_its_images_one_by_one(net, curve, fill):
    images, maps = pictures(), grids()
    together = curve.score(make_view(net, images), TOPS, maps, steps=4, fill=fill).values
    for b in range(3):
        view = make_view(net, images[b : b + 1], seeds=[b])
        alone = curve.score(view, TOPS[b : b + 1], maps[b : b + 1], steps=4, fill=fill).values
        for name, value in alone.items():
            assert value.allclose(together[name][b : b + 1], atol=1e-5)


def test_halving_the_chunks_for_want_of_memory_changes_nothing(curve):
    images, maps = torch.rand(3, 3, 8, 8), torch.rand(3, 1, 8, 8)
    views = pixel_view(images), pixel_view(images, most=2)
    found = [curve.score(view, FIRST.expand(3, 1), maps).values for view in views]
    for name, value in found[0].items():
        assert value.equal(found[1][name])


def test_a_map_that_ranks_nothing_has_no_score(curve):
    images = torch.rand(4, 3, 8, 8)
    maps = torch.rand(4, 1, 8, 8)
    maps[0], maps[1] = 0, 1
    maps[2, 0, 2, 2] = math.nan if curve.of is deletion else math.inf
    scores = curve.score(pixel_view(images), FIRST.expand(4, 1), maps, steps=3)
    assert [note and str(note) for note in scores.notes] == [
        "blank: no positive value",
        "blank: constant",
        "blank: not finite",
        None,
    ]
    for value in scores.values.values():
        assert value[:3].isnan().all()
        assert value[3].isfinite().all()


@pytest.mark.parametrize("steps", [0, -1])
def test_a_curve_takes_a_step(curve, steps):
    curve.check(steps=1)
    with pytest.raises(SalcheckError, match=f"steps={steps}"):
        curve.check(steps=steps)
