import captum.attr
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import nn

from salcheck.errors import SalcheckError
from salcheck.methods import integratedgradients
from salcheck.network.view import FEATURES, View
from salcheck.perturb.canvas import canvas
from tests.methods.conftest import CLASSES
from tests.nets import SIDES, make_images, make_net, make_view


@pytest.mark.oracle
@pytest.mark.parametrize("name", ["test_resnet", "test_convnext", "test_vit"])
@pytest.mark.parametrize("baseline", ["mean", "blur", "zero"])
def test_equals_captum_at_equal_steps(name, baseline):
    net, images = make_net(name), make_images(side=SIDES.get(name, 96))
    view = make_view(net, images)
    start = canvas(view, baseline)
    peer = captum.attr.IntegratedGradients(net)
    expected = [peer.attribute(images, start, target=column, n_steps=4).sum(1) for column in CLASSES.T]
    maps = integratedgradients.saliency(view, CLASSES, steps=4, baseline=baseline)
    assert torch.allclose(maps, torch.stack(expected, 1).float(), atol=1e-6)


@pytest.mark.parametrize("baseline", ["mean", "blur", "zero"])
def test_sums_to_the_score_s_change_from_the_baseline(baseline):
    net, images = make_net("test_vit"), make_images(side=160)
    view = make_view(net, images)
    start = canvas(view, baseline)
    change = (net(images) - net(start)).gather(1, CLASSES)
    assert change.abs().min() > 0.01
    maps = integratedgradients.saliency(view, CLASSES, steps=24, baseline=baseline)
    assert torch.allclose(maps.sum((-2, -1)), change, atol=1e-3)
    assert torch.allclose(integratedgradients.total(view, CLASSES, baseline=baseline), change, atol=1e-5)


def test_one_step_is_exact_for_a_linear_network():
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 5 * 4, 7)).requires_grad_(False)
    net.num_classes = 7
    images = torch.randn(3, 3, 5, 4)
    expected = (net[1].weight.unflatten(1, (3, 5, 4))[CLASSES] * images[:, None]).sum(2)
    maps = integratedgradients.saliency(make_view(net, images), CLASSES, steps=1)
    assert torch.allclose(maps, expected, atol=1e-6)


def test_the_blurred_baseline_is_a_gaussian_of_a_twentieth_of_the_shorter_side():
    images = make_images(side=60)[:, :, :, :40]
    start = canvas(make_view(make_net("test_resnet"), images), "blur")
    expected = gaussian_filter(images.numpy(), sigma=2, radius=6, mode="mirror", axes=(2, 3))
    assert start.numpy() == pytest.approx(expected, abs=1e-5)


def test_chunks_do_not_change_the_map():
    net, images = make_net("test_resnet"), make_images(side=96)
    views = [View(net, FEATURES, lambda: images, (96, 96), range(3), None, size) for size in (2, 15)]
    maps = [integratedgradients.saliency(view, CLASSES, steps=5) for view in views]
    assert torch.allclose(*maps, atol=1e-6)


def test_no_step_is_one_line():
    with pytest.raises(SalcheckError, match="steps=0"):
        integratedgradients.saliency(make_view(make_net("test_resnet"), make_images()), CLASSES, steps=0)
