"""What a dataset is: a list of items in a fixed order, and a way to read one.

A dataset file has `open_dataset(root, labels, seed) -> Dataset`. Its docstring's first line is its help.
"""

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image


@dataclass(frozen=True)
class Region:
    """Where one object of an image is: the model's index of its class, -1 for none that the model has, and either a
    box or its very pixels.

    box: x0, y0, x1, y1 in pixels of the image as `read` gives it, edges and not centres: a box of one pixel in the top
    left corner is (0, 0, 1, 1). mask: bool (height, width) of that image.
    """

    label: int
    box: tuple[float, float, float, float] | None = None
    mask: NDArray[np.bool_] | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Parts:
    """Named parts of objects, and by which of them two classes are told apart.

    `of(item)`: (P, 3), the x and y of each part in pixels of the image as `read` gives it (the middle of the top left
    pixel is 0.5, 0.5) and 1 where it is visible, else 0. `differences`: (N, N, P) for the model's N classes, how far
    two classes differ in a part, 0 or more, NaN for classes that the annotations do not know.
    """

    names: Sequence[str]
    of: Callable[["Item"], NDArray[np.float64]]
    differences: NDArray[np.float64]


@dataclass(frozen=True)
class Item:
    """One image of a dataset, unread.

    `key` names it within the dataset, the same on every machine; `labels` are the model's indices of all
    classes that are truly in it (one for ImageNet, several for scenes, none where nothing is known).
    `fingerprint` is whatever cheaply tells this image from another under the same key, `annotation` what tells what is
    known of its objects from what was known before.
    """

    key: str
    labels: tuple[int, ...] = ()
    fingerprint: str = ""
    annotation: str = ""


@dataclass(frozen=True)
class Dataset:
    """Items in a fixed order; `read(item)` gives an upright RGB image and raises SalcheckError if it cannot.

    `path(item)` is the item's file where it has one; it serves to find images that two datasets share. `regions(item)`
    says where its objects are, none where that is not known, and raises SalcheckError where the annotation is broken;
    it is None for a dataset that knows no places. `parts` likewise. `code`: digest of the code that reads the images.
    `origin`, `most`: where the items are the first of an order that can go on, what decides that order, and how many
    they could be: the dataset is then the same whatever their number. `classes`: what the model's classes are called,
    by index, where the model does not know and the dataset does. `notes`: what had to be decided of its labels.
    """

    name: str
    root: str
    items: Sequence[Item]
    read: Callable[[Item], Image.Image] = field(compare=False)
    path: Callable[[Item], Path | None] = field(default=lambda item: None, compare=False)
    regions: Callable[[Item], Sequence[Region]] | None = field(default=None, compare=False, repr=False)
    parts: Parts | None = field(default=None, compare=False, repr=False)
    code: str = ""
    origin: str = ""
    most: int = 0
    classes: Sequence[str] = ()
    notes: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.items)

    @cached_property
    def digest(self) -> str:
        """Hash of code and name, and of keys, labels, fingerprints and annotations in order: its identity."""
        if self.origin:
            return hashlib.sha256(f"{self.name} {self.code}\n{self.origin}".encode()).hexdigest()
        lines = "".join(f"{i.key}\t{i.labels}\t{i.fingerprint}\t{i.annotation}\n" for i in self.items)
        return hashlib.sha256(f"{self.name} {self.code}\n{lines}".encode()).hexdigest()


def portable(name: str) -> str:
    """A file name, which may hold any bytes, as text that a database can store: what is no UTF-8 is escaped."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


class Labels(Protocol):
    """What a dataset must know of a model: how its classes are called, and whether that is known (`named`); `natural`:
    whether folders that name them are counted as timm's own reader counts them.
    """

    @property
    def named(self) -> bool: ...

    @property
    def natural(self) -> bool: ...

    def __len__(self) -> int: ...

    def index(self, name: str) -> int | None:
        """The index of the class with this wnid, number or name; None where no class is so called."""
