"""Exemplars against a choice image by image."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from salcheck.datasets import Item
from salcheck.network.labels import Labels
from salcheck.references import exemplars
from tests.nets import make_images, make_net, make_view

LAYER = "layer3.0.conv2"
N = 4


@pytest.fixture(scope="module")
def net():
    return make_net("test_resnet", N)


@pytest.fixture(scope="module")
def images():
    images = make_images(24, 64, seed=3)
    return images + 3 * torch.randn(24, 3, 1, 1, generator=torch.Generator().manual_seed(1))


def collected(net, images, labels, folder, n, batch):
    folder.mkdir(exist_ok=True)
    model = SimpleNamespace(labels=Labels([str(u) for u in range(N)]))
    collector = exemplars.collect(model, len(images), folder, n)
    for start in range(0, len(images), batch):
        stop = min(start + batch, len(images))
        items = [Item(str(row), labels[row]) for row in range(start, stop)]
        collector.add(make_view(net, images[start:stop], LAYER), items)
    stored = {file.stem: np.load(file, mmap_mode="c") for file in folder.glob("*.npy")}
    return exemplars.restore(collector.arrays() | stored)


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("batch", [5, 24])
def test_the_first_of_each_class_come_in_those_predicted_right_before_others(net, images, tmp_path, n, batch):
    predicted = net(images).argmax(-1).tolist()
    labels = [((2, 3)[row % 2], 1) if row % 3 else (row % 2 + 1,) for row in range(24)]  # none shows class 0
    found = collected(net, images, labels, tmp_path, n, batch)
    acts = make_view(net, images, LAYER).acts
    right = [row for row in range(24) if predicted[row] in labels[row]]
    assert 0 < len(right) < 24
    for u in range(N):
        shown = [row for row in range(24) if u in labels[row]]
        best = sorted(shown, key=lambda row: predicted[row] != u)[:n]
        kept, there = found.of(torch.tensor(u))
        assert there.sum() == len(best)
        assert all(min((one - acts[row]).abs().max() for one in kept) < 1e-5 for row in best)


def test_those_of_many_classes_come_in_their_shape(net, images, tmp_path):
    labels = [(row % N,) for row in range(24)]
    found = collected(net, images, labels, tmp_path, 2, 8)
    acts, there = found.of(torch.tensor([[0, 3, 1], [2, 2, 0]]))
    assert acts.shape[:3] == (2, 3, 2)
    assert there.all()
    assert torch.equal(acts[0, 0], found.of(torch.tensor(0))[0])
    assert not torch.equal(acts[0, 0], acts[0, 1])


def test_an_image_that_is_not_finite_is_left_out(net, images, tmp_path):
    broken = images[:4].clone()
    broken[1] = torch.nan
    found = collected(net, broken, [(row,) for row in range(4)], tmp_path, 1, 4)
    assert found.there[:, 0].tolist() == [True, False, True, True]
    assert found.acts[found.there[:, 0]].isfinite().all()


def test_without_images_there_is_none(tmp_path):
    model = SimpleNamespace(labels=Labels(["a", "b"]))
    found = exemplars.restore(exemplars.collect(model, 0, tmp_path, 2).arrays())
    assert not found.of(torch.tensor([[0, 1]]))[1].any()
