"""Smooth Grad-CAM++ against its formula in NumPy with the very same noise, and Grad-CAM++ as its limit."""

import numpy as np
import pytest
import torch

from salcheck.errors import SalcheckError
from salcheck.methods import gradcampp, parse_method, smoothgradcampp
from tests.methods.conftest import CLASSES
from tests.nets import make_images, make_net, make_view

SEEDS = [4, 5, 6]


def gradients(net, layer, image, u):
    """d logit u / d acts of one image (3, H, W) by a backward through the whole network."""
    kept = []
    hook = net.get_submodule(layer).register_forward_hook(lambda module, args, out: kept.append(out) or out.clone())
    logits = net(image[None].clone().requires_grad_())
    hook.remove()
    return torch.autograd.grad(logits[0, u], kept[0])[0][0].double().numpy(), kept[0][0].detach().double().numpy()


def in_numpy(net, layer, image, seed, u, samples, sigma):
    """The three means and the printed fraction, one copy at a time, in double precision."""
    source = torch.Generator().manual_seed(seed)
    copies = [image + sigma * torch.randn(image.shape, generator=source) for _ in range(samples)]
    g = np.stack([gradients(net, layer, copy, u)[0] for copy in copies])
    A = gradients(net, layer, image, u)[1]
    S = np.maximum(A, 0).sum(axis=(1, 2), keepdims=True)
    first, second, third = (np.mean(g**power, axis=0) for power in (1, 2, 3))
    with np.errstate(invalid="ignore"):
        alpha = np.where(second > 0, second / (2 * second + S * np.maximum(third, 0)), 0)
    w = (alpha * np.maximum(first, 0)).sum(axis=(1, 2))
    assert np.any((third < 0) & (first > 0)) == (samples > 2)  # the guard is needed from three copies on
    return np.maximum(np.tensordot(w, A, axes=1), 0)


@pytest.mark.oracle
@pytest.mark.parametrize("layer", ["layer3.0", "layer3.0.conv2"])
@pytest.mark.parametrize(("samples", "sigma"), [(5, 0.3), (2, 1.0)])
def test_equals_the_formula(layer, samples, sigma):
    net, images = make_net("test_resnet"), make_images(side=96)
    net.fc.weight *= 1e3  # so that S E[g^3] counts beside 2 E[g^2]
    view = make_view(net, images, layer, seeds=SEEDS)
    maps = smoothgradcampp.saliency(view, CLASSES, samples=samples, sigma=sigma)
    for b, row in enumerate(CLASSES.tolist()):
        for m, u in enumerate(row):
            expected = in_numpy(net, layer, images[b], SEEDS[b], u, samples, sigma)
            assert maps[b, m].numpy() == pytest.approx(expected, abs=1e-4 * expected.max())
    assert maps.max() > 0


@pytest.mark.parametrize("samples", [1, 3])
def test_without_noise_it_is_grad_cam_plus_plus(samples):
    view = make_view(make_net("test_convnext"), make_images(side=160))
    expected = gradcampp.saliency(view, CLASSES)
    maps = smoothgradcampp.saliency(view, CLASSES, samples=samples, sigma=0)
    assert torch.allclose(maps, expected, rtol=1e-4, atol=1e-5 * float(expected.max()))


def test_noise_changes_the_map_and_a_piece_of_the_batch_does_not():
    net, images = make_net("test_resnet"), make_images(side=96)
    whole = make_view(net, images, "layer3.0", seeds=SEEDS)
    small = make_view(net, images, "layer3.0", seeds=SEEDS)
    small.batch_size = 1
    maps = smoothgradcampp.saliency(whole, CLASSES)
    assert torch.allclose(smoothgradcampp.saliency(small, CLASSES), maps, rtol=1e-3, atol=1e-5 * float(maps.max()))
    assert not torch.allclose(gradcampp.saliency(whole, CLASSES), maps, atol=1e-2 * float(maps.max()))


def test_the_noise_comes_from_the_seeds():
    net, images = make_net("test_resnet"), make_images(side=96)
    maps = [
        smoothgradcampp.saliency(make_view(net, images, "layer3.0", seeds=seeds), CLASSES)
        for seeds in (SEEDS, SEEDS, [4, 7, 6])
    ]
    assert torch.equal(maps[0], maps[1])
    assert [torch.equal(one, other) for one, other in zip(maps[0], maps[2], strict=True)] == [True, False, True]
    assert parse_method("smoothgradcampp").seeded


@pytest.mark.parametrize("given", [{"samples": 0}, {"sigma": -0.1}])
def test_what_makes_no_sense_is_one_line(given):
    view = make_view(make_net("test_resnet"), make_images(side=96))
    with pytest.raises(SalcheckError, match="samples is 1 or more, sigma 0 or more"):
        smoothgradcampp.saliency(view, CLASSES, **given)
