"""A feature vector of every held-out image at the layer, with the classes that the image shows."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from salcheck.datasets import Item
from salcheck.network.model import Model
from salcheck.network.view import View
from salcheck.references._features import Features, Reading, read

LAYER = True
LABELS = False


class _Gatherer:
    limit = None

    def __init__(self, images: int, scratch: Path, z: Reading):
        self._images = images
        self._file = scratch / "features.npy"
        self._z = z
        self._labels: list[tuple[int, ...]] = []
        self._values: np.ndarray | None = None

    def add(self, view: View, items: Sequence[Item]) -> None:
        features = read(view, self._z).cpu().numpy()
        if self._values is None:
            shape = (self._images, features.shape[1])
            self._values = np.lib.format.open_memmap(self._file, mode="w+", dtype=np.float32, shape=shape)
        sound = np.isfinite(features).all(axis=1)  # one image that overflowed would spoil every mean
        start = len(self._labels)
        self._values[start : start + int(sound.sum())] = features[sound]
        self._labels += [item.labels for item, fit in zip(items, sound, strict=True) if fit]

    def arrays(self) -> dict[str, np.ndarray]:
        if isinstance(self._values, np.memmap):
            self._values.flush()
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
