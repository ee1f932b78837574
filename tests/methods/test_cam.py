"""CAM against the logit that its maps add up to, and `unfit` against what makes it one."""

from types import SimpleNamespace

import pytest
import timm
import torch

from salcheck.methods import cam, gradcam, hirescam
from salcheck.network.labels import Labels
from salcheck.network.outputs import SOFTMAX
from salcheck.network.view import FEATURES
from tests.nets import SIDES, make_images, make_net, make_view

CLASSES = torch.tensor([[0, 3], [1, 6], [5, 5]])
TOKENS = {"patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2, "num_classes": 7, "class_token": True}
NETS = {
    "test_resnet": (lambda: make_net("test_resnet"), 96, True),
    "densenet121": (lambda: make_net("densenet121"), 96, True),
    "test_efficientnet": (lambda: make_net("test_efficientnet"), 160, True),
    "swin, channels last": (lambda: make_net("swin_tiny_patch4_window7_224"), 56, True),
    "vit, mean of tokens": (lambda: tokens(global_pool="avg", fc_norm=False), 56, True),
    "vit, mean of tokens, then norm": (lambda: tokens(global_pool="avg", fc_norm=True), 56, False),
    "test_convnext, pooling, then norm": (lambda: make_net("test_convnext"), 160, False),
    "mean and maximum": (lambda: made("test_resnet", global_pool="avgmax"), 96, False),
    "convolution after pooling": (lambda: made("mobilenetv3_small_050"), 96, False),
}


def made(name, **changes):
    torch.manual_seed(0)
    return timm.create_model(name, num_classes=7, **changes).eval().requires_grad_(False)


def tokens(**changes):
    torch.manual_seed(0)
    net = timm.models.VisionTransformer(img_size=56, **TOKENS, **changes)
    return net.eval().requires_grad_(False)


def model(net, layer=FEATURES):
    return SimpleNamespace(net=net, layer=layer, labels=Labels(["a"] * 7), outputs=SOFTMAX)


@pytest.mark.parametrize(("make", "side", "fits"), NETS.values(), ids=NETS)
def test_it_fits_where_the_gradient_is_the_classifier_s_row(make, side, fits):
    """Zhou et al. found CAM where d s_u / d A[n, i, j] = W[u, n] / (h w), for every image."""
    net = make()
    view = make_view(net, make_images(side=side))
    h, w = view.acts.shape[-2:]
    rows = net.get_classifier().weight[CLASSES][..., None, None] / (h * w)
    grads = view.grads(CLASSES)
    same = rows.shape[2] == grads.shape[2] and torch.allclose(grads, rows.expand_as(grads), atol=1e-6)
    assert same == fits
    assert (cam.unfit(model(net)) is None) == fits


def test_it_does_not_fit_elsewhere():
    net = make_net("test_resnet")
    assert "not layer3.0.conv2" in cam.unfit(model(net, "layer3.0.conv2"))
    assert "one linear layer" in cam.unfit(model(make_net("test_vit")))


@pytest.mark.oracle
def test_the_mean_of_a_map_and_the_bias_are_the_logit(scenes_model):
    """The paper's score is the sum of its map: the forward pass itself is the oracle."""
    view = make_view(scenes_model.net, make_images(side=scenes_model.size[0]))
    classes = torch.arange(view.logits.shape[1]).expand(3, -1)
    maps = cam.saliency(view, classes)
    bias = scenes_model.net.get_classifier().bias
    assert torch.allclose(maps.mean(dim=(-2, -1)) + bias, view.logits, atol=1e-4)
    assert maps.min() < 0 < maps.max()  # signed


@pytest.mark.parametrize("bias", [True, False])
def test_the_claimed_total_is_the_sum_of_the_map(bias):
    net = make_net("test_resnet")
    net.fc.bias = torch.nn.Parameter(torch.linspace(-3, 4, 7), requires_grad=False) if bias else None
    view = make_view(net, make_images(side=96))
    assert torch.allclose(cam.total(view, CLASSES), cam.saliency(view, CLASSES).sum(dim=(-2, -1)), atol=1e-4)


@pytest.mark.oracle
def test_it_is_grad_cam_times_the_positions_at_its_head():
    view = make_view(make_net("densenet121"), make_images(side=96))
    h, w = view.acts.shape[-2:]
    maps = cam.saliency(view, CLASSES)
    assert torch.allclose(maps, h * w * hirescam.saliency(view, CLASSES), atol=1e-5)
    assert torch.allclose(maps.clamp(min=0), h * w * gradcam.saliency(view, CLASSES), atol=1e-5)


@pytest.mark.parametrize("name", ["test_efficientnet", "swin_tiny_patch4_window7_224"])
def test_maps_lie_as_the_picture_does(name):
    """One position of the features changed in the head's own layout: the map changes there alone."""
    net = make_net(name)
    view = make_view(net, make_images(1, side=SIDES.get(name, 56)))
    changed = view.acts.clone()
    changed[0, :, 1, 0] += 1
    rise = (view.head(changed) - view.logits)[0, CLASSES[:1]] * changed[0, 0].numel()
    other = SimpleNamespace(net=net, acts=changed, outputs=SOFTMAX)
    difference = cam.saliency(other, CLASSES[:1]) - cam.saliency(view, CLASSES[:1])
    assert torch.allclose(difference[0, :, 1, 0], rise[0], rtol=1e-3, atol=1e-3)
    assert difference.abs().sum() == pytest.approx(float(difference[0, :, 1, 0].abs().sum()))
