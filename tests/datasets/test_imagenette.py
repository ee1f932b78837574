import socket
import time

import pytest
from PIL import Image

from salcheck.datasets import imagenette
from salcheck.errors import SalcheckError
from salcheck.network.labels import Labels

LABELS = Labels(["goldfish", "tench", "church"], ["n01443537", "n01440764", "n03028079"])


@pytest.fixture
def no_network(monkeypatch):
    def unreachable(*_, **__):
        raise socket.gaierror("Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unreachable)
    monkeypatch.setattr(socket.socket, "connect", unreachable)


def extract(root):
    for wnid in ("n01440764", "n03028079"):
        for split in ("train", "val"):
            (root / split / wnid).mkdir(parents=True)
            Image.new("RGB", (4, 4)).save(root / split / wnid / f"{split}.JPEG")
    return root


@pytest.mark.parametrize("named", ["the folder", "its parent", "nothing"])
def test_what_is_extracted_is_found_without_a_network(tmp_path, monkeypatch, no_network, named):
    parent = tmp_path / "cache" / "datasets"
    folder = extract(parent / imagenette.FOLDER)
    root = {"the folder": folder, "its parent": parent, "nothing": None}[named]
    dataset = imagenette.open_dataset(root, LABELS, 0)
    assert dataset.name == "imagenette"
    assert {item.key: item.labels for item in dataset.items} == {
        "n01440764/val.JPEG": (1,),
        "n03028079/val.JPEG": (2,),
    }


def test_without_a_network_one_line_soon_names_the_choices(tmp_path, no_network):
    start = time.monotonic()
    with pytest.raises(SalcheckError, match=r"cannot be fetched.*--data DIR.*--arch scenes"):
        imagenette.open_dataset(None, LABELS, 0)
    assert time.monotonic() - start < 20


def test_a_place_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SalcheckError, match=r"cannot be fetched.*--data DIR"):
        imagenette.open_dataset(tmp_path / "file" / "below", LABELS, 0)


def test_nothing_is_fetched_for_a_model_of_other_classes(monkeypatch):
    monkeypatch.setattr(imagenette, "_download", lambda root: pytest.fail("fetched 340 MB in vain"))
    with pytest.raises(SalcheckError, match=r"this model has others"):
        imagenette.open_dataset(None, Labels(["cat", "dog"]), 0)
