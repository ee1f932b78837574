"""Grad-CAM++ against the grad-cam package where its epsilon does not matter, and the paper's fraction in NumPy."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from salcheck.methods import gradcampp
from tests.methods.peers import peer_maps
from tests.nets import make_images, make_net, make_view

CLASSES = torch.tensor([[0, 3], [1, 6], [5, 5]])


def in_numpy(acts, grads):
    """Equation 19 as printed, for one image (C, h, w) and class (C, h, w), in double precision."""
    A, g = acts.numpy().astype(np.float64), grads.numpy().astype(np.float64)
    S = np.maximum(A, 0).sum(axis=(1, 2), keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        alpha = np.where(g != 0, g**2 / (2 * g**2 + S * g**3), 0)
    w = (alpha * np.maximum(g, 0)).sum(axis=(1, 2))
    return np.maximum(np.tensordot(w, A, axes=1), 0)


@pytest.mark.oracle
@pytest.mark.parametrize("layer", ["layer3.0", "layer2.0.act1", "layer4.0"])
def test_equals_the_grad_cam_package_after_a_relu(layer):
    net, images = make_net("test_resnet"), make_images(side=96)
    net.fc.weight *= 1e3  # gradients so large that the package's epsilon of 1e-6 is nothing
    expected = peer_maps("GradCAMPlusPlus", net, layer, images, CLASSES).clamp(min=0)
    maps = gradcampp.saliency(make_view(net, images, layer), CLASSES)
    assert expected.max() > 0
    assert torch.allclose(maps, expected, rtol=1e-3, atol=1e-5 * float(expected.max()))


@pytest.mark.oracle
@pytest.mark.parametrize(
    ("name", "side", "layer"), [("test_resnet", 96, "layer3.0.conv2"), ("test_convnext", 160, "features")]
)
def test_equals_the_paper_s_fraction_where_activations_are_signed(name, side, layer):
    view = make_view(make_net(name), make_images(side=side), layer)
    grads = view.grads(CLASSES)
    maps = gradcampp.saliency(view, CLASSES)
    assert view.acts.min() < 0
    for b in range(3):
        for m in range(2):
            expected = in_numpy(view.acts[b], grads[b, m])
            assert maps[b, m].numpy() == pytest.approx(expected, rel=1e-3, abs=1e-5 * expected.max())
    assert maps.max() > 0


def test_a_map_worked_out_by_hand():
    acts = torch.tensor([[[[1.0, 3.0]], [[-2.0, 1.0]]]])  # S = 4, and 1 where the negative part is left out
    grads = torch.tensor([[[[[0.5, -1.0]], [[1.0, 2.0]]]]])
    view = SimpleNamespace(acts=acts, grads=lambda classes: grads)
    w = [0.5 / (2 + 4 * 0.5), 1 / (2 + 1 * 1) + 2 / (2 + 1 * 2)]
    expected = torch.tensor([max(0, w[0] * 1 - w[1] * 2), w[0] * 3 + w[1] * 1])
    assert torch.allclose(gradcampp.saliency(view, torch.tensor([[0]]))[0, 0, 0], expected)


def test_no_gradient_is_too_small():
    """Without an epsilon a small gradient counts for half of itself, however small it is."""
    view = make_view(make_net("test_resnet"), make_images(side=96), "layer3.0")
    grads = view.grads(CLASSES)
    small = gradcampp.saliency(SimpleNamespace(acts=view.acts, grads=lambda classes: grads * 1e-20), CLASSES)
    halves = torch.einsum("bmc,bchw->bmhw", grads.clamp(min=0).sum(dim=(-2, -1)) / 2, view.acts)
    assert torch.allclose(small * 1e20, halves, rtol=1e-4)
