"""Relevance-CAM against its rules written for relevance itself, in double precision, and against zennit."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from timm.models.vgg import VGG
from torch import nn

from salcheck.methods import relevancecam
from salcheck.network.outputs import SOFTMAX
from tests.methods.conftest import CLASSES
from tests.nets import make_images, make_net, make_view


def contrast(classes, N=7):
    own = F.one_hot(classes, N).double()
    return own - (1 - own) / (N - 1)


def small_vgg(norm):
    torch.manual_seed(0)
    net = VGG([8, "M", 8, "M"], num_classes=7, mlp_ratio=0.01, norm_layer=norm).eval()
    for module in net.modules():
        if getattr(module, "bias", None) is not None:
            nn.init.normal_(module.bias, 0, 0.1)
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
    nn.init.normal_(net.head.fc.weight)
    return net.requires_grad_(False)


def check_pooled_linear_head(view, weight):
    """The relevance of a pooled channel, by hand: shares of what raises u less those of what raises the others."""
    acts, W = view.acts.double().numpy(), weight.double().numpy()
    N = len(W)
    pooled, raising = acts.mean((2, 3)), np.maximum(W, 0)
    shares = pooled[:, None] * raising / (pooled @ raising.T)[..., None]  # (B, N, C)
    for b, row in enumerate(CLASSES.tolist()):
        for m, u in enumerate(row):
            others = np.delete(shares[b], u, axis=0).sum(0)
            expected = np.tensordot(shares[b, u] - others / (N - 1), acts[b], axes=1)
            got = relevancecam.saliency(view, CLASSES)[b, m].numpy()
            assert got == pytest.approx(expected, abs=1e-5 * np.abs(expected).max())


@pytest.mark.oracle
def test_equals_the_formula_at_a_pooled_linear_head(scenes_model):
    net = make_net("test_resnet")
    check_pooled_linear_head(make_view(net, make_images(side=96)), net.fc.weight)
    view = make_view(scenes_model.net, make_images(side=scenes_model.size[0]))
    check_pooled_linear_head(view, scenes_model.net.get_classifier().weight)


@pytest.mark.oracle
@pytest.mark.parametrize("norm", [None, nn.BatchNorm2d])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("layer", ["features", "features.0", "features.2"])
def test_equals_zennit_on_a_vgg(norm, signed, layer):
    pytest.importorskip("zennit")
    from zennit.composites import LayerMapComposite
    from zennit.rules import Pass, ZPlus

    net = small_vgg(norm)
    if signed:  # a convolution then reads values below zero, whose positive contributions come by negative weights
        net.features[-2] = nn.Identity()
    view = make_view(net, make_images(side=28), layer)
    plus = ZPlus(stabilizer=1e-12, zero_params="bias")
    rules = [(nn.Conv2d, plus), (nn.Linear, plus), (nn.BatchNorm2d, Pass()), (nn.ReLU, Pass())]
    acts = view.acts.clone().requires_grad_()
    with LayerMapComposite(rules).context(net):
        scores = view.head(acts)
        starts = contrast(CLASSES).float().unbind(1)
        expected = [torch.autograd.grad(scores, acts, start, retain_graph=True)[0] for start in starts]
    expected = torch.stack(expected, 1)
    got = relevancecam.relevance(view, contrast(CLASSES).float())
    assert expected.abs().max() > 0
    assert torch.allclose(got, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


def back_through(conv, x, R):
    """The z+ rule for relevance itself: a sum over pairs of input and output, by transposed convolutions."""
    keep = {"stride": conv.stride, "padding": conv.padding}
    halves = [(conv.weight.clamp(min=0), x.clamp(min=0)), (conv.weight.clamp(max=0), x.clamp(max=0))]
    z = sum(F.conv2d(half, w, **keep) for w, half in halves)
    share = torch.where(z == 0, 0, R / z)
    h = (share.shape[-1] - 1) * conv.stride[0] - 2 * conv.padding[0] + conv.kernel_size[0]
    lost = x.shape[-1] - h
    return sum(half * F.conv_transpose2d(share, w, output_padding=lost, **keep) for w, half in halves)


@pytest.mark.oracle
def test_equals_the_rules_by_hand_through_a_residual_block():
    """test_resnet from the end of layer3 up: a block of two convolutions beside a pooled one, and a linear head."""
    net = make_net("test_resnet")
    view = make_view(net, make_images(side=96), "layer3")
    got = relevancecam.relevance(view, contrast(CLASSES).float())
    double = make_net("test_resnet").double()
    (block,) = double.layer4
    A, start = view.acts.double(), contrast(CLASSES)
    steps = by_hand_forward(block, A)
    top = F.relu(steps["main"] + steps["side"])
    pooled, raising = top.mean((2, 3)), double.fc.weight.clamp(min=0)
    for m in range(2):
        R = pooled * ((start[:, m] / (pooled @ raising.T)) @ raising)
        R = top * (R / top.sum((2, 3)).clamp(min=1e-300))[..., None, None]
        R = torch.where(top > 0, R / (steps["main"] + steps["side"]), 0)
        expected = by_hand_backward(block, A, steps, R)
        assert torch.allclose(got[:, m].double(), expected, atol=1e-4 * float(expected.abs().max()))


def by_hand_forward(block, A):
    first = F.relu(block.bn1(block.conv1(A)))
    pool, conv, norm = block.downsample
    small = pool(A)
    return {"first": first, "main": block.bn2(block.conv2(first)), "small": small, "side": norm(conv(small))}


def by_hand_backward(block, A, steps, share):
    """`share` is the relevance over the sum of the two branches."""
    R = back_through(block.conv1, A, back_through(block.conv2, steps["first"], steps["main"] * share))
    side = back_through(block.downsample[1], steps["small"], steps["side"] * share)
    ratio = torch.where(steps["small"] == 0, 0, side / steps["small"])
    return R + A * F.interpolate(ratio / 4, scale_factor=2)


def test_no_relevance_is_gained_or_lost():
    """At a cut that all paths cross, to the last digit that float32 can add up."""
    for name, layer in [("test_resnet", "layer2"), ("densenet121", "features.denseblock2")]:
        view = make_view(make_net(name), make_images(side=96), layer)
        total = relevancecam.relevance(view, F.one_hot(CLASSES, 7).float()).sum((2, 3, 4))
        assert torch.allclose(total, torch.ones(3, 2), atol=1e-3)


def test_channels_that_training_has_emptied_hand_nothing_down():
    net = small_vgg(nn.BatchNorm2d)
    net.features[4].weight[0] *= 1e-40
    view = make_view(net, make_images(side=28), "features.0")
    total = relevancecam.relevance(view, F.one_hot(CLASSES, 7).float()).sum((2, 3, 4))
    assert (total > 0.1).all()
    assert (total < 0.999).all()


def test_the_scores_stay_what_they_are():
    net = make_net("test_resnet")
    view = make_view(net, make_images(side=96), "layer2")
    with relevancecam.handing_down(net):
        scores = view.head(view.acts.clone().requires_grad_())
    assert torch.equal(scores, view.head(view.acts))


def test_other_networks_than_relu_are_unfit():
    for name in ("test_resnet", "densenet121"):
        assert relevancecam.unfit(SimpleNamespace(net=make_net(name), outputs=SOFTMAX)) is None
    assert relevancecam.unfit(SimpleNamespace(net=small_vgg(None), outputs=SOFTMAX)) is None
    assert "GELU" in relevancecam.unfit(SimpleNamespace(net=make_net("test_vit"), outputs=SOFTMAX))
    assert "SiLU" in relevancecam.unfit(SimpleNamespace(net=make_net("test_efficientnet"), outputs=SOFTMAX))
