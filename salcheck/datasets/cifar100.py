"""CIFAR-100: `cifar-100-python` as distributed, class folders of images, or an .npz with train_x … classes.

The pickles (https://www.cs.toronto.edu/~kriz/cifar.html, the Python version) are read by `_pickles`, which executes
nothing; the 100 fine labels are taken. Folders are root/CLASS/IMAGE, or root/{train,test}/CLASS/IMAGE.
Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from salcheck.datasets import Dataset, Labels
from salcheck.datasets import folder as class_folders
from salcheck.datasets._arrays import array_dataset, npz_or_folder, read_npz
from salcheck.datasets._pickles import pixels, read_pickle, texts, whole_numbers
from salcheck.errors import SalcheckError

FOLDER = "cifar-100-python"
LAYOUT = (
    f"{FOLDER}/ with train, test and meta, a cifar100*.npz with train_x train_y test_x test_y classes, "
    "or class folders of images"
)


def open_dataset(root: Path | None, labels: Labels, seed: int) -> Dataset:
    """The test images, 32x32 RGB, with their fine labels; raises SalcheckError where files are missing or broken, or
    where the model does not have the classes.

    A model of 100 classes none of which is called as CIFAR-100's are is taken to have them in their order.
    """
    return _open(root, labels, "test", seed)


def open_training(root: Path | None, labels: Labels) -> Dataset:
    """The training images, as `open_dataset` gives the test images."""
    return _open(root, labels, "train", 0)


def _open(root: Path | None, labels: Labels, split: str, seed: int) -> Dataset:
    place = npz_or_folder(root, "cifar100", LAYOUT)
    if place.is_file():
        images, fine, classes = read_npz(place, f"{split}_x", f"{split}_y", "classes")
        if classes.ndim != 1 or classes.dtype.kind != "U":
            raise SalcheckError(f"'{place}': classes are {classes.dtype} {classes.shape}: a list of names is needed")
        return array_dataset("cifar100", place, split, images, fine, _known(classes.tolist(), labels))
    for folder in (place / FOLDER, place):
        if (folder / split).is_file():
            images, fine, names = _read_pickles(folder, split)
            return array_dataset("cifar100", folder, split, images, fine, _known(names, labels))
    return _from_folders(place, labels, split, seed)


def _read_pickles(place: Path, split: str) -> tuple[NDArray[np.uint8], NDArray[np.int64], list[str]]:
    """Images (n, 32, 32, 3), their classes (n,) and the classes' names."""
    if not (place / "meta").is_file():
        raise SalcheckError(f"no meta in '{place}', which names the classes: expected is {LAYOUT}")
    content = read_pickle(place / split, "data", "fine_labels")
    names = texts(place / "meta", read_pickle(place / "meta", "fine_label_names")["fine_label_names"])
    flat = pixels(place / split, content["data"])
    if flat.ndim != 2 or flat.shape[1] != 3 * 32 * 32:
        raise SalcheckError(f"'{place / split}': data have the shape {flat.shape}: (n, 3072) is needed")
    fine = whole_numbers(place / split, content["fine_labels"])
    return flat.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), fine, names


def _known(names: Sequence[str], labels: Labels) -> list[int]:
    known = {name: labels.index(name) for name in names}
    strange = [name for name, index in known.items() if index is None]
    if len(strange) == len(names) == len(labels):
        return list(range(len(names)))  # the model's classes have no names
    if strange:
        listed = ", ".join(repr(name)[1:41] for name in strange[:5]) + ", …" * (len(strange) > 5)
        raise SalcheckError(f"cifar100 shows classes that the model does not have: {listed}")
    return [index for name in names if (index := known[name]) is not None]


def _from_folders(root: Path, labels: Labels, split: str, seed: int) -> Dataset:
    if (root / split).is_dir():
        root = root / split
    elif split == "train":
        raise SalcheckError(f"no training images in '{root}': expected is {LAYOUT}, those within train and test")
    if not any(path.is_dir() for path in root.iterdir()):
        raise SalcheckError(f"no images of CIFAR-100 in '{root}': expected is {LAYOUT}")
    dataset = class_folders.open_dataset(root, labels, seed)
    if not any(item.labels for item in dataset.items):
        raise SalcheckError(f"no folder of '{root}' is a class of the model: name them as CIFAR-100's classes")
    return dataclasses.replace(dataset, name="cifar100")
