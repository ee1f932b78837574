import pytest
import torch
from captum.attr import Occlusion

from salcheck.errors import SalcheckError
from salcheck.methods import occlusion
from tests.methods.conftest import CLASSES
from tests.nets import make_images, make_view


@pytest.fixture(scope="module")
def images():
    return make_images(side=84)[..., :56, :]  # 56 high, 84 wide


@pytest.mark.oracle
@pytest.mark.parametrize(("cells", "steps"), [(7, 2), (7, 1), (2, 7)])
def test_equals_captum_with_the_same_windows(net, images, cells, steps):
    height, width = 56 // cells, 84 // cells
    window, strides = (3, height, width), (3, height // steps, width // steps)
    expected = [
        Occlusion(net).attribute(images, window, strides, baselines=0, target=column)[:, 0] for column in CLASSES.T
    ]
    maps = occlusion.saliency(make_view(net, images), CLASSES, cells=cells, steps=steps)
    assert maps.min() < 0 < maps.max()
    assert torch.allclose(maps, torch.stack(expected, dim=1), atol=1e-5)


def test_windows_that_do_not_divide_the_image_reach_its_edges(net):
    """50 x 61 pixels in thirds, two steps each: windows of 17 and 21 pixels, five of them along a side."""
    images = make_images(side=61)[..., :50, :]
    first = {"rows": [0, 8, 16, 25, 33], "columns": [0, 10, 20, 30, 40]}
    drops, covering = torch.zeros(3, 2, 50, 61), torch.zeros(50, 61)
    scores = net(images).gather(1, CLASSES)
    for y in first["rows"]:
        for x in first["columns"]:
            changed = images.clone()
            changed[..., y : y + 17, x : x + 21] = 0
            fall = scores - net(changed).gather(1, CLASSES)
            drops[..., y : y + 17, x : x + 21] += fall[..., None, None]
            covering[y : y + 17, x : x + 21] += 1
    assert covering.min() == 1
    maps = occlusion.saliency(make_view(net, images), CLASSES, cells=3, steps=2)
    assert torch.allclose(maps, drops / covering, atol=1e-5)


@pytest.mark.parametrize(("length", "cells", "steps"), [(224, 7, 2), (97, 7, 3), (31, 5, 6), (8, 8, 1), (9, 1, 4)])
def test_every_pixel_is_under_as_many_windows_as_are_stated(length, cells, steps):
    rows = occlusion.windows(length, cells, steps)
    assert len(rows) == (cells - 1) * steps + 1
    assert (rows.sum(dim=1) == -(-length // cells)).all()
    assert rows.sum(dim=0).min() >= 1
    assert len(rows.unique(dim=0)) == len(rows)


@pytest.mark.parametrize("wrong", [{"cells": 0}, {"steps": 0}, {"cells": 29, "steps": 2}])
def test_windows_that_do_not_fit_are_one_line(net, images, wrong):
    with pytest.raises(SalcheckError, match=r"does not fit: both are 1 or more, and cells \* steps at most the 56"):
        occlusion.saliency(make_view(net, images), CLASSES, **wrong)
