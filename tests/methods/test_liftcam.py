"""LIFT-CAM against captum's DeepLIFT on the head alone, SHAP values by their definition, and completeness."""

import copy
import itertools
import math

import pytest
import timm.layers.activations as timm_activations
import torch
from captum.attr import DeepLift
from timm.models.vgg import VGG
from torch import nn

from salcheck.methods import ablationcam, liftcam
from tests.nets import make_images, make_net, make_view

CLASSES = torch.tensor([[0, 3], [1, 6], [5, 5]])


class Head(nn.Module):
    """What comes after `features`, as captum wants it: separate activations, none in place."""

    def __init__(self, net):
        super().__init__()
        self.net = copy.deepcopy(net)
        set_out_of_place(self.net)

    def forward(self, acts):
        return self.net.forward_head(acts)


def set_out_of_place(net):
    for module in net.modules():
        if hasattr(module, "inplace"):
            module.inplace = False


def make_vgg(activation):
    """Two hidden layers with an activation each after the features."""
    torch.manual_seed(0)
    net = VGG([8, "M", 12, "M"], num_classes=7, mlp_ratio=0.01, act_layer=activation)
    nn.init.normal_(net.features[-3].bias)
    for conv in (net.pre_logits.fc1, net.pre_logits.fc2):
        nn.init.normal_(conv.weight, std=3 / math.sqrt(conv.weight[0].numel()))
        nn.init.normal_(conv.bias)
    nn.init.normal_(net.head.fc.weight, std=0.1)
    return net.eval().requires_grad_(False)


def by_captum(head, acts, classes):
    """DeepLIFT contributions (B, M, C, h, w) against zero."""
    acts, zero = acts.clone().requires_grad_(), torch.zeros_like(acts)
    columns = [DeepLift(head).attribute(acts, zero, target=column) for column in classes.T]
    return torch.stack(columns, dim=1).detach()


def assert_close(found, expected, tolerance=1e-5):
    assert expected.abs().max() > 0
    assert torch.allclose(found, expected, atol=tolerance * float(expected.abs().max()))


def maps_of(contributions, acts):
    return (contributions.sum(dim=(-2, -1))[..., None, None] * acts[:, None]).sum(dim=2).clamp(min=0)


@pytest.mark.oracle
@pytest.mark.filterwarnings("ignore:Setting forward, backward hooks")
@pytest.mark.parametrize("activation", [nn.ReLU, nn.ELU])
def test_equals_deeplift_of_captum_where_two_hidden_layers_follow(activation):
    net = make_vgg(activation)
    view = make_view(net, make_images(side=48))
    assert not view.affine
    expected = by_captum(Head(net), view.acts, CLASSES)
    plain = view.grads(CLASSES) * view.acts[:, None]
    assert (plain - expected).abs().max() > 0.1 * expected.abs().max()
    assert_close(liftcam.contributions(view, CLASSES), expected)
    assert_close(liftcam.saliency(view, CLASSES), maps_of(expected, view.acts))


@pytest.mark.filterwarnings("ignore:Setting forward, backward hooks")
def test_equals_deeplift_of_captum_where_a_residual_stage_follows():
    net, images = make_net("test_resnet"), make_images(side=96)
    head = copy.deepcopy(nn.Sequential(net.layer4, net.global_pool, net.fc))
    set_out_of_place(head)
    view = make_view(net, images, "layer3")
    expected = by_captum(head, view.acts, CLASSES)
    assert_close(liftcam.contributions(view, CLASSES), expected)
    assert_close(liftcam.saliency(view, CLASSES), maps_of(expected, view.acts))


def of_a_net(name):
    if name in ("GELU", "Hardswish", "HardSwish"):
        activation = getattr(timm_activations, name, None) or getattr(nn, name)
        return make_vgg(activation), "features.3", 48  # an activation and a max-pooling follow, then the hidden layers
    return make_net(name), {"test_resnet": "layer3.0.conv2", "densenet121": "features.denseblock2"}[name], 96


