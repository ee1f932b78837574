import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter

from salcheck.diagnostics import deletion
from salcheck.diagnostics.insertion import check, score
from salcheck.errors import SalcheckError
from tests.diagnostics.pixelnets import BETWEEN, CELL, pixel_view, rows, two_cells
from tests.nets import make_net, make_view

FIRST = torch.tensor([[0]])
TOPS = torch.tensor([[4], [2], [0]])


@pytest.fixture(scope="module")
def net():
    return make_net("test_resnet")


def pictures(count: int = 3) -> torch.Tensor:
    return torch.randn(count, 3, 64, 96, generator=torch.Generator().manual_seed(0))


def grids(count: int = 3) -> torch.Tensor:
    return torch.rand(count, 1, 4, 6, generator=torch.Generator().manual_seed(1))


@pytest.mark.oracle
def test_logits_of_a_linear_net_by_hand():
    """Pixels 1...16: the largest 4, 8, 12 of them add up to 58, 100, 126. Area (58 + 100 + 126 + 136/2) / 4."""
    images = torch.zeros(1, 3, 4, 4)
    images[0, 1] = torch.randperm(16, generator=torch.Generator().manual_seed(0)).view(4, 4) + 1.0
    scores = score(pixel_view(images), FIRST, images[:, 1:2], steps=4, fill="mean", output="logit")
    assert scores.values["inserted"].tolist() == [[0, 58, 100, 126, 136]]
    assert scores.values["insertion"].tolist() == [88]
    assert scores.levels == [0, 25, 50, 75, 100]


def test_softmax_by_hand():
    """Each row adds ln 2 to the logit, and the last one nothing: odds of 1, 2, 4, 8, 8 to 1."""
    images = torch.zeros(1, 3, 4, 4)
    images[0, 2] = rows(*[math.log(2) / 4] * 3, 0)[0, 0]
    scores = score(pixel_view(images), FIRST, rows(4, 3, 2, 1), steps=4, fill="mean")
    assert scores.values["inserted"][0].tolist() == pytest.approx([1 / 2, 2 / 3, 4 / 5, 8 / 9, 8 / 9])
    assert scores.values["insertion"].item() == pytest.approx((1 / 4 + 2 / 3 + 4 / 5 + 8 / 9 + 4 / 9) / 4)


