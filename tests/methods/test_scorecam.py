import copy
import warnings

import pytest
import torch

from salcheck.methods import scorecam
from tests.nets import make_net, make_view

CLASSES = torch.tensor([[0, 3], [1, 6], [5, 5]])


@pytest.fixture(scope="module")
def net():
    """At layer3.0.act1 its first five channels are dead."""
    net = make_net("test_resnet")
    net.layer3[0].bn1.bias[:5] = -100.0
    return net


def in_the_package(net, layer, images, classes):
    """Raw maps (B, M, h, w) of the grad-cam package."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pytorch_grad_cam import ScoreCAM
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
    acts, module, weights = make_view(net, images, layer).acts, net.get_submodule(layer), []
    with ScoreCAM(net, [module]) as cam:
        for column in classes.T:
            targets = [ClassifierOutputTarget(int(u)) for u in column]
            weights.append(torch.tensor(cam.get_cam_weights(images, module, targets, acts.numpy(), None)))
    return torch.einsum("bmc,bchw->bmhw", torch.stack(weights, dim=1), acts).clamp(min=0)


@pytest.mark.oracle
@pytest.mark.parametrize("layer", ["layer3.0.conv2", "layer3.0.act1"])
def test_equals_the_grad_cam_package_with_aligned_corners(net, images, layer):
    expected = in_the_package(net, layer, images, CLASSES)
    assert expected.max() > 0.1
    view = make_view(net, images, layer)
    maps = scorecam.saliency(view, CLASSES, align_corners=True)
    assert torch.allclose(maps, expected, atol=1e-4 * float(expected.max()))
    assert not torch.allclose(scorecam.saliency(view, CLASSES), expected, atol=1e-4 * float(expected.max()))


@pytest.mark.oracle
def test_equals_the_formula_with_half_pixel_centres(net, images):
    view = make_view(net, images, "layer3.0.conv2")
    maps = scorecam.saliency(view, CLASSES)
    double = copy.deepcopy(net).double()
    for b, row in enumerate(CLASSES.tolist()):
        scores = []
        for channel in view.acts[b].double():
            mask = torch.nn.functional.interpolate(channel[None, None], size=(96, 96), mode="bilinear")
            scores.append(double(images[b : b + 1] * (mask - mask.min()) / (mask.max() - mask.min()))[0])
        for m, u in enumerate(row):
            powers = torch.stack(scores)[:, u].exp()
            expected = torch.tensordot(powers / powers.sum(), view.acts[b].double(), dims=1).clamp(min=0).float()
            assert torch.allclose(maps[b, m], expected, atol=1e-5 * float(view.acts.abs().max()))


def test_classes_together_are_classes_one_by_one(net, images):
    together = scorecam.saliency(make_view(net, images, "layer3.0.conv2"), CLASSES)
    for m in range(CLASSES.shape[1]):
        alone = scorecam.saliency(make_view(net, images, "layer3.0.conv2"), CLASSES[:, m : m + 1])
        assert torch.equal(alone[:, 0], together[:, m])
    assert not torch.allclose(together[0, 0], together[0, 1], rtol=1e-3)


def test_constant_channels_share_the_forward_of_a_blank_image(net, images, monkeypatch):
    view = make_view(net, images, "layer3.0.act1")
    varied = view.acts.amax(dim=(-2, -1)) > view.acts.amin(dim=(-2, -1))
    assert not varied[:, :5].any()
    rows, forward = [], view.forward
    monkeypatch.setattr(view, "forward", lambda x: rows.append(len(x)) or forward(x))
    scores = scorecam.masked_scores(view, CLASSES, False)
    assert sum(rows) == varied.count_nonzero() + 1
    blank = net(torch.zeros_like(images)).gather(1, CLASSES)
    assert torch.allclose(scores[:, :5], blank[:, None].expand(-1, 5, -1), atol=1e-5)


def test_where_every_channel_is_constant_all_weigh_the_same(images):
    net = make_net("test_resnet")
    net.layer3[0].bn1.weight.zero_()
    view = make_view(net, images, "layer3.0.bn1")
    assert view.acts.abs().max() == 0
    net.layer3[0].bn1.bias.copy_(torch.arange(48) / 48)
    view = make_view(net, images, "layer3.0.bn1")
    mean = view.acts.mean(dim=1)
    assert torch.allclose(scorecam.saliency(view, CLASSES), mean[:, None].expand(-1, 2, -1, -1), atol=1e-6)
