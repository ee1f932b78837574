"""What a dataset is: a list of items in a fixed order, and a way to read one.

A dataset file has `open_dataset(root, labels, seed) -> Dataset`. Its docstring's first line is its help.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol

from PIL import Image


@dataclass(frozen=True)
class Item:
    """One image of a dataset, unread.

    `key` names it within the dataset, the same on every machine; `labels` are the model's indices of all
    classes that are truly in it (one for ImageNet, several for scenes, none where nothing is known).
    `fingerprint` is whatever cheaply tells this image from another under the same key.
    """

    key: str
    labels: tuple[int, ...] = ()
    fingerprint: str = ""


@dataclass(frozen=True)
class Dataset:
    """Items in a fixed order; `read(item)` gives an upright RGB image and raises SalcheckError if it cannot.

    `path(item)` is the item's file where it has one; it serves to find images that two datasets share.
    """

    name: str
    root: str
    items: Sequence[Item]
    read: Callable[[Item], Image.Image] = field(compare=False)
    path: Callable[[Item], Path | None] = field(default=lambda item: None, compare=False)

    def __len__(self) -> int:
        return len(self.items)

    @cached_property
    def digest(self) -> str:
        """Hash of keys, labels and fingerprints in order: the dataset's identity in runs and caches."""
        lines = "".join(f"{i.key}\t{i.labels}\t{i.fingerprint}\n" for i in self.items)
        return hashlib.sha256(f"{self.name}\n{lines}".encode()).hexdigest()


class Labels(Protocol):
    """What a dataset must know of a model: how its classes are called."""

    def __len__(self) -> int: ...

    def index(self, name: str) -> int | None:
        """The index of the class with this wnid, number or name; None where no class is so called."""
