"""XGrad-CAM against the grad-cam package, its conservation law, and channels that cancel."""

from types import SimpleNamespace

import pytest
import torch

from salcheck.methods import gradcam, hirescam, xgradcam
from tests.methods.peers import peer_maps
from tests.nets import make_images, make_net, make_view

CLASSES = torch.tensor([[0, 3], [1, 6], [5, 5]])
ONE = torch.tensor([[0]])


def fake(acts, grads):
    return SimpleNamespace(acts=acts, grads=lambda classes: grads)


@pytest.mark.oracle
@pytest.mark.parametrize("layer", ["layer3.0", "layer3.0.conv2", "layer2.0.act1"])
def test_equals_the_grad_cam_package_at_an_inner_layer(layer):
    net, images = make_net("test_resnet"), make_images(side=96)
    expected = peer_maps("XGradCAM", net, layer, images, CLASSES).clamp(min=0)
    maps = xgradcam.saliency(make_view(net, images, layer), CLASSES)
    assert expected.max() > 0
    assert torch.allclose(maps, expected, rtol=1e-3, atol=1e-4 * float(expected.max()))


def test_it_is_grad_cam_at_a_pooled_linear_head_and_not_elsewhere(scenes_model):
    images = make_images(side=scenes_model.size[0])
    head = make_view(scenes_model.net, images)
    assert torch.allclose(xgradcam.saliency(head, CLASSES), gradcam.saliency(head, CLASSES), atol=1e-6)
    inner = make_view(make_net("test_resnet"), make_images(side=96), "layer3.0")
    plain = gradcam.saliency(inner, CLASSES)
    assert not torch.allclose(xgradcam.saliency(inner, CLASSES), plain, atol=0.1 * float(plain.max()))


def test_a_map_sums_to_gradient_times_activation():
    torch.manual_seed(0)
    view = fake(torch.rand(2, 5, 3, 4), torch.rand(2, 3, 5, 3, 4))
    maps = xgradcam.saliency(view, torch.zeros(2, 3, dtype=torch.long))
    whole = hirescam.saliency(view, torch.zeros(2, 3, dtype=torch.long))
    assert torch.allclose(maps.sum(dim=(-2, -1)), whole.sum(dim=(-2, -1)))
    assert not torch.allclose(maps, whole, atol=0.1)


def test_channels_that_cancel_or_are_silent_are_left_out():
    torch.manual_seed(0)
    acts, grads = torch.rand(1, 4, 2, 2), torch.rand(1, 1, 4, 2, 2)
    acts[0, 1] = 0
    acts[0, 2] = torch.tensor([[1.0, -1.0], [2.0, -2.0 + 1e-6]])
    maps = xgradcam.saliency(fake(acts, grads), ONE)
    others = xgradcam.saliency(fake(acts[:, [0, 3]], grads[:, :, [0, 3]]), ONE)
    assert torch.allclose(maps, others)
    acts[0, 2, 0, 0] = 1.0 + 9e-4  # now more than 1e-4 of all that there is, 6: it counts
    assert not torch.allclose(xgradcam.saliency(fake(acts, grads), ONE), others, atol=1e-2)
    acts[0, 2, 0, 0] = 1.0 + 4e-4
    assert torch.allclose(xgradcam.saliency(fake(acts, grads), ONE), others)
    acts[0, 2, 0, 0] = 1.5
    assert not torch.allclose(xgradcam.saliency(fake(acts, grads), ONE), others, atol=1e-2)
