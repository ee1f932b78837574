"""Finer-CAM against the grad-cam package differentiating its own target, and the formula in NumPy."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from salcheck.errors import SalcheckError
from salcheck.methods import finercam, gradcam
from salcheck.network.labels import Labels
from tests.methods.conftest import CLASSES, LAYER
from tests.methods.peers import peer_maps
from tests.nets import make_view


def nearest(logits, u, k):
    """The k other classes by distance of their logits, in plain Python."""
    return sorted((v for v in range(len(logits)) if v != u), key=lambda v: abs(float(logits[v] - logits[u])))[:k]


@pytest.mark.oracle
@pytest.mark.parametrize(("gamma", "k"), [(1.0, 1), (1.0, 3), (0.6, 3), (0.3, 6)])
def test_softmax_weights_equal_the_grad_cam_package(net, images, gamma, k):
    from pytorch_grad_cam.utils.model_targets import FinerWeightedTarget

    view = make_view(net, images, LAYER)
    target = lambda image, u: FinerWeightedTarget(u, nearest(view.logits[image], u, k), gamma)  # noqa: E731
    expected = peer_maps("GradCAM", net, LAYER, images, CLASSES, target).clamp(min=0)
    maps = finercam.saliency(view, CLASSES, gamma=gamma, k=k, weights="softmax")
    assert expected.max() > 0
    assert torch.allclose(maps, expected, atol=1e-4 * float(expected.max()))


@pytest.mark.oracle
@pytest.mark.parametrize(("gamma", "k"), [(0.6, 3), (1.0, 1), (0.3, 6)])
def test_equals_the_formula(net, images, gamma, k):
    view = make_view(net, images, LAYER)
    every = view.grads(torch.arange(7).expand(3, 7)).double().numpy().mean(axis=(-2, -1))
    maps = finercam.saliency(view, CLASSES, gamma=gamma, k=k)
    for b, row in enumerate(CLASSES.tolist()):
        for m, u in enumerate(row):
            alpha = every[b, u] - gamma * every[b, nearest(view.logits[b], u, k)].mean(axis=0)
            expected = np.maximum(np.tensordot(alpha, view.acts[b].double().numpy(), axes=1), 0)
            assert maps[b, m].numpy() == pytest.approx(expected, abs=1e-6)
    assert maps.max() > 0


def test_similar_classes_have_the_nearest_logits_on_either_side():
    logits = torch.tensor([[0.0, 5.0, 2.0, 2.5, -1.0], [1.0, 1.0, 1.0, 9.0, 8.0]])
    chosen = finercam.similar(logits, torch.tensor([[1, 2], [3, 1]]), 2)
    assert chosen.tolist() == [[[3, 2], [3, 0]], [[4, 0], [0, 2]]]  # of equals the lower index first


def test_without_comparison_it_is_grad_cam(net, images):
    view = make_view(net, images, LAYER)
    assert torch.allclose(finercam.saliency(view, CLASSES, gamma=0), gradcam.saliency(view, CLASSES), atol=1e-7)


def test_k_is_what_the_model_has(net, images):
    view = make_view(net, images, LAYER)
    most = finercam.saliency(view, CLASSES, k=6)
    assert torch.equal(finercam.saliency(view, CLASSES, k=50), most)
    with pytest.raises(SalcheckError, match="1 to 6"):
        finercam.saliency(view, CLASSES, k=0)


def test_a_model_of_one_class_has_nothing_to_compare(net):
    assert "has one" in finercam.unfit(SimpleNamespace(net=net, labels=Labels(["a"])))
    assert finercam.unfit(SimpleNamespace(net=net, labels=Labels(["a", "b"]))) is None


@pytest.mark.parametrize("weights", ["equal", "softmax"])
def test_a_pair_is_compared_with_each_other_alone(net, images, weights):
    view = make_view(net, images, LAYER)
    every = view.grads(torch.arange(7).expand(3, 7)).double().numpy().mean(axis=(-2, -1))
    maps = finercam.saliency(view, CLASSES, gamma=0.7, k=3, weights=weights, rivals="pair")
    for b, pair in enumerate(CLASSES.tolist()):
        for m, (u, v) in enumerate((pair, pair[::-1])):
            expected = np.tensordot(every[b, u] - 0.7 * every[b, v], view.acts[b].double().numpy(), axes=1)
            assert maps[b, m].numpy() == pytest.approx(np.maximum(expected, 0), abs=1e-6)
    assert maps.max() > 0


def test_a_class_alone_is_compared_with_the_likeliest_other(net, images):
    view = make_view(net, images, LAYER)
    top = view.logits.argsort(-1, descending=True)
    alone = finercam.saliency(view, top[:, :1], rivals="pair")
    assert torch.equal(alone, finercam.saliency(view, top[:, :2], rivals="pair")[:, :1])
    assert torch.allclose(alone, finercam.saliency(view, top[:, :1], k=1), atol=1e-7)  # it is the nearest below
