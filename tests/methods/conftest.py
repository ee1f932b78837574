"""What tests of methods share: a tiny network, images and classes, and a layer after which nothing is linear."""

import pytest
import torch

from tests.nets import make_images, make_net

CLASSES = torch.tensor([[0, 3], [1, 6], [5, 2]])
LAYER = "layer3.0.conv2"


@pytest.fixture(scope="module")
def net():
    return make_net("test_resnet")


@pytest.fixture(scope="module")
def images():
    return make_images(side=96)
