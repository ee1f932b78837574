"""SCOUT by its formula in double precision, with autograd for the confidence score's gradient."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from salcheck.methods import scout
from salcheck.network.labels import Labels
from tests.methods.conftest import CLASSES, LAYER
from tests.nets import make_images, make_net, make_view


@pytest.fixture(scope="module")
def net():
    """Its classes have attributions of either sign in every image: their rows are orthogonal to the mean features."""
    net = make_net("test_resnet")
    z = make_view(net, make_images(side=128)).acts.mean((-2, -1))
    net.fc.weight.copy_(30 * (net.fc.weight - net.fc.weight @ torch.linalg.pinv(z) @ z))
    return net


@pytest.fixture(scope="module")
def view(net):
    view = make_view(net, make_images(side=128))
    assert view.acts.min() >= 0
    return view


def confidence_of(logits, name):
    """The released code's scores."""
    p = logits.softmax(-1)
    return p.amax(-1) if name == "softmax" else 1 + (p * p.log()).sum(-1) / np.log(p.shape[-1])


def parts(net, view, b, name):
    """A (C, h, w), the gradients of all logits (N, C) and e (h, w), as released: nothing is scaled."""
    acts = view.acts[b].double().requires_grad_()
    weight, bias = net.fc.weight.double(), net.fc.bias.double()
    confidence = confidence_of(weight @ acts.mean((-2, -1)) + bias, name)
    (grad,) = torch.autograd.grad(confidence, acts)
    easiness = (grad.clamp(min=0) * acts).sum(0).detach().numpy()
    return acts.detach().numpy(), weight.numpy() / acts[0].numel(), easiness


def attribution(acts, row):
    h = np.tensordot(row, acts, axes=1)
    h = h / abs(h).max()
    return np.where(h < 0, 1e-7, h)


@pytest.mark.oracle
@pytest.mark.parametrize("name", ["softmax", "entropy", "none"])
def test_equals_the_formula(net, view, name):
    maps = scout.saliency(view, CLASSES, confidence=name).double().numpy()
    for b, pair in enumerate(CLASSES.tolist()):
        acts, rows, e = parts(net, view, b, "softmax" if name == "none" else name)
        for m, (u, v) in enumerate((pair, pair[::-1])):
            h_u, h_v = attribution(acts, rows[u]), attribution(acts, rows[v])
            expected = (h_v.max() - h_v) * h_u * (1 if name == "none" else e / e.max())
            assert maps[b, m] == pytest.approx(expected, rel=1e-3, abs=1e-5 * expected.max())
    assert np.ptp(maps, axis=(-2, -1)).min() > 0.01


@pytest.mark.parametrize("name", ["softmax", "entropy"])
def test_ranks_are_those_of_the_released_code(net, view, name):
    """Which scales nothing: its floor is 1e-7 of a logit."""
    maps = scout.saliency(view, CLASSES, confidence=name).double().numpy()
    compared = 0
    for b, (u, v) in enumerate(CLASSES.tolist()):
        acts, rows, e = parts(net, view, b, name)
        h = np.tensordot(rows, acts, axes=1)
        floored = np.where(h < 0, 1e-7, h)
        released = e * (floored[v].max() - floored[v]) * floored[u]
        seen = h[u] > 1e-3 * h[u].max()
        compared += seen.sum()
        released, mine = released[seen], maps[b, 0][seen]
        assert released / released.max() == pytest.approx(mine / mine.max(), abs=1e-4)
    assert compared > 9


@pytest.mark.parametrize("name", ["softmax", "entropy"])
def test_slopes_are_the_gradient_of_the_confidence(name):
    logits = 2 * torch.randn(5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    leaf = logits.clone().requires_grad_()
    (grad,) = torch.autograd.grad(confidence_of(leaf, name).sum(), leaf)
    found = scout.slopes(logits, name)
    assert torch.allclose(found, grad / grad.abs().amax(-1, keepdim=True), atol=1e-9)
    assert found.abs().amax(-1) == pytest.approx(1)


@pytest.mark.parametrize("name", ["softmax", "entropy"])
def test_a_model_that_is_sure_has_a_map_all_the_same(net, name):
    """In single precision its largest probability is 1 and has no gradient."""
    sure = make_net("test_resnet")
    sure.fc.weight.mul_(300)
    view = make_view(sure, make_images(side=128))
    assert (view.logits.softmax(-1).amax(-1) == 1).all()
    top = view.logits.argsort(-1, descending=True)[:, :2]
    maps = scout.saliency(view, top, confidence=name)
    assert maps.isfinite().all()
    assert (maps.amax((-2, -1)) > 1e-3).all()


def test_swapping_the_classes_swaps_the_maps(view):
    assert torch.equal(scout.saliency(view, CLASSES.flip(1)), scout.saliency(view, CLASSES).flip(1))


def test_attributions_are_at_their_place_at_an_inner_layer(net):
    """Gradients differ from cell to cell there: they are not pooled."""
    view = make_view(net, make_images(side=96), LAYER)
    grads, acts = view.grads(CLASSES).double(), view.acts.double()
    h = (grads * acts[:, None]).sum(2)
    h = h / h.abs().amax((-2, -1), keepdim=True)
    h = torch.where(h < 0, 1e-7, h)
    other = h.flip(1)
    expected = h * (other.amax((-2, -1), keepdim=True) - other)
    assert torch.allclose(scout.saliency(view, CLASSES, confidence="none").double(), expected, atol=1e-5)


@pytest.mark.parametrize("lead", [1.0, 60.0, 600.0])
def test_the_slope_of_the_softmax_does_not_vanish_in_rounding(lead):
    """p - p^2 of the first is the sum of p q over the others: 1 to a half and a half, however sure the model is."""
    assert scout.slopes(torch.tensor([lead, 0.0, 0.0]), "softmax").tolist() == pytest.approx([1, -0.5, -0.5])


def test_logits_that_are_all_equal_give_no_nan():
    assert scout.slopes(torch.zeros(1, 4), "entropy").tolist() == [[0, 0, 0, 0]]


def test_a_model_of_one_class_has_nothing_to_compare(net):
    assert "has one" in scout.unfit(SimpleNamespace(net=net, labels=Labels(["a"])))
