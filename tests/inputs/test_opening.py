"""Names of classes flow from the folders to the model, and from there to everything else."""

import pytest
import timm
import torch

from salcheck.errors import SalcheckError
from salcheck.inputs.opening import open_all, open_reference
from salcheck.network.loading import load_model
from salcheck.network.settings import Settings
from tests.datasets.test_folder import fill


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("own") / "own.pth"
    torch.save(timm.create_model("test_resnet", num_classes=3).state_dict(), path)
    return path


def model(file, **settings):
    return load_model("test_resnet", checkpoint=file, device="cpu", settings=Settings(**settings))


def labels(dataset):
    return {item.key.split("/")[0]: item.labels[0] if item.labels else None for item in dataset.items}


def folders(root, *names):
    return fill(root, *(f"{name}/{root.name}.png" for name in names))


def test_the_model_has_the_names_of_the_folders(file, tmp_path):
    own = model(file)
    opened = open_all("folder", folders(tmp_path / "a", "dog", "bird", "car"), None, own, 0)
    assert opened.model.labels.names == ("bird", "car", "dog")
    assert opened.model.labels.resolve("car") == 1
    assert opened.notes == ["classes by sorted folder names: 0 bird, 1 car, 2 dog"]
    assert opened.model.notes == opened.notes
    assert opened.model.key == own.key
    assert not own.labels.named


@pytest.mark.parametrize("missing", ["bird", "car", "dog"])
def test_a_reference_that_lacks_a_class_shifts_no_index(file, tmp_path, missing):
    names = ["bird", "car", "dog"]
    data, held = folders(tmp_path / "a", *names), folders(tmp_path / "b", *(n for n in names if n != missing))
    opened = open_all("folder", data, held, model(file), 0)
    assert labels(opened.reference) == {name: i for i, name in enumerate(names) if name != missing}
    turned = open_all("folder", held, data, model(file), 0)
    assert labels(turned.dataset) == labels(opened.reference)
    assert labels(turned.reference) == labels(opened.dataset)


def test_a_flat_folder_and_a_reference_of_classes(file, tmp_path):
    opened = open_all(
        "folder", fill(tmp_path / "flat", "x.png"), folders(tmp_path / "b", "a", "b", "c"), model(file), 0
    )
    assert opened.model.labels.names == ("a", "b", "c")
    assert labels(opened.dataset) == {"x.png": None}
    named, held = open_reference(tmp_path / "b", model(file), 0)
    assert named.labels.names == ("a", "b", "c")
    assert labels(held) == {"a": 0, "b": 1, "c": 2}


def test_given_names_decide_whatever_the_order_of_the_folders(file, tmp_path):
    data = folders(tmp_path / "a", "bird", "car", "dog")
    opened = open_all("folder", data, None, model(file, class_names=["dog", "bird", "car"]), 0)
    assert labels(opened.dataset) == {"dog": 0, "bird": 1, "car": 2}
    assert not opened.notes


def test_another_number_of_given_names_is_one_line(file):
    with pytest.raises(SalcheckError, match="there are 2 names for 3 classes"):
        model(file, class_names=["a", "b"])
