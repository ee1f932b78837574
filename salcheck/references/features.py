"""A feature vector of every held-out image at the layer, with the classes that the image shows."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from salcheck.datasets import Item
from salcheck.network.model import Model
from salcheck.network.view import View
from salcheck.references._features import Features, Reading, read
from salcheck.references._rows import RowFile

LAYER = True
LABELS = False


class _Gatherer:
    limit = None

    def __init__(self, images: int, scratch: Path, z: Reading):
        self._images = images
        self._file = scratch / "features.npy"
        self._z = z
        self._labels: list[tuple[int, ...]] = []
        self._values: RowFile | None = None

    def add(self, view: View, items: Sequence[Item]) -> None:
        features = read(view, self._z).cpu().numpy()
        if self._values is None:
            self._values = RowFile(self._file, (self._images, features.shape[1]))
        sound = np.isfinite(features).all(axis=1)  # one image that overflowed would spoil every mean
        self._values.put(len(self._labels), features[sound])
        self._labels += [item.labels for item, fit in zip(items, sound, strict=True) if fit]

    def arrays(self) -> dict[str, np.ndarray]:
        if self._values is not None:
            self._values.close()
        labels = np.full((len(self._labels), max(map(len, self._labels), default=0)), -1, dtype=np.int64)
        for row, given in zip(labels, self._labels, strict=True):
            row[: len(given)] = given
        return {"labels": labels}


def collect(model: Model, images: int, scratch: Path, z: Reading = "auto") -> _Gatherer:
    return _Gatherer(images, scratch, z)


def restore(arrays: Mapping[str, np.ndarray]) -> Features:
    labels = torch.from_numpy(arrays["labels"])
    values = arrays["features"][: len(labels)] if len(labels) else np.zeros((0, 0), dtype=np.float32)
    return Features(torch.from_numpy(values), labels)
