import numpy as np
import pytest
import torch
from PIL import Image

from salcheck.datasets import Dataset, Item
from salcheck.network.loading import load_model
from salcheck.references import Need, build
from salcheck.references.confusion import Confusion
from tests.makers import save_model


def made(counts, softmax=None, images=None) -> Confusion:
    counts = torch.tensor(counts)
    softmax = torch.zeros(counts.shape) if softmax is None else torch.tensor(softmax)
    return Confusion(counts, softmax, torch.ones(len(counts)) if images is None else torch.tensor(images))


def test_the_most_confused_classes_come_first_and_never_the_class_itself():
    matrix = made([[90, 1, 5, 3], [0, 9, 0, 0], [1, 1, 1, 1], [0, 0, 7, 0]])
    chosen, known = matrix.most_confused(torch.tensor([[0, 1], [2, 3]]), 3)
    assert chosen[0, 0].tolist() == [2, 3, 1]
    assert chosen[1].tolist() == [[0, 1, 3], [2, 0, 1]]
    assert chosen[0, 1].tolist() == [0, 2, 3]  # nothing but zeros: the lower index
    assert known.all()


def test_equal_counts_are_settled_by_the_mean_softmax_and_only_they():
    softmax = [[0.5, 0.1, 0.0, 0.4], [0.3, 0.4, 0.2, 0.1], [0.0, 0.0, 1.0, 0.0], [0.99, 0.0, 0.0, 0.01]]
    matrix = made([[8, 1, 0, 1], [0, 9, 0, 0], [0, 0, 9, 0], [0, 1, 0, 8]], softmax)
    chosen, _ = matrix.most_confused(torch.tensor([[0, 1, 3]]), 2)
    assert chosen[0].tolist() == [[3, 1], [0, 2], [1, 0]]  # class 3: one count outweighs a softmax of 0.99


def test_a_class_without_an_image_is_not_known():
    _, known = made([[0, 0], [0, 3]], images=[0, 3]).most_confused(torch.tensor([[0, 1]]), 1)
    assert known.tolist() == [[False, True]]


@pytest.fixture
def model(tmp_path):
    return load_model(save_model(tmp_path / "model"), device="cpu")


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    pictures = {str(i): Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)) for i in range(20)}
    items = [Item(str(i), (i % 7,) if i < 16 else (1, 4) if i < 18 else ()) for i in range(20)]
    return Dataset("made", "", items, lambda item: pictures[item.key])


def by_hand(model, data):
    counts, softmax, images = np.zeros((7, 7), int), np.zeros((7, 7)), np.zeros(7, int)
    for item in data.items:
        logits = model.net(model.transform(data.read(item))[None])[0]
        for label in item.labels:
            kept = [v for v in range(7) if v == label or v not in item.labels]
            chances = logits[kept].softmax(0)
            counts[label, kept[int(chances.argmax())]] += 1
            softmax[label, kept] += chances.numpy()
            images[label] += 1
    return counts, softmax / np.maximum(images, 1)[:, None], images


def confusion(model, data, cache, batch_size=6, progress=lambda done, total: None):
    return build([Need("confusion", {})], model, data, cache, batch_size, progress).values["confusion"]


def test_counts_and_softmax_equal_one_image_at_a_time(model, data, tmp_path):
    matrix = confusion(model, data, tmp_path / "cache")
    counts, softmax, images = by_hand(model, data)
    assert matrix.counts.numpy().tolist() == counts.tolist()
    assert matrix.softmax.numpy() == pytest.approx(softmax, abs=1e-5)
    assert matrix.images.numpy().tolist() == images.tolist()
    assert counts.sum() == images.sum() == 16 + 2 * 2


def test_the_least_confused_are_the_other_end_of_the_row():
    matrix = made([[90, 1, 5, 3], [0, 9, 0, 0], [1, 1, 1, 1], [0, 0, 7, 0]])
    chosen, _ = matrix.most_confused(torch.tensor([[0, 3]]), 2, least=True)
    assert chosen[0].tolist() == [[1, 3], [0, 1]]
