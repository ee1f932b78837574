"""MNIST digits: idx files as distributed, gzipped or not, or an .npz with train_x train_y test_x test_y.

The files (`t10k-images-idx3-ubyte` and so on; http://yann.lecun.com/exdb/mnist, format at the end of that page) lie in
the root, or in `raw` or `MNIST/raw` below it, where torchvision puts them. LeCun et al. 1998, Proc. IEEE 86(11).
"""

import gzip
import math
import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from salcheck.datasets import Dataset, Labels
from salcheck.datasets._arrays import MAX_BYTES, array_dataset, npz_or_folder, read_npz
from salcheck.datasets._images import DAMAGED
from salcheck.errors import SalcheckError
from salcheck.naming.words import one_line

FILES = {
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
}
LAYOUT = f"{FILES['test'][0]} and {FILES['test'][1]} (or .gz), or a mnist*.npz with train_x train_y test_x test_y"
UBYTE = 8  # idx's code for its elements' type


def open_dataset(root: Path | None, labels: Labels, seed: int) -> Dataset:
    """The test images, 28x28 grey as RGB, with their digits; raises SalcheckError where files are missing or broken,
    or where the model has not ten classes.
    """
    return _open(root, labels, "test")


def open_training(root: Path | None, labels: Labels) -> Dataset:
    """The training images, as `open_dataset` gives the test images."""
    return _open(root, labels, "train")


def _open(root: Path | None, labels: Labels, split: str) -> Dataset:
    known = _digits(labels)
    place = npz_or_folder(root, "mnist", LAYOUT)
    if place.is_file():
        images, digits = read_npz(place, f"{split}_x", f"{split}_y")
    else:
        images, digits = (read_idx(_find(place, name), axes) for name, axes in zip(FILES[split], (3, 1), strict=True))
    return array_dataset("mnist", place, split, images, digits, known)


def _digits(labels: Labels) -> list[int]:
    known = [labels.index(str(digit)) for digit in range(10)]
    if len(labels) != 10 or None in known:
        raise SalcheckError(f"mnist shows the digits 0 to 9, and this model has {len(labels)} classes: ten are needed")
    return [index for index in known if index is not None]


def _find(root: Path, name: str) -> Path:
    places = [root / below / (name + end) for below in ("", "raw", "MNIST/raw") for end in ("", ".gz")]
    for path in places:
        if path.is_file():
            return path
    raise SalcheckError(f"no {name} in '{root}', its raw or its MNIST/raw: expected are {LAYOUT}")


def read_idx(path: Path, axes: int) -> NDArray[np.uint8]:
    """The array of bytes in an idx file, gzipped or not; raises SalcheckError where the file is no idx file of so many
    axes, or longer or shorter than it says.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            if file.read(4) != bytes([0, 0, UBYTE, axes]):
                raise ValueError(f"it does not begin as an idx file of {axes} axes of bytes does")
            shape = struct.unpack(f">{axes}I", file.read(4 * axes))
            count = math.prod(shape)
            if count > MAX_BYTES:
                raise ValueError(f"it says that it holds {count} bytes; the limit is {MAX_BYTES}")
            content = file.read(count + 1)
            if len(content) != count:
                raise ValueError(
                    f"it says that it holds {count} bytes and holds {['fewer', 'more'][len(content) > count]}"
                )
            return np.frombuffer(content, np.uint8).reshape(shape)
    except DAMAGED as error:
        raise SalcheckError(f"'{path}' is no idx file that can be read ({one_line(error)}): fetch it again") from error
