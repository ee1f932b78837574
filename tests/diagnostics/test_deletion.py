import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from salcheck.diagnostics import deletion
from tests.diagnostics.memories import with_memory
from tests.diagnostics.pixelnets import FIRST, TOPS, grids, pictures, pixel_view, rows
from tests.nets import make_images, make_net, make_view

score = with_memory(deletion.score)


@pytest.fixture(scope="module")
def net():
    return make_net("test_resnet")


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


def test_square_images_of_real_size_have_levels_for_every_point(net):
    scores = score(make_view(net, make_images(1, 56)), FIRST, torch.rand(1, 1, 7, 7))
    assert scores.values["removed"].shape == (1, 21)
    assert scores.levels == [5.0 * step for step in range(21)]
