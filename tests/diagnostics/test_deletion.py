import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from salcheck.diagnostics.deletion import check, score
from salcheck.errors import SalcheckError
from tests.diagnostics.pixelnets import BETWEEN, CELL, pixel_view, rows, two_cells
from tests.nets import make_images, make_net, make_view

FIRST = torch.tensor([[0]])
TOPS = torch.tensor([[4], [2], [0]])


@pytest.fixture(scope="module")
def net():
    return make_net("test_resnet")


def pictures(count: int = 3) -> torch.Tensor:
    """Pictures that are wider than high: a mask the wrong way round does not fit."""
    return torch.randn(count, 3, 64, 96, generator=torch.Generator().manual_seed(0))


def grids(count: int = 3) -> torch.Tensor:
    return torch.rand(count, 1, 4, 6, generator=torch.Generator().manual_seed(1))


def by_a_loop(net, image, grid, u, steps, canvas, output="softmax"):
    """One image, one map, one step at a time, in NumPy: the curve and its area."""
    ranks = F.interpolate(grid[None], image.shape[1:], mode="bilinear")[0, 0].numpy()
    order = np.argsort(-ranks.ravel(), kind="stable")
    curve = []
    for step in range(steps + 1):
        changed, behind = image.numpy().reshape(3, -1).copy(), canvas.numpy().reshape(3, -1)
        gone = order[: round(step / steps * len(order))]
        changed[:, gone] = behind[:, gone]
        logits = net(torch.from_numpy(changed.reshape(1, *image.shape)))[0].double()
        curve.append((logits.softmax(0) if output == "softmax" else logits)[u].item())
    return curve, sum((a + b) / 2 / steps for a, b in itertools.pairwise(curve))


@pytest.mark.oracle
def test_logits_of_a_linear_net_by_hand():
    """Pixels 1...16: without the largest 4, 8, 12 they add up to 78, 36, 10. Area (136/2 + 78 + 36 + 10) / 4."""
    images = torch.zeros(1, 3, 4, 4)
    images[0, 1] = torch.randperm(16, generator=torch.Generator().manual_seed(0)).view(4, 4) + 1.0
    scores = score(pixel_view(images), FIRST, images[:, 1:2], steps=4, output="logit")
    assert scores.values["removed"].tolist() == [[136, 78, 36, 10, 0]]
    assert scores.values["deletion"].tolist() == [48]
    assert scores.levels == [0, 25, 50, 75, 100]


def test_softmax_by_hand():
    """Each row adds ln 2 to the logit, and the last one nothing: odds of 8, 4, 2, 1, 1 to 1."""
    images = torch.zeros(1, 3, 4, 4)
    images[0, 2] = rows(*[math.log(2) / 4] * 3, 0)[0, 0]
    scores = score(pixel_view(images), FIRST, rows(4, 3, 2, 1), steps=4)
    assert scores.values["removed"][0].tolist() == pytest.approx([8 / 9, 4 / 5, 2 / 3, 1 / 2, 1 / 2])
    assert scores.values["deletion"].item() == pytest.approx((4 / 9 + 4 / 5 + 2 / 3 + 1 / 2 + 1 / 4) / 4)


@pytest.mark.oracle
@pytest.mark.parametrize("output", ["softmax", "logit"])
def test_equals_a_loop_over_images_and_steps(net, output):
    images, maps = pictures(), grids()
    found = score(make_view(net, images), TOPS, maps, steps=7, output=output, ties="position").values
    for b in range(3):
        curve, area = by_a_loop(net, images[b], maps[b], TOPS[b, 0], 7, torch.zeros_like(images[b]), output)
        assert found["removed"][b].tolist() == pytest.approx(curve, rel=1e-4, abs=1e-5)
        assert found["deletion"][b].item() == pytest.approx(area, rel=1e-4, abs=1e-5)


def test_one_step_is_the_mean_of_the_image_and_the_canvas(net):
    images = pictures()
    found = score(make_view(net, images), TOPS, grids(), steps=1).values
    whole = net(images).softmax(-1).gather(1, TOPS)[:, 0]
    nothing = net(torch.zeros_like(images)).softmax(-1).gather(1, TOPS)[:, 0]
    assert found["removed"].allclose(torch.stack([whole, nothing], 1), atol=1e-6)
    assert found["deletion"].allclose((whole + nothing) / 2, atol=1e-6)


