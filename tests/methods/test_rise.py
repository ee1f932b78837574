import math

import numpy as np
import pytest
import torch
from torch import nn

from salcheck.errors import SalcheckError
from salcheck.methods import rise
from tests.methods.conftest import CLASSES
from tests.nets import make_images, make_net, make_view


def stretched(cells: int, side: int) -> np.ndarray:
    """(large, cells): the share of each cell in each pixel of a side that is stretched bilinearly."""
    large = (cells + 1) * math.ceil(side / cells)
    place = np.clip((np.arange(large) + 0.5) * cells / large - 0.5, 0, cells - 1)
    return np.maximum(1 - np.abs(place[:, None] - np.arange(cells)), 0)


def in_numpy(net, image, seed, classes, masks, cells, keep):
    """The estimate for one image with its own masks, one forward each."""
    H, W = image.shape[-2:]
    source = torch.Generator().manual_seed(seed)
    grids = (torch.rand(masks, cells, cells, generator=source) < keep).numpy().astype(np.float64)
    shifts = [torch.randint(math.ceil(side / cells), (masks,), generator=source).tolist() for side in (H, W)]
    total = np.zeros((len(classes), H, W))
    for grid, down, right in zip(grids, *shifts, strict=True):
        large = stretched(cells, H) @ grid @ stretched(cells, W).T
        mask = large[down : down + H, right : right + W]
        scores = net((image * torch.from_numpy(mask))[None].float())[0].double().numpy()
        shares = np.exp(scores) / np.exp(scores).sum()
        total += shares[classes][:, None, None] * mask
    return total / (masks * keep)


@pytest.mark.oracle
@pytest.mark.parametrize(("size", "cells", "keep"), [((96, 96), 8, 0.5), ((80, 107), 5, 0.3)])
def test_equals_the_formula_with_the_same_masks(size, cells, keep):
    net = make_net("test_resnet")
    images = make_images(side=107)[..., : size[0], : size[1]]
    maps = rise.saliency(make_view(net, images, seeds=[4, 5, 6]), CLASSES, masks=11, cells=cells, keep=keep)
    for b, (seed, row) in enumerate(zip([4, 5, 6], CLASSES.tolist(), strict=True)):
        expected = in_numpy(net, images[b], seed, row, 11, cells, keep)
        assert maps[b].numpy() == pytest.approx(expected, abs=1e-5)
    assert maps.max() > 0.05


class Linear(nn.Module):
    """Two classes; the probability of the first is linear in the image."""

    num_classes = 2

    def __init__(self, weight):
        super().__init__()
        self.weight = weight

    def forward(self, images):
        chance = 0.1 + (images * self.weight).sum(dim=(1, 2, 3))
        return torch.stack([chance, 1 - chance], dim=1).log()


def expected_map(weighted, cells, keep):
    """The mean of p * m / keep over all masks and shifts, for p = 0.1 + sum of weighted (H, W) * m.

    Masks are sums of independent cells: E[m(a) m(b)] = keep^2 + keep (1 - keep) sum over cells of their shares.
    """
    H, W = weighted.shape
    shifts = [range(math.ceil(side / cells)) for side in (H, W)]
    total = np.zeros((H, W))
    for down in shifts[0]:
        for right in shifts[1]:
            rows = stretched(cells, H)[down : down + H]
            columns = stretched(cells, W)[right : right + W]
            common = rows @ (rows.T @ weighted @ columns) @ columns.T
            total += 0.1 * keep + keep**2 * weighted.sum() + keep * (1 - keep) * common
    return total / (len(shifts[0]) * len(shifts[1])) / keep


def test_approaches_its_expectation_for_a_linear_probability():
    weight = torch.zeros(3, 24, 32)
    weight[:, 15:19, 4:10] = 0.5 / (3 * 24)  # a planted patch
    images = torch.ones(1, 3, 24, 32)
    view = make_view(Linear(weight), images, seeds=[3])
    view.batch_size = 500
    found = rise.saliency(view, torch.tensor([[0, 1]]), masks=20_000, cells=4, keep=0.4)[0].numpy()
    expected = expected_map(weight.sum(dim=0).numpy().astype(np.float64), 4, 0.4)
    assert np.ptp(expected) > 0.1
    assert found[0] == pytest.approx(expected, abs=0.015)  # three standard errors
    assert found[0].mean() == pytest.approx(expected.mean(), abs=0.003)
    assert found[0] + found[1] == pytest.approx(1, abs=0.03)  # E[m] / keep
    y, x = np.unravel_index(found[0].argmax(), found[0].shape)
    assert (13 <= y <= 20) and (2 <= x <= 11)


def test_any_number_of_masks_with_any_batch_size_gives_the_same_map():
    view = make_view(make_net("test_resnet"), make_images(side=96))
    together = rise.saliency(view, CLASSES, masks=13)
    view.batch_size = 5
    assert torch.allclose(rise.saliency(view, CLASSES, masks=13), together, atol=1e-6)


def test_masks_are_those_of_the_image_and_serve_all_classes():
    net, images = make_net("test_resnet"), make_images(side=96)
    maps = rise.saliency(make_view(net, images, seeds=[1, 2, 3]), CLASSES, masks=6)
    alone = rise.saliency(make_view(net, images[1:2], seeds=[2]), CLASSES[1:2].flip(1), masks=6)
    assert torch.allclose(maps[1:2].flip(1), alone, atol=1e-6)
    every = rise.saliency(make_view(net, images, seeds=[1, 2, 3]), torch.arange(7).expand(3, 7), masks=6)
    grids, shifts = rise.draw((96, 96), 6, 8, 0.5, torch.Generator().manual_seed(2))
    assert torch.allclose(every[1].sum(dim=0), rise.grow(grids, shifts, (96, 96)).sum(dim=0) / 3, atol=1e-5)


@pytest.mark.parametrize("wrong", [{"masks": 0}, {"cells": 0}, {"keep": 0.0}, {"keep": 1.0}])
def test_parameters_out_of_range_are_one_line(wrong):
    with pytest.raises(SalcheckError, match="does not fit"):
        rise.saliency(make_view(make_net("test_resnet"), make_images()), CLASSES, **wrong)
