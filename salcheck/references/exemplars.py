"""Activations at the layer of a few held-out images of every class."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from salcheck.datasets import Item
from salcheck.maps.ranking import ranked
from salcheck.network.model import Model
from salcheck.network.view import View
from salcheck.references._rows import RowFile

LAYER = True
LABELS = True


@dataclass(frozen=True)
class Exemplars:
    """`acts` (N * n, C, h, w), n rows for each class; `there` (N, n), which of them hold an image."""

    acts: Tensor
    there: Tensor

    def of(self, classes: Tensor) -> tuple[Tensor, Tensor]:
        """Activations (..., n, C, h, w) of images of classes (...), and which of them there are (..., n)."""
        n = self.there.shape[1]
        wanted = classes.cpu()
        rows = wanted[..., None] * n + torch.arange(n)
        return self.acts[rows].to(classes.device), self.there[wanted].to(classes.device)


class _Gatherer:
    limit = None

    def __init__(self, N: int, n: int, scratch: Path):
        self._n = n
        self._file = scratch / "acts.npy"
        self._acts: RowFile | None = None
        self._there = np.zeros((N, n), dtype=bool)
        self._right = np.zeros((N, n), dtype=bool)

    def add(self, view: View, items: Sequence[Item]) -> None:
        acts = view.acts.cpu().numpy()
        if self._acts is None:
            self._acts = RowFile(self._file, (self._there.size, *acts.shape[1:]))
        predicted = ranked(view.logits)[:, 0].tolist()
        for image, item in enumerate(items):
            for label in item.labels if np.isfinite(acts[image]).all() else ():
                self._offer(self._acts, label, predicted[image] == label, acts[image])

    def _offer(self, kept: RowFile, label: int, right: bool, acts: np.ndarray) -> None:
        """Keeps an image where a place is free, or for the last that is predicted wrong where it is predicted right."""
        free = np.flatnonzero(~self._there[label])
        wrong = np.flatnonzero(~self._right[label]) if right else free
        if len(wrong):
            place = free[0] if len(free) else wrong[-1]
            kept.put(label * self._n + int(place), acts)
            self._there[label, place] = True
            self._right[label, place] = right

    def arrays(self) -> dict[str, np.ndarray]:
        if self._acts is not None:
            self._acts.close()
        return {"there": self._there}


def collect(model: Model, images: int, scratch: Path, n: int = 1) -> _Gatherer:
    """The first n images that show each class, those predicted as that class before others.

    N * n maps are kept on disk: 400 MB for 1,000 classes of ResNet-50.
    """
    return _Gatherer(len(model.labels), n, scratch)


def restore(arrays: Mapping[str, np.ndarray]) -> Exemplars:
    there = torch.from_numpy(arrays["there"])
    acts = arrays["acts"] if "acts" in arrays else np.zeros((there.numel(), 1, 1, 1), dtype=np.float32)
    return Exemplars(torch.from_numpy(acts), there)
