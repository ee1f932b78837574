"""Eigen-CAM against a full SVD in double precision and the grad-cam package, which centres and leaves the sign open."""

import numpy as np
import pytest
import torch

from salcheck.methods import eigencam
from tests.methods.peers import peer_maps
from tests.nets import make_images, make_view

CLASSES = torch.tensor([[0, 3], [1, 6], [5, 5]])
# More channels than positions, and the other way round; not negative, and signed.
LAYERS = ["layer4.0", "layer4.0.conv2", "layer1.0", "layer1.0.conv2"]


def by_svd(product, centred):
    """O v_1 of one (C, h, w), with the sign that goes along with the sum over channels."""
    matrix = product.double().numpy().reshape(len(product), -1).T
    along = matrix.sum(axis=1)
    if centred:
        matrix = matrix - matrix.mean(axis=0)
    found = matrix @ np.linalg.svd(matrix, full_matrices=False)[2][0]
    return (found if found @ along > 0 else -found).reshape(product.shape[1:])


@pytest.mark.oracle
@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("layer", LAYERS)
def test_equals_a_full_svd(net, layer, centred):
    view = make_view(net, make_images(side=96), layer)
    maps = eigencam.saliency(view, CLASSES, centred=centred)
    assert maps.shape == (*CLASSES.shape, *view.acts.shape[-2:])
    for b in range(3):
        expected = by_svd(view.acts[b], centred)
        for m in range(2):
            assert maps[b, m].numpy() == pytest.approx(expected, abs=1e-3 * np.abs(expected).max())


@pytest.mark.parametrize("layer", LAYERS)
def test_equals_the_grad_cam_package_but_for_the_sign(net, layer):
    images = make_images(side=96)
    expected = peer_maps("EigenCAM", net, layer, images, CLASSES[:, :1])
    maps = eigencam.saliency(make_view(net, images, layer), CLASSES[:, :1], centred=True)
    sign = (maps * expected).sum(dim=(-2, -1), keepdim=True).sign()
    assert torch.allclose(maps, sign * expected, atol=1e-3 * float(expected.abs().max()))


def test_of_activations_that_are_not_negative_no_value_is(net):
    """Perron and Frobenius: so the sign is the right one, and a ReLU would change nothing."""
    view = make_view(net, make_images(side=96), "layer4.0")
    maps = eigencam.saliency(view, CLASSES)
    assert maps.min() >= -1e-5 * maps.max()
    assert maps.max() > 0


def test_one_pattern_in_all_channels_is_the_map():
    torch.manual_seed(0)
    pattern, strength = torch.rand(3, 5), torch.randn(7) + 0.5
    maps = eigencam.first_projection(strength[:, None, None] * pattern, centred=False)
    assert torch.allclose(maps, pattern * strength.norm() * strength.sum().sign(), atol=1e-5)


def test_silent_activations_have_an_empty_map():
    assert torch.equal(eigencam.first_projection(torch.zeros(2, 7, 3, 5), centred=True), torch.zeros(2, 3, 5))


def test_an_image_that_is_not_finite_costs_no_other():
    acts = torch.rand(3, 8, 4, 4, generator=torch.Generator().manual_seed(0))
    sound = eigencam.first_projection(acts, False)
    acts[1, 2, 3, 3] = torch.nan
    found = eigencam.first_projection(acts, False)
    assert torch.equal(found[[0, 2]], sound[[0, 2]])
    assert found[1].isnan().all()
