import math

import pytest
import torch

from salcheck.methods import center, edges
from salcheck.methods import random as noise
from tests.nets import make_images, make_net, make_view

CLASSES = torch.tensor([[0, 3], [1, 6], [5, 2]])


@pytest.fixture(scope="module")
def net():
    return make_net("test_resnet")


def test_random_maps_of_two_classes_are_unrelated_and_repeatable(net):
    images = make_images(side=96)
    maps = noise.saliency(make_view(net, images, "layer1"), CLASSES)
    assert torch.equal(maps, noise.saliency(make_view(net, images, "layer1"), CLASSES))
    pair = maps.flatten(0, 1).flatten(1)
    off_diagonal = torch.corrcoef(pair) - torch.eye(len(pair))
    assert off_diagonal.abs().max() < 0.2
    assert (maps.min() >= 0) and (maps.max() < 1)


def test_center_is_highest_in_the_middle_and_narrower_with_sigma(net):
    view = make_view(net, make_images(side=96), "layer1")
    wide, narrow = (center.saliency(view, CLASSES, sigma=s)[0, 0] for s in (0.25, 0.1))
    h, w = wide.shape
    assert int(wide.flatten().argmax()) in {(h // 2) * w + w // 2, (h // 2 - 1) * w + w // 2 - 1}
    assert torch.allclose(wide, wide.flip(0, 1))
    assert narrow[0, 0] / narrow.max() < wide[0, 0] / wide.max()
    for blob, sigma in ((wide, 0.25), (narrow, 0.1)):
        down, right = (2 + 0.5) / h - 0.5, (5 + 0.5) / w - 0.5
        assert float(blob[2, 5]) == pytest.approx(math.exp(-(down**2 + right**2) / (2 * sigma**2)), rel=1e-5)


def test_edges_lie_on_the_edge_in_units_of_intensity_per_pixel(net):
    images = torch.zeros(3, 3, 96, 96)
    images[:, :, :, 48:] = 2.0  # a step of 2 between columns 47 and 48: the Sobel slope is 1 on both sides
    view = make_view(net, images, "layer1")
    maps = edges.saliency(view, CLASSES)
    cell = 96 // maps.shape[-1]
    columns = maps[0, 0].mean(dim=0)
    assert int(columns.argmax()) in {47 // cell, 48 // cell}
    assert columns.sum() * cell == pytest.approx(2.0, rel=1e-5)
    assert torch.equal(maps[:, 0], maps[:, 1])
