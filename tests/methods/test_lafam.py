"""LaFAM against CAM with a classifier that weighs all channels alike, at two layouts."""

import copy

import numpy as np
import pytest
import torch

from salcheck.methods import cam, lafam
from tests.nets import make_images, make_net, make_view

CLASSES = torch.tensor([[0, 3], [1, 6], [5, 5]])


@pytest.mark.parametrize("name", ["test_resnet", "swin_tiny_patch4_window7_224"])
def test_it_is_cam_with_equal_weights(name):
    net = copy.deepcopy(make_net(name))
    classifier = net.get_classifier()
    classifier.weight.fill_(1 / classifier.in_features)
    view = make_view(net, make_images(side=56 if name.startswith("swin") else 96))
    assert torch.allclose(lafam.saliency(view, CLASSES), cam.saliency(view, CLASSES), atol=1e-6)


@pytest.mark.oracle
def test_equals_the_mean_in_double_precision():
    view = make_view(make_net("test_resnet"), make_images(side=96), "layer3.0.conv2")
    expected = view.acts.double().numpy().sum(axis=1) / view.acts.shape[1]
    maps = lafam.saliency(view, CLASSES)
    assert maps.shape == (3, 2, *view.acts.shape[-2:])
    for m in range(2):
        assert maps[:, m].numpy() == pytest.approx(expected, abs=1e-6)
    assert np.min(expected) < 0  # signed as the layer is
