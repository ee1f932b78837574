import captum.attr
import pytest
import torch
from torch import nn

from salcheck.methods import gradient
from tests.nets import SIDES, make_images, make_net, make_view

CLASSES = torch.tensor([[0, 3], [1, 6], [5, 5]])


@pytest.mark.oracle
@pytest.mark.parametrize("name", ["test_resnet", "test_convnext", "test_vit"])
def test_equals_captum_s_saliency(name):
    net, images = make_net(name), make_images(side=SIDES.get(name, 96))
    peer = captum.attr.Saliency(net)
    expected = [peer.attribute(images.clone().requires_grad_(), target=column).amax(1) for column in CLASSES.T]
    assert torch.allclose(gradient.saliency(make_view(net, images), CLASSES), torch.stack(expected, 1), atol=1e-7)


def test_a_linear_network_s_gradient_is_its_weights():
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 5 * 4, 7)).requires_grad_(False)
    net.num_classes = 7
    expected = net[1].weight.unflatten(1, (3, 5, 4)).abs().amax(1)[CLASSES]
    images = torch.randn(3, 3, 5, 4)
    assert torch.allclose(gradient.saliency(make_view(net, images), CLASSES), expected)
