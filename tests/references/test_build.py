"""References are gathered in one pass over held-out images, once, and again where their files are not sound."""

import dataclasses
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from salcheck.datasets import Dataset, Item
from salcheck.errors import SalcheckError
from salcheck.network.loading import load_model
from salcheck.references import Need, build
from tests.makers import save_model

CONFUSION = Need("confusion", {})


@pytest.fixture
def model(tmp_path):
    return load_model(save_model(tmp_path / "model"), device="cpu")


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    pictures = {str(i): Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)) for i in range(20)}
    return Dataset("made", "", [Item(str(i), (i % 7,)) for i in range(20)], lambda item: pictures[item.key])


def test_it_is_made_once_and_again_where_a_file_is_torn(model, data, tmp_path):
    steps: list[int] = []

    def ask():
        return build([CONFUSION], model, data, tmp_path / "cache", 6, lambda done, total: steps.append(done))

    first = ask().values["confusion"]
    assert steps == [6, 12, 18, 20]
    assert torch.equal(ask().values["confusion"].counts, first.counts)
    assert len(steps) == 4
    (place,) = (tmp_path / "cache" / "reference").iterdir()
    (place / "arrays.npz").write_bytes((place / "arrays.npz").read_bytes()[:100])
    assert torch.equal(ask().values["confusion"].counts, first.counts)
    assert len(steps) == 8
    assert [p.name for p in (tmp_path / "cache" / "reference").iterdir()] == [place.name]


KINDS = [
    CONFUSION,
    Need("exemplars", {"n": 1}),
    Need("features", {}),
    Need("gallery", {}),
    Need("library", {"rule": "random", "n": 1, "p_top": 0.0, "p_target": 1.0}),
]


@pytest.mark.parametrize("layer", ["features", "layer2"])  # behind the first the head is affine: no pool is kept
@pytest.mark.parametrize("need", KINDS, ids=lambda need: need.name)
def test_a_flipped_byte_anywhere_is_found(model, data, tmp_path, need, layer):
    model, cache, rng = model.at(layer), tmp_path / "cache", np.random.default_rng(0)
    steps: list[int] = []

    def ask():
        build([need], model, data, cache, 20, lambda done, total: steps.append(done))
        (place,) = (cache / "reference").iterdir()
        return {file.name: file.read_bytes() for file in sorted(place.iterdir())}, place

    whole, place = ask()
    assert len(steps) == 1
    for name, content in whole.items():
        for spot in {0, len(content) - 1, *rng.integers(len(content), size=4).tolist()}:
            altered = bytearray(content)
            altered[spot] ^= 1 << int(rng.integers(8))
            (place / name).write_bytes(altered)
            made = len(steps)
            assert ask()[0] == whole
            assert len(steps) == made + 1, (name, spot)
        (place / name).unlink()
        assert ask()[0] == whole
    made = len(steps)
    assert ask()[0] == whole
    assert len(steps) == made


def test_sound_files_of_another_reference_are_not_believed(model, data, tmp_path):
    others = Dataset("others", "", data.items[:9], data.read)
    made = {}
    for source in (data, others):
        values = build([CONFUSION], model, source, tmp_path / source.name, 20).values["confusion"]
        (place,) = (tmp_path / source.name / "reference").iterdir()
        made[source.name] = (values.images.tolist(), place)
    foreign = made["others"][1]
    for name in [file.name for file in foreign.iterdir()] + [None]:
        own = made["made"][1]
        if name is None:
            shutil.rmtree(own)
            shutil.copytree(foreign, own)
        else:
            shutil.copy(foreign / name, own / name)
        again = build([CONFUSION], model, data, tmp_path / "made", 20).values["confusion"]
        assert again.images.tolist() == made["made"][0]


def test_what_lacks_an_unreadable_image_serves_but_is_not_kept(model, data, tmp_path):
    def read(item):
        if item.key == "3":
            raise SalcheckError("cannot read")
        return data.read(item)

    torn = Dataset("made", "", data.items, read)
    built = build([CONFUSION], model, torn, tmp_path / "cache", 6)
    assert built.unread == 1
    assert built.values["confusion"].images.sum() == 19
    assert not list((tmp_path / "cache" / "reference").iterdir())


def test_without_labels_it_says_what_to_do(model, data, tmp_path):
    unlabelled = Dataset("made", "", [Item(item.key) for item in data.items], data.read)
    with pytest.raises(SalcheckError, match=r"--reference DIR with class folders"):
        build([CONFUSION], model, unlabelled, tmp_path / "cache")


@pytest.mark.parametrize("name", ["confusion", "features"])
def test_an_image_whose_scores_are_not_finite_spoils_no_reference(model, data, tmp_path, name):
    whole = Dataset("made", "", data.items[1:], data.read)
    first = data.read(data.items[0])
    transform = model.transform
    broken = dataclasses.replace(
        model, transform=lambda image: transform(image) * (float("nan") if image is first else 1.0)
    )
    kept, spoilt = (
        build([Need(name, {})], one, images, tmp_path / cache, 4).values[name]
        for one, images, cache in ((model, whole, "a"), (broken, data, "b"))
    )
    if name == "confusion":
        assert torch.equal(kept.counts, spoilt.counts)
        assert torch.allclose(kept.softmax, spoilt.softmax, atol=1e-6)
    else:
        assert len(spoilt) == len(kept) == 19
        assert torch.allclose(kept.mean, spoilt.mean, atol=1e-5)


def test_a_large_file_that_was_altered_is_found(model, data, tmp_path):
    features = [Need("features", {})]
    first = build(features, model, data, tmp_path / "cache", 6).values["features"].values.clone()
    (place,) = (tmp_path / "cache" / "reference").iterdir()
    content = bytearray((place / "features.npy").read_bytes())
    content[-2] ^= 1
    (place / "features.npy").write_bytes(content)
    again = build(features, model, data, tmp_path / "cache", 6).values["features"].values
    assert torch.equal(again, first)