@pytest.mark.parametrize("name", ["test_resnet", "densenet121", "GELU", "Hardswish", "HardSwish"])
def test_contributions_sum_to_what_the_logit_gains_over_activations_of_zero(name):
    net, layer, side = of_a_net(name)
    if isinstance(net, VGG):
        net.features[5] = nn.AvgPool2d(2)  # linear: the rescale rule is then complete
    view = make_view(net, make_images(side=side), layer)
    assert not view.affine
    zero = view.head(torch.zeros_like(view.acts)).gather(1, CLASSES)
    gain = view.logits.gather(1, CLASSES) - zero
    assert_close(liftcam.contributions(view, CLASSES).sum(dim=(2, 3, 4)), gain, 1e-4)


def test_a_max_pooling_right_after_the_layer_keeps_the_sum():
    view = make_view(make_vgg(nn.ReLU), make_images(side=48), "features.4")
    zero = view.head(torch.zeros_like(view.acts)).gather(1, CLASSES)
    gain = view.logits.gather(1, CLASSES) - zero
    assert_close(liftcam.contributions(view, CLASSES).sum(dim=(2, 3, 4)), gain, 1e-4)


class Flat(nn.Module):
    """Four channels, each position of each with a weight of its own."""

    num_classes = 7

    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 8, 8), nn.Linear(4 * 9, 7)

    def forward_features(self, images):
        return self.conv(images)

    def forward_head(self, features):
        return self.fc(features.flatten(1))

    def forward(self, images):
        return self.forward_head(self.forward_features(images))


@pytest.mark.oracle
def test_at_an_affine_head_weights_are_shap_values():
    torch.manual_seed(0)
    net = Flat().requires_grad_(False)
    view = make_view(net, make_images(side=24))
    assert view.affine
    values = torch.zeros(3, 2, 4)
    for order in itertools.permutations(range(4)):
        acts = torch.zeros_like(view.acts)
        for channel in order:
            before = net.forward_head(acts).gather(1, CLASSES)
            acts[:, channel] = view.acts[:, channel]
            values[:, :, channel] += net.forward_head(acts).gather(1, CLASSES) - before
    expected = torch.einsum("bmc,bchw->bmhw", values / math.factorial(4), view.acts).clamp(min=0)
    assert_close(liftcam.saliency(view, CLASSES), expected)
    assert_close(liftcam.saliency(view, CLASSES), ablationcam.saliency(view, CLASSES))


def test_an_affine_head_is_never_run(monkeypatch):
    view = make_view(make_net("test_resnet"), make_images(side=96))
    assert view.affine
    monkeypatch.setattr(view, "head", None)
    assert liftcam.saliency(view, CLASSES).max() > 0


def test_equal_inputs_pass_the_plain_derivative_and_others_the_slope():
    own, base = torch.tensor([[0.5, 1.0, -1.0]]), torch.tensor([[0.5, 1.0 + 1e-7, 3.0]])
    x = torch.cat([own, base]).requires_grad_()
    out = x**2
    shown = liftcam._secant(x, out)
    assert torch.equal(shown, out)
    shown[0].sum().backward()
    assert torch.allclose(x.grad[0], torch.tensor([1.0, 2.0, 2.0]))  # 2 x, 2 x, and (1 - 9) / (-1 - 3)


def test_chunks_change_nothing():
    view = make_view(make_net("test_resnet"), make_images(side=96), "layer3.0.conv2")
    together = liftcam.contributions(view, CLASSES)
    assert (together.abs().amax(dim=(2, 3, 4)) > 0.01).all()
    view.batch_size = 2
    assert_close(liftcam.contributions(view, CLASSES), together)


def test_one_image_at_an_inner_layer_is_its_row_of_the_batch():
    net, images = make_net("test_resnet"), make_images(side=96)
    whole = liftcam.saliency(make_view(net, images, "layer3.0.conv2"), CLASSES)
    view = make_view(net, images[1:2], "layer3.0.conv2")
    # It knows from here on that one image can serve many activations.
    view.head(view.acts.repeat(2, 1, 1, 1), torch.zeros(2, dtype=torch.long))
    assert torch.allclose(liftcam.saliency(view, CLASSES[1:2]), whole[1:2], atol=1e-6)