def test_more_steps_than_pixels_are_a_pixel_each_and_do_not_move_the_area():
    """4x4 pixels in 40 steps: many steps remove nothing, so the area goes by the share of pixels that are gone."""
    images = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    maps = torch.rand(1, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    areas = [
        score(pixel_view(images), FIRST, maps, steps=n, output="logit").values["deletion"].item() for n in (16, 40)
    ]
    assert areas[0] == pytest.approx(areas[1])


def test_fills_are_the_canvas_at_the_end():
    images = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    maps = torch.rand(1, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    normalisation = ((0.1, 0.2, 0.3), (0.5, 0.4, 0.2))
    ends = {}
    for fill in ("mean", "zero", "grey", "inpaint"):
        view = pixel_view(images, normalisation=normalisation)
        ends[fill] = score(view, FIRST, maps, fill=fill, output="logit").values["removed"][0, -1].item()
    assert ends["mean"] == ends["inpaint"] == 0
    assert ends["zero"] == pytest.approx(-16 * (0.1 / 0.5 + 0.2 / 0.4 + 0.3 / 0.2))
    assert ends["grey"] == pytest.approx(16 * (0.4 / 0.5 + 0.3 / 0.4 + 0.2 / 0.2))


def test_an_imputed_curve_of_a_constant_image_stays_until_nothing_is_left():
    images = torch.full((1, 3, 8, 8), 0.25)
    maps = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    found = score(pixel_view(images), FIRST, maps, steps=8, fill="inpaint", output="logit").values["removed"][0]
    assert found.tolist() == pytest.approx([48.0] * 8 + [0.0], abs=1e-3)


def test_the_right_map_is_better_than_its_negative():
    images = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    right = images.sum(1, keepdim=True)
    areas = [score(pixel_view(images), FIRST, maps).values["deletion"].item() for maps in (right, -right)]
    assert areas[0] < 0.5 < areas[1]


def test_no_map_is_better_than_that_of_a_linear_net():
    images = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    view = pixel_view(images)
    best = score(view, FIRST, images.sum(1, keepdim=True), output="logit").values["deletion"].item()
    for seed in range(20):
        other = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(seed))
        assert score(view, FIRST, other, output="logit").values["deletion"].item() > best


def test_each_distinct_image_runs_once_for_all_methods():
    """S steps are S images: S - 1 between the ends and the canvas. The image itself has run, a canvas runs once."""
    images, maps = torch.rand(3, 3, 8, 8), torch.rand(3, 1, 8, 8)
    view = pixel_view(images)
    assert len(view.logits) == len(images)  # the images themselves have run
    ran = []
    for one in (maps, maps.clone(), 2 * maps, 1 - maps):
        before = len(view.net.seen)
        score(view, FIRST.expand(3, 1), one, steps=5)
        ran.append(len(view.net.seen) - before)
    assert ran == [15, 0, 0, 12]  # a new order: four masks of each image, and a canvas that is known
    assert sum(bool((image == 0).all()) for image in view.net.seen) == 3


def test_all_steps_hold_as_many_pixels_to_a_pixel_also_where_most_are_equal():
    """A map with 60 % of its pixels 0: a threshold would take them all at once."""
    images = torch.rand(1, 3, 20, 30) + 1
    maps = torch.rand(1, 1, 20, 30)
    maps[maps < maps.quantile(0.6)] = 0
    for ties in ("random", "position"):
        view = pixel_view(images)
        score(view, FIRST, maps, steps=20, ties=ties)
        gone = [int((image[0] == 0).sum()) for image in view.net.seen]
        assert gone == [0, *range(30, 601, 30)]


def test_ties_by_position_go_row_by_row():
    images = torch.ones(1, 3, 4, 6)
    maps = torch.zeros(1, 1, 4, 6)
    maps[..., -1, -1] = 1
    view = pixel_view(images)
    score(view, FIRST, maps, steps=2, ties="position")
    expected = torch.ones(24)
    expected[:11] = expected[23] = 0
    assert view.net.seen[1][0].flatten().tolist() == expected.tolist()


def test_cells_rank_as_a_whole_with_native_ranking():
    for ranking, gone in (("native", CELL), ("upsampled", BETWEEN)):
        view = pixel_view(torch.ones(1, 3, 8, 8))
        score(view, FIRST, two_cells(), steps=16, ranking=ranking)
        assert (view.net.seen[1][0] == 0).nonzero().tolist() == gone


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
    maps[0] = 0
    maps[1, 0, 2, 2] = math.nan
    scores = score(pixel_view(images), FIRST.expand(3, 1), maps, steps=3)
    assert scores.notes == ["blank: no positive value", "blank: not finite", None]
    for value in scores.values.values():
        assert value[:2].isnan().all()
        assert value[2].isfinite().all()


def test_a_curve_takes_a_step():
    check(steps=1)
    with pytest.raises(SalcheckError, match="steps=0"):
        check(steps=0)


def test_square_images_of_real_size_have_levels_for_every_point(net):
    scores = score(make_view(net, make_images(1, 56)), FIRST, torch.rand(1, 1, 7, 7))
    assert scores.values["removed"].shape == (1, 21)
    assert scores.levels == [5.0 * step for step in range(21)]
