"""Activations of held-out images that a class is compared with: n images for each class, and the mean of all."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from salcheck.datasets import Item
from salcheck.maps.ranking import ranked
from salcheck.network.model import Model
from salcheck.network.view import View
from salcheck.references._library import Library
from salcheck.references._rows import RowFile

LAYER = True
LABELS = True

POOL_BYTES = 2**30

Rule = Literal["contrast", "same", "random"]


class _Shelf:
    limit = None

    def __init__(self, N: int, images: int, scratch: Path, rule: Rule, n: int, p_top: float, p_target: float):
        self._N, self._images, self._file = N, images, scratch / "pool.npy"
        self._rule, self._n, self._p_top, self._p_target = rule, n, p_top, p_target
        self._pool: RowFile | None = None
        self._softmax: list[Tensor] = []  # of the pool
        self._shown: list[Tensor] = []  # (N,), whether the image shows a class
        self._sum = torch.zeros(1, 1, 1, dtype=torch.float64)
        self._seen = 0
        self._view: View | None = None

    def add(self, view: View, items: Sequence[Item]) -> None:
        if self._view is None:
            self._view = view
            C, h, w = view.acts.shape[1:]
            size = max(1, min(self._images, POOL_BYTES // (4 * C * h * w)))
            self._pool = RowFile(self._file, (size, C, h, w))
        sound = view.logits.isfinite().all(-1)
        self._sum = self._sum + view.acts[sound].cpu().double().sum(0)
        self._seen += int(sound.sum())
        for acts, chances, item in zip(view.acts.cpu(), view.confidences.cpu(), items, strict=True):
            self._keep(acts, chances, item)

    def arrays(self) -> dict[str, np.ndarray]:
        index = self._index()
        arrays = {"index": index, "mean": (self._sum / max(1, self._seen)).float()}
        affine = self._view is not None and self._view.affine
        if self._view is not None and affine:
            arrays["projected"] = self._projected(self._view, index)
        if self._pool is not None:
            self._pool.close()
        if affine:
            self._file.unlink()
        return {name: values.numpy() for name, values in arrays.items()}

    def _keep(self, acts: Tensor, softmax: Tensor, item: Item) -> None:
        """Into the pool, if the image is classified correctly and surely, and there is room."""
        chance, top = softmax.max(-1)
        room = self._pool is not None and len(self._softmax) < len(self._pool)
        if self._pool is not None and room and int(top) in item.labels and float(chance) >= self._p_top:
            self._pool.put(len(self._softmax), acts.numpy())
            self._softmax.append(softmax)
            self._shown.append(torch.zeros(self._N, dtype=torch.bool).index_fill(0, torch.tensor(item.labels), True))

    def _index(self) -> Tensor:
        """(N, n) rows of the pool for each class by the rule, -1 where there are no more."""
        index = torch.full((self._N, self._n), -1)
        if self._softmax:
            softmax, shown = torch.stack(self._softmax), torch.stack(self._shown)
            for c in range(self._N):
                fit, cost = self._fitness(c, softmax[:, c], shown[:, c])
                rows = ranked(torch.where(fit, -cost, -torch.inf))[: min(self._n, int(fit.sum()))]
                index[c, : len(rows)] = rows
        return index

    def _fitness(self, c: int, softmax: Tensor, shown: Tensor) -> tuple[Tensor, Tensor]:
        """Which images of the pool may be references of class c, (P,), and in which order, the lowest first."""
        if self._rule == "contrast":
            return ~shown & (softmax <= self._p_target), softmax
        if self._rule == "same":
            return shown, torch.zeros(len(shown))
        generator = torch.Generator().manual_seed(c)
        return torch.ones_like(shown), torch.rand(len(shown), generator=generator)

    def _projected(self, view: View, index: Tensor) -> Tensor:
        """Gradient times reference, summed over the channels: (N, n, h, w), zero where there is no reference."""
        acts = view.acts[:1].clone().requires_grad_()
        scores = view.head(acts, torch.zeros(1, dtype=torch.long))[0]
        projected = torch.zeros(*index.shape, *acts.shape[2:])
        for c, rows in enumerate(index):
            (grads,) = torch.autograd.grad(scores[c], acts, retain_graph=True)
            known = rows >= 0
            if self._pool is None or not known.any():
                continue
            references = torch.from_numpy(self._pool.rows(rows[known].numpy()))
            projected[c, known] = torch.einsum("chw,nchw->nhw", grads[0].cpu(), references)
        return projected


def collect(model: Model, images: int, scratch: Path, *, rule: Rule, n: int, p_top: float, p_target: float) -> _Shelf:
    """References by `rule`: `contrast`, images that do not show the class and give it a softmax of at most
    `p_target`, the lowest first; `same`, images that show it, as they come; `random`, any, drawn with a fixed seed.

    Images beyond the first that fill 1 GiB of the pool only count for the mean.
    """
    return _Shelf(len(model.labels), images, scratch, rule, n, p_top, p_target)


def restore(arrays: Mapping[str, np.ndarray]) -> Library:
    parts = {name: torch.from_numpy(values) for name, values in arrays.items()}
    return Library(parts["index"], parts["mean"], parts.get("projected"), parts.get("pool"))
