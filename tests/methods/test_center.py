import numpy as np
import pytest
import torch
from scipy.stats import norm

from salcheck.methods import center
from tests.methods.conftest import CLASSES
from tests.nets import make_images, make_net, make_view


@pytest.fixture(scope="module")
def view():
    """Wider than high."""
    return make_view(make_net("test_resnet"), make_images(side=96)[:, :, :64], "layer1")


@pytest.mark.oracle
@pytest.mark.parametrize("sigma", [0.25, 0.1])
def test_equals_the_normal_densities_of_scipy(view, sigma):
    """The outer product of two densities over each peak's; cell i of n has its middle at (i + 1/2) / n."""
    maps = center.saliency(view, CLASSES, sigma=sigma)
    h, w = view.acts.shape[-2:]
    assert h < w
    assert maps.shape == (3, 2, h, w)
    down, right = (norm.pdf((np.arange(n) + 0.5) / n, 0.5, sigma) / norm.pdf(0, 0, sigma) for n in (h, w))
    for one in maps.flatten(0, 1):
        assert one.numpy() == pytest.approx(np.outer(down, right), rel=1e-5)


def test_it_is_highest_in_the_middle_and_narrower_with_sigma(view):
    wide, narrow = (center.saliency(view, CLASSES, sigma=s)[0, 0] for s in (0.25, 0.1))
    h, w = wide.shape
    assert int(wide.flatten().argmax()) in {(h // 2) * w + w // 2, (h // 2 - 1) * w + w // 2 - 1}
    assert torch.allclose(wide, wide.flip(0, 1))
    assert narrow[0, 0] / narrow.max() < wide[0, 0] / wide.max()
