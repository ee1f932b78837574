import pytest
import torch

from salcheck.methods import gradcam, hirescam
from tests.methods.peers import peer_maps
from tests.nets import make_images, make_net, make_view

CLASSES = torch.tensor([[0, 3], [1, 6], [5, 5]])


@pytest.mark.oracle
def test_equals_the_grad_cam_package_at_an_inner_layer():
    net, images = make_net("test_resnet"), make_images(side=96)
    expected = peer_maps("HiResCAM", net, "layer3.0.conv2", images, CLASSES)
    assert expected.min() < 0 < expected.max()
    assert torch.allclose(hirescam.saliency(make_view(net, images, "layer3.0.conv2"), CLASSES), expected, atol=1e-6)


def test_is_grad_cam_before_its_relu_only_where_the_gradient_is_constant():
    net, images = make_net("test_resnet"), make_images(side=96)
    pooled = make_view(net, images)
    assert torch.allclose(hirescam.saliency(pooled, CLASSES).clamp(min=0), gradcam.saliency(pooled, CLASSES), atol=1e-6)
    inner = make_view(net, images, "layer3.0.conv2")
    assert not torch.allclose(
        hirescam.saliency(inner, CLASSES).clamp(min=0), gradcam.saliency(inner, CLASSES), atol=1e-4
    )


def test_sums_to_the_logit_without_its_bias_at_a_linear_head():
    net, images = make_net("test_resnet"), make_images(side=96)
    net.fc.bias.copy_(torch.linspace(-3, 4, 7))
    view = make_view(net, images)
    total = hirescam.saliency(view, CLASSES).sum(dim=(-2, -1))
    assert torch.allclose(total, view.logits.gather(1, CLASSES) - net.fc.bias[CLASSES], atol=1e-5)
    assert torch.allclose(total, hirescam.total(view, CLASSES), atol=1e-5)
    assert hirescam.total(make_view(net, images, "layer3.0.conv2"), CLASSES) is None
