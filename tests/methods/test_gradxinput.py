import captum.attr
import pytest
import torch
from timm.models.vgg import VGG
from torch import nn

from salcheck.methods import gradxinput
from tests.methods.conftest import CLASSES
from tests.nets import SIDES, make_images, make_net, make_view


@pytest.mark.oracle
@pytest.mark.parametrize("name", ["test_resnet", "test_convnext", "test_vit"])
def test_equals_captum_s_input_times_gradient(name):
    net, images = make_net(name), make_images(side=SIDES.get(name, 96))
    peer = captum.attr.InputXGradient(net)
    expected = [peer.attribute(images.clone().requires_grad_(), target=column).sum(1) for column in CLASSES.T]
    assert torch.allclose(gradxinput.saliency(make_view(net, images), CLASSES), torch.stack(expected, 1), atol=1e-6)


def test_sums_to_the_score_of_a_relu_network_without_biases():
    torch.manual_seed(0)
    net = VGG([4, "M", 8, "M"], num_classes=7, mlp_ratio=0.01).eval().requires_grad_(False)
    for module in net.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight)
        if getattr(module, "bias", None) is not None:
            module.bias.zero_()
    view = make_view(net, make_images(side=28))
    scores = view.logits.gather(1, CLASSES)
    assert scores.abs().min() > 0.01
    assert torch.allclose(gradxinput.saliency(view, CLASSES).sum((-2, -1)), scores, rtol=1e-4)
    assert torch.equal(gradxinput.total(view, CLASSES), scores)