@pytest.mark.oracle
@pytest.mark.parametrize("output", ["softmax", "logit"])
def test_equals_a_loop_over_images_and_steps_onto_a_blurred_canvas(net, output):
    """The canvas is SciPy's Gaussian of 5 % of the shorter side, 3.2 pixels; one image, one step at a time."""
    images, maps = pictures(), grids()
    found = score(make_view(net, images), TOPS, maps, steps=7, output=output, ties="position").values
    for b in range(3):
        ranks = F.interpolate(maps[b : b + 1], images.shape[2:], mode="bilinear")[0, 0].numpy()
        order = np.argsort(-ranks.ravel(), kind="stable")
        canvas = gaussian_filter(images[b].numpy(), (0, 3.2, 3.2), mode="mirror", radius=(0, 10, 10)).reshape(3, -1)
        curve = []
        for step in range(8):
            shown, there = canvas.copy(), order[: round(step / 7 * len(order))]
            shown[:, there] = images[b].numpy().reshape(3, -1)[:, there]
            logits = net(torch.from_numpy(shown.reshape(1, 3, 64, 96)))[0].double()
            curve.append((logits.softmax(0) if output == "softmax" else logits)[TOPS[b, 0]].item())
        area = sum((first + second) / 2 / 7 for first, second in itertools.pairwise(curve))
        assert found["inserted"][b].tolist() == pytest.approx(curve, rel=1e-3, abs=1e-4)
        assert found["insertion"][b].item() == pytest.approx(area, rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("fill", ["mean", "zero", "grey", "blur", "inpaint"])
def test_is_the_deletion_of_the_reversed_order_read_backwards(net, fill):
    """Where all values differ and steps are of equal size, the same pixels are there."""
    images, maps = pictures(), torch.rand(3, 1, 64, 96, generator=torch.Generator().manual_seed(1))
    inserted = score(make_view(net, images), TOPS, maps, steps=6, fill=fill).values
    removed = deletion.score(make_view(net, images), TOPS, 1 - maps, steps=6, fill=fill).values
    assert inserted["inserted"].allclose(removed["removed"].flip(1), atol=1e-6)
    assert inserted["insertion"].allclose(removed["deletion"], atol=1e-6)


def test_what_a_linear_net_gains_it_lost():
    """With one fill, insertion + deletion are the score of the image and of the canvas together."""
    images = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    maps = torch.rand(1, 1, 3, 3, generator=torch.Generator().manual_seed(1))
    view = pixel_view(images, normalisation=((0.4,) * 3, (0.25,) * 3))
    gained = score(view, FIRST, maps, fill="zero", output="logit").values["insertion"].item()
    kept = deletion.score(view, FIRST, maps, fill="zero", output="logit").values["deletion"].item()
    assert gained + kept == pytest.approx(images.sum().item() + 3 * 64 * -0.4 / 0.25, rel=1e-5)


def test_the_right_map_is_better_than_its_negative():
    images = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    right = images.sum(1, keepdim=True)
    areas = [score(pixel_view(images), FIRST, maps, fill="mean").values["insertion"].item() for maps in (right, -right)]
    assert areas[0] > 0.5 > areas[1]


def test_each_distinct_image_runs_once_for_all_methods():
    """S steps are S images: the canvas and S - 1 between it and the image, which has run."""
    images, maps = torch.rand(3, 3, 8, 8), torch.rand(3, 1, 8, 8)
    view = pixel_view(images)
    assert len(view.logits) == len(images)  # the images themselves have run
    ran = []
    for one in (maps, maps.clone(), 2 * maps, 1 - maps):
        before = len(view.net.seen)
        score(view, FIRST.expand(3, 1), one, steps=5, fill="mean")
        ran.append(len(view.net.seen) - before)
    assert ran == [15, 0, 0, 12]
    assert sum(bool((image == 0).all()) for image in view.net.seen) == 3


def test_all_steps_hold_as_many_pixels_to_a_pixel_also_where_most_are_equal():
    images = torch.rand(1, 3, 20, 30) + 1
    maps = torch.rand(1, 1, 20, 30)
    maps[maps < maps.quantile(0.6)] = 0
    for ties in ("random", "position"):
        view = pixel_view(images)
        score(view, FIRST, maps, steps=20, ties=ties, fill="mean")
        there = [int((image[0] != 0).sum()) for image in view.net.seen]
        assert there == [600, *range(0, 600, 30)]  # the image itself runs first


def test_ties_by_position_go_row_by_row():
    images = torch.ones(1, 3, 4, 6)
    maps = torch.zeros(1, 1, 4, 6)
    maps[..., -1, -1] = 1
    view = pixel_view(images)
    score(view, FIRST, maps, steps=2, ties="position", fill="mean")
    expected = torch.zeros(24)
    expected[:11] = expected[23] = 1
    assert view.net.seen[2][0].flatten().tolist() == expected.tolist()


def test_cells_rank_as_a_whole_with_native_ranking():
    for ranking, there in (("native", CELL), ("upsampled", BETWEEN)):
        view = pixel_view(torch.ones(1, 3, 8, 8))
        score(view, FIRST, two_cells(), steps=16, ranking=ranking, fill="mean")
        assert view.net.seen[2][0].nonzero().tolist() == there


@pytest.mark.parametrize("fill", ["mean", "blur"])
def test_a_batch_equals_its_images_one_by_one(net, fill):
    images, maps = pictures(), grids()
    together = score(make_view(net, images), TOPS, maps, steps=4, fill=fill).values
    for b in range(3):
        view = make_view(net, images[b : b + 1], seeds=[b])
        alone = score(view, TOPS[b : b + 1], maps[b : b + 1], steps=4, fill=fill).values
        for name, value in alone.items():
            assert value.allclose(together[name][b : b + 1], atol=1e-5)


def test_halving_the_chunks_for_want_of_memory_changes_nothing():
    images, maps = torch.rand(3, 3, 8, 8), torch.rand(3, 1, 8, 8)
    views = pixel_view(images), pixel_view(images, most=2)
    found = [score(view, FIRST.expand(3, 1), maps).values for view in views]
    for name, value in found[0].items():
        assert value.equal(found[1][name])


def test_a_map_that_ranks_nothing_has_no_score():
    images = torch.rand(3, 3, 8, 8)
    maps = torch.rand(3, 1, 8, 8)
    maps[0] = 1
    maps[1, 0, 2, 2] = math.inf
    scores = score(pixel_view(images), FIRST.expand(3, 1), maps, steps=3)
    assert scores.notes == ["blank: constant", "blank: not finite", None]
    for value in scores.values.values():
        assert value[:2].isnan().all()
        assert value[2].isfinite().all()


def test_a_curve_takes_a_step():
    check(steps=1)
    with pytest.raises(SalcheckError, match="steps=-1"):
        check(steps=-1)
