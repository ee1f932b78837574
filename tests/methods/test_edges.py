import numpy as np
import pytest
import torch
from scipy.ndimage import sobel

from salcheck.methods import edges
from tests.methods.conftest import CLASSES
from tests.nets import make_images, make_view


@pytest.mark.oracle
def test_equals_scipy_s_sobel_averaged_over_cells(net):
    images = make_images(side=96)[:, :, :64]  # wider than high
    view = make_view(net, images, "layer1")
    maps = edges.saliency(view, CLASSES)
    h, w = view.acts.shape[-2:]
    assert maps.shape == (3, 2, h, w)
    for b, grey in enumerate(images.double().numpy().mean(axis=1)):
        slope = np.hypot(sobel(grey, 0, mode="nearest"), sobel(grey, 1, mode="nearest")) / 8
        expected = slope.reshape(h, 64 // h, w, 96 // w).mean(axis=(1, 3))
        for m in range(2):
            assert maps[b, m].numpy() == pytest.approx(expected, rel=1e-5)


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
