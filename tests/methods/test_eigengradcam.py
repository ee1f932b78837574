"""Eigen-Grad-CAM against a full SVD in double precision and the grad-cam package."""

import numpy as np
import pytest
import torch

from salcheck.methods import eigengradcam, hirescam
from tests.methods.conftest import CLASSES
from tests.methods.peers import peer_maps
from tests.methods.test_eigencam import by_svd
from tests.nets import make_images, make_net, make_view

NETS = [("test_resnet", 96, "layer3.0.conv2"), ("test_resnet", 96, "layer1.0"), ("test_convnext", 160, "features")]


@pytest.mark.oracle
@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize(("name", "side", "layer"), NETS)
def test_equals_a_full_svd_of_gradient_times_activation(name, side, layer, centred):
    view = make_view(make_net(name), make_images(side=side), layer)
    maps = eigengradcam.saliency(view, CLASSES, centred=centred)
    for b, row in enumerate(CLASSES.tolist()):
        for m, u in enumerate(row):
            grads = view.grads(torch.full((3, 1), u))[b, 0]
            expected = by_svd(grads * view.acts[b], centred)
            assert maps[b, m].numpy() == pytest.approx(expected, abs=2e-3 * np.abs(expected).max())


def test_equals_the_grad_cam_package_but_for_the_sign():
    net, images = make_net("test_resnet"), make_images(side=96)
    expected = peer_maps("EigenGradCAM", net, "layer3.0.conv2", images, CLASSES)
    maps = eigengradcam.saliency(make_view(net, images, "layer3.0.conv2"), CLASSES, centred=True)
    sign = (maps * expected).sum(dim=(-2, -1), keepdim=True).sign()
    assert torch.allclose(maps, sign * expected, atol=1e-3 * float(expected.abs().max()))


@pytest.mark.parametrize("centred", [False, True])
def test_it_goes_along_with_hirescam(centred):
    view = make_view(make_net("test_resnet"), make_images(side=96), "layer3.0.conv2")
    along = eigengradcam.saliency(view, CLASSES, centred=centred) * hirescam.saliency(view, CLASSES)
    assert (along.sum(dim=(-2, -1)) > 0).all()
