import threading

import pytest
import torch
from PIL import Image

from salcheck.datasets import Dataset, Item
from salcheck.errors import SalcheckError
from salcheck.inputs.loader import AHEAD, batches
from salcheck.network.loading import load_model
from tests.makers import save_model


@pytest.fixture
def model(tmp_path):
    return load_model(save_model(tmp_path / "model"), device="cpu")


def dataset(count: int, broken: set[int] = frozenset(), started: list[str] | None = None) -> Dataset:
    def read(item: Item) -> Image.Image:
        if started is not None:
            started.append(item.key)
        if int(item.key) in broken:
            raise SalcheckError(f"{item.key} is broken")
        return Image.new("RGB", (70, 80), (int(item.key), 0, 0))

    return Dataset("made", "", [Item(str(i)) for i in range(count)], read)


def test_chunks_keep_the_order_and_the_size(model):
    data = dataset(11)
    chunks = list(batches(model, data, data.items, 4))
    assert [[i.key for i in c.items] for c in chunks] == [["0", "1", "2", "3"], ["4", "5", "6", "7"], ["8", "9", "10"]]
    reds = [round(float(t[0].mean() * 127.5 + 127.5)) for c in chunks for t in c.tensors]
    assert reds == list(range(11))


def test_a_broken_image_is_noted_and_the_others_are_there(model):
    data = dataset(6, broken={1, 4})
    chunks = list(batches(model, data, data.items, 3))
    assert [[i.key for i in c.read] for c in chunks] == [["0", "2"], ["3", "5"]]
    assert {key: str(error) for key, error in chunks[0].failures.items()} == {"1": "1 is broken"}
    assert all(isinstance(t, torch.Tensor) for c in chunks for t in c.tensors)


def test_it_reads_only_a_few_chunks_ahead_and_stops_when_left(model):
    started: list[str] = []
    data = dataset(1000, started=started)
    before = threading.active_count()
    reading = batches(model, data, data.items, 5)
    next(reading)
    reading.close()
    assert len(started) <= 5 * (AHEAD + 1)
    assert threading.active_count() <= before
