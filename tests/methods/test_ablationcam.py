import copy
import warnings

import pytest
import torch

from salcheck.methods import ablationcam
from tests.nets import make_images, make_net, make_view

CLASSES = torch.tensor([[0, 3], [1, 6], [5, 5]])


def in_the_package(net, layer, images, classes):
    """Raw maps (B, M, h, w) of the grad-cam package, times s_u, which it divides by."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pytorch_grad_cam import AblationCAM
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
    net = copy.deepcopy(net)
    acts = make_view(net, images, layer).acts
    weights = []
    for column in classes.T:
        targets = [ClassifierOutputTarget(int(u)) for u in column]
        module = net.get_submodule(layer)
        with AblationCAM(net, [module]) as cam:
            weights.append(torch.tensor(cam.get_cam_weights(images, module, targets, acts, None)))
    scores = net(images).gather(1, classes)
    return torch.einsum("bmc,bchw->bmhw", torch.stack(weights, dim=1) * scores[..., None], acts).clamp(min=0)


def one_by_one(net, layer, images, classes):
    """How far logits fall, (B, M, C), by as many whole forwards as there are channels, in double precision."""
    net, images = copy.deepcopy(net).double(), images.double()
    scores, falls = net(images).gather(1, classes), []
    for channel in range(make_view(net, images, layer).acts.shape[1]):

        def drop(module, args, out, channel=channel):
            out = out.clone()
            out[:, channel] = 0
            return out

        hook = net.get_submodule(layer).register_forward_hook(drop)
        falls.append(scores - net(images).gather(1, classes))
        hook.remove()
    return torch.stack(falls, dim=2).float()


@pytest.mark.oracle
def test_equals_the_grad_cam_package_where_activations_are_not_negative(images):
    net = make_net("test_resnet")
    expected = in_the_package(net, "layer2", images, CLASSES)
    assert expected.max() > 0
    maps = ablationcam.saliency(make_view(net, images, "layer2"), CLASSES)
    assert torch.allclose(maps, expected, atol=1e-5 * float(expected.max()))


@pytest.mark.oracle
@pytest.mark.parametrize(("name", "layer"), [("test_resnet", "layer3.0.conv2"), ("test_convnext", "stages.3")])
def test_weights_are_what_the_logits_lose(name, layer):
    net, images = make_net(name), make_images(side=64)
    view = make_view(net, images, layer)
    expected = one_by_one(net, layer, images, CLASSES)
    assert (view.logits.gather(1, CLASSES) < 0).any()  # the paper's map would be upside down there
    falls = ablationcam.falls(view, CLASSES)
    assert torch.allclose(falls, expected, atol=1e-4 * float(expected.abs().max()))
    maps = torch.einsum("bmc,bchw->bmhw", expected, view.acts)
    assert maps.min() < 0
    scale = float(maps.abs().max())
    assert torch.allclose(ablationcam.saliency(view, CLASSES), maps.clamp(min=0), atol=1e-4 * scale)


def test_an_affine_head_is_never_run(images, monkeypatch):
    view = make_view(make_net("test_resnet"), images)
    assert view.affine
    left = ablationcam._without(view, CLASSES)
    by_forwards = (view.logits.gather(1, CLASSES)[:, None] - left).transpose(1, 2)
    monkeypatch.setattr(view, "head", None)
    falls = ablationcam.falls(view, CLASSES)
    assert falls.abs().max() > 0.01
    assert torch.allclose(falls, by_forwards, atol=1e-5)


@pytest.mark.parametrize("dead", [5, 48])
def test_dead_channels_cost_nothing(images, monkeypatch, dead):
    net = make_net("test_resnet")
    net.layer3[0].bn1.bias[:dead] = -100.0
    view = make_view(net, images, "layer3.0.act1")
    assert not view.affine
    rows, head = [], view.head
    monkeypatch.setattr(view, "head", lambda acts, of: rows.append(len(acts)) or head(acts, of))
    falls = ablationcam.falls(view, CLASSES)
    alive = (view.acts != 0).flatten(2).any(-1)
    assert sum(rows) == alive.count_nonzero() <= 3 * (48 - dead)
    assert (falls[:, :, :dead] == 0).all()
    assert (falls.transpose(1, 2)[alive] != 0).any() == (dead < 48)


def test_chunks_change_nothing(images, monkeypatch):
    view = make_view(make_net("test_resnet"), images, "layer3.0.conv2")
    large = ablationcam.falls(view, CLASSES)
    monkeypatch.setattr(ablationcam, "VALUES", 1)
    view.batch_size = 7
    assert torch.allclose(ablationcam.falls(view, CLASSES), large, atol=1e-6)
