import pytest
import torch
from torch import nn

from salcheck.errors import SalcheckError
from salcheck.methods import gradient, smoothgrad
from salcheck.network.view import FEATURES, View
from tests.methods.conftest import CLASSES
from tests.nets import make_images, make_net, make_view


class Squares(nn.Module):
    """Every score is 3/2 of the sum of the first colour's squares: its gradient is 3x, and the noise shows in it."""

    num_classes = 7

    def forward(self, images):
        return (1.5 * images[:, 0] ** 2).sum((1, 2))[:, None].expand(-1, 7)


def by_a_loop(net, image, seed, u, samples, sigma):
    """The mean gradient of noisy copies (3, H, W), one backward through the whole network for each."""
    total, spread = torch.zeros_like(image), sigma * float(image.max() - image.min())
    for one in torch.randint(2**62, (samples,), generator=torch.Generator().manual_seed(seed)).tolist():
        noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(one))
        copy = (image + spread * noise)[None].requires_grad_()
        total += torch.autograd.grad(net(copy)[0, u], copy)[0][0] / samples
    return total.abs().max(dim=0).values


@pytest.mark.oracle
@pytest.mark.parametrize(("samples", "sigma"), [(3, 0.15), (2, 0.5)])
def test_equals_a_loop_over_copies(samples, sigma):
    net, images, seeds = make_net("test_resnet"), make_images(side=96), [4, 5, 6]
    maps = smoothgrad.saliency(make_view(net, images, seeds=seeds), CLASSES, samples=samples, sigma=sigma)
    for b, row in enumerate(CLASSES.tolist()):
        for m, u in enumerate(row):
            expected = by_a_loop(net, images[b], seeds[b], u, samples, sigma)
            assert torch.allclose(maps[b, m], expected, atol=1e-4 * float(expected.max()))


def test_without_noise_it_is_the_gradient():
    net, images = make_net("test_resnet"), make_images(side=96)
    maps = smoothgrad.saliency(make_view(net, images), CLASSES, samples=2, sigma=0.0)
    assert torch.allclose(maps, gradient.saliency(make_view(net, images), CLASSES), atol=1e-7)


@pytest.mark.oracle
@pytest.mark.parametrize(("samples", "sigma"), [(1, 0.15), (16, 0.15), (16, 0.3)])
def test_noise_has_the_paper_s_level_and_signed_gradients_are_averaged(samples, sigma):
    """Of a black image but for two pixels 8 apart: map = 3 |mean of n normal numbers|, each of spread 8 sigma."""
    images = torch.zeros(2, 3, 128, 128)
    images[:, 1, 0, 0], images[:, 2, 0, 1] = 5, -3
    maps = smoothgrad.saliency(make_view(Squares(), images), CLASSES[:2], samples=samples, sigma=sigma)
    spread = maps.square().mean((-2, -1)).sqrt()
    assert torch.allclose(spread, torch.full((2, 2), 3 * 8 * sigma / samples**0.5), rtol=0.03)


def test_classes_share_their_noise_and_images_do_not():
    images = make_images(1, side=32).expand(2, -1, -1, -1)
    maps = smoothgrad.saliency(make_view(Squares(), images), CLASSES[:2], samples=3)
    assert torch.equal(maps[:, 0], maps[:, 1])
    assert not torch.allclose(maps[0], maps[1])


def test_chunks_do_not_change_the_map():
    net, images = make_net("test_resnet"), make_images(side=96)
    views = [View(net, FEATURES, lambda: images, (96, 96), range(3), None, size) for size in (2, 15)]
    maps = [smoothgrad.saliency(view, CLASSES, samples=5) for view in views]
    assert torch.allclose(*maps, atol=1e-6)


@pytest.mark.parametrize("wrong", [{"samples": 0}, {"sigma": -0.1}])
def test_a_wrong_parameter_is_one_line(wrong):
    with pytest.raises(SalcheckError, match="smoothgrad:"):
        smoothgrad.saliency(make_view(Squares(), make_images()), CLASSES, **wrong)
