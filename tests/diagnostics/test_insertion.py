import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter

from salcheck.diagnostics import deletion, insertion
from tests.diagnostics.memories import with_memory
from tests.diagnostics.pixelnets import FIRST, TOPS, grids, pictures, pixel_view, rows
from tests.nets import make_net, make_view

score = with_memory(insertion.score)


@pytest.fixture(scope="module")
def net():
    return make_net("test_resnet")


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
    removed = with_memory(deletion.score)(make_view(net, images), TOPS, 1 - maps, steps=6, fill=fill).values
    assert inserted["inserted"].allclose(removed["removed"].flip(1), atol=1e-6)
    assert inserted["insertion"].allclose(removed["deletion"], atol=1e-6)


def test_what_a_linear_net_gains_it_lost():
    """With one fill, insertion + deletion are the score of the image and of the canvas together."""
    images = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    maps = torch.rand(1, 1, 3, 3, generator=torch.Generator().manual_seed(1))
    view = pixel_view(images, normalisation=((0.4,) * 3, (0.25,) * 3))
    gained = score(view, FIRST, maps, fill="zero", output="logit").values["insertion"].item()
    kept = with_memory(deletion.score)(view, FIRST, maps, fill="zero", output="logit").values["deletion"].item()
    assert gained + kept == pytest.approx(images.sum().item() + 3 * 64 * -0.4 / 0.25, rel=1e-5)


def test_the_right_map_is_better_than_its_negative():
    images = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    right = images.sum(1, keepdim=True)
    areas = [score(pixel_view(images), FIRST, maps, fill="mean").values["insertion"].item() for maps in (right, -right)]
    assert areas[0] > 0.5 > areas[1]
