import numpy as np
import pytest
import torch
from scipy.stats import kstest

from salcheck.methods import random as noise
from tests.methods.conftest import CLASSES
from tests.nets import make_images, make_net, make_view


@pytest.fixture(scope="module")
def maps():
    return noise.saliency(make_view(make_net("test_resnet"), make_images(side=96), "layer1"), CLASSES)


@pytest.mark.oracle
def test_values_are_uniform(maps):
    """Against the distribution function itself, all maps together and each alone."""
    assert kstest(maps.flatten().numpy(), "uniform").pvalue > 0.01
    for one in maps.flatten(0, 1):
        assert kstest(one.flatten().numpy(), "uniform").pvalue > 0.001


def test_maps_of_two_classes_and_of_two_images_are_unrelated(maps):
    off_diagonal = np.corrcoef(maps.flatten(0, 1).flatten(1).numpy()) - np.eye(6)
    assert np.abs(off_diagonal).max() < 0.2


def test_maps_are_the_same_every_time(maps):
    view = make_view(make_net("test_resnet"), make_images(side=96), "layer1")
    assert torch.equal(maps, noise.saliency(view, CLASSES))
