import copy
import warnings
from types import SimpleNamespace

import captum.attr
import numpy as np
import pytest
import torch
from scipy.special import ndtr
from timm.models.vgg import VGG
from torch import nn

from salcheck.methods import gradient, guidedbackprop
from tests.nets import make_images, make_net, make_view

CLASSES = torch.tensor([[0, 3], [1, 6], [5, 5]])


def small_vgg():
    torch.manual_seed(0)
    return VGG([8, "M", 8, "M"], num_classes=7, mlp_ratio=0.01).eval().requires_grad_(False)


def by_captum(net, images):
    net = copy.deepcopy(net)
    for module in net.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False  # captum's backward hooks cannot see through in-place ones
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = captum.attr.GuidedBackprop(net)
        grads = [peer.attribute(images.clone(), target=column) for column in CLASSES.T]
    return torch.stack(grads, 1).abs().amax(2)


@pytest.mark.oracle
@pytest.mark.parametrize("name", ["test_resnet", "densenet121", "vgg"])
def test_equals_captum_on_relu_networks(name):
    net, images = small_vgg() if name == "vgg" else make_net(name), make_images(side=96)
    view, expected = make_view(net, images), by_captum(net, images)
    maps = guidedbackprop.saliency(view, CLASSES)
    assert torch.allclose(maps, expected, rtol=1e-4, atol=1e-5 * float(expected.max()))
    assert not torch.allclose(maps, gradient.saliency(view, CLASSES), rtol=0.1)


@pytest.mark.oracle
def test_equals_the_formula_on_a_smooth_activation():
    """s = V gelu(W x): the gradient at the GELU's output is V, and what is left of it goes through GELU' and W."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, 9), nn.GELU(), nn.Linear(9, 7)).requires_grad_(False)
    net.num_classes = 7
    images = torch.randn(3, 3, 4, 4)
    W, b, V = (p.double().numpy() for p in (net[1].weight, net[1].bias, net[3].weight))
    z = images.double().flatten(1).numpy() @ W.T + b
    slope = ndtr(z) + z * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    grads = (np.maximum(V[CLASSES.numpy()], 0) * slope[:, None]) @ W
    expected = np.abs(grads.reshape(3, 2, 3, 4, 4)).max(2)
    assert guidedbackprop.saliency(make_view(net, images), CLASSES).numpy() == pytest.approx(expected, abs=1e-6)


def test_the_view_s_own_gradients_stay_what_they_are():
    net, images = make_net("test_resnet"), make_images(side=96)
    view, fresh = make_view(net, images), gradient.saliency(make_view(net, images), CLASSES)
    guided = guidedbackprop.saliency(view, CLASSES)
    assert torch.equal(gradient.saliency(view, CLASSES), fresh)
    assert torch.equal(guidedbackprop.saliency(view, CLASSES), guided)


class Biased(nn.Module):
    """Its second activation does not see the image."""

    num_classes = 7

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.ReLU(), nn.ReLU()

    def forward(self, images):
        return self.first(images).sum((1, 2, 3))[:, None] + self.second(torch.ones(7))


def test_activations_that_do_not_see_the_image_are_left_alone():
    images = make_images()
    expected = (images > 0).any(1)[:, None].expand(-1, 2, -1, -1).float()
    assert torch.equal(guidedbackprop.saliency(make_view(Biased(), images), CLASSES), expected)


def test_no_hook_is_left_where_it_fails():
    net = make_net("test_resnet")
    with pytest.raises((IndexError, RuntimeError)):
        guidedbackprop.saliency(make_view(net, make_images(side=96)), CLASSES + 100)
    assert not any(module._forward_hooks for module in net.modules())


def test_a_network_without_activations_is_unfit():
    linear = nn.Sequential(nn.Flatten(), nn.Linear(12, 7), nn.Sigmoid())
    assert "no" in guidedbackprop.unfit(SimpleNamespace(net=linear))
    for name in ("test_resnet", "test_convnext", "test_efficientnet", "test_vit"):
        assert guidedbackprop.unfit(SimpleNamespace(net=make_net(name))) is None
