"""Feature vectors at the layer: how one is read of a view, and those of many held-out images."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from salcheck.errors import SalcheckError
from salcheck.maps.ranking import ranked
from salcheck.network.view import View

Reading = Literal["auto", "pool", "token", "all", "both"]
ROWS = 4096  # turned into double precision at a time


@dataclass(frozen=True)
class Features:
    """`values` (n, D) float32, a row for each image; `labels` (n, L), the classes that it shows, -1 where no more."""

    values: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def rows(self, classes: Sequence[int], shown: bool = True) -> Tensor:
        """Indices of the images that show one of these classes, or (`shown` False) of all others."""
        shows = (torch.isin(self.labels, torch.tensor(classes)) & (self.labels >= 0)).any(-1)
        return (shows == shown).nonzero().flatten()

    @cached_property
    def prototypes(self) -> tuple[Tensor, Tensor]:
        """Mean features (J, D) of the J classes that are shown, in double precision, and these classes (J,).

        Where no image has a known class: the images themselves, as they are, each of class -1.
        """
        image, place = (self.labels >= 0).nonzero(as_tuple=True)
        if not len(image):
            return self.values, torch.full((len(self),), -1)
        classes, slots = self.labels[image, place].unique(return_inverse=True)
        sums = torch.zeros(len(classes), self.values.shape[1], dtype=torch.float64)
        for one, slot in zip(image.split(ROWS), slots.split(ROWS), strict=True):
            sums.index_add_(0, slot, self.values[one].double())
        return sums / slots.bincount()[:, None], classes

    def nearest(
        self, z: Tensor, classes: Tensor, k: int, own: bool = False, cosine: bool = False
    ) -> tuple[Tensor, Tensor]:
        """The k prototypes nearest to z (B, D) but, unless `own`, that of the class itself, for classes (B, M).

        Gives K rows (B, K, D) that serve all classes of an image, and which of them are a class's k (B, M, K);
        fewer than k where there are no more. Nearest by Euclidean distance, or by cosine.
        """
        means, shown = self.prototypes
        near = torch.cat([_nearness(z.double(), part.double(), cosine) for part in means.split(ROWS)], dim=-1)
        order = ranked(near)[:, : k + 1]  # one more, for the class that is left out
        there = torch.ones(*classes.shape, order.shape[1], dtype=torch.bool)
        if not own:
            there = (shown[order][:, None] != classes[..., None]) | (shown[order][:, None] < 0)
        return means[order].double(), there & (there.cumsum(-1) <= k)

    @cached_property
    def mean(self) -> Tensor:
        return self._mean(torch.arange(len(self)))

    def deviations(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Deviations (n, D) of some images from the mean of all, and their inner products (n, n)."""
        deviations = self._deviations(rows, self.mean)
        if len(self) > self.values.shape[1]:
            return deviations, deviations @ deviations.T
        return deviations, self._products[rows][:, rows]

    @cached_property
    def _products(self) -> Tensor:
        deviations = self._deviations(torch.arange(len(self)), self.mean)
        return deviations @ deviations.T

    @cached_property
    def _total(self) -> Tensor:
        return self._summed(torch.arange(len(self)), self.mean)

    def scatter(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Mean (D,) and scatter about it (D, D), the sum of outer products of the deviations, of some images.

        Where they are most of all images, the scatter of all less that of the others (Chan, Golub and LeVeque, 1983).
        """
        n, n_all = len(rows), len(self)
        if 2 * n < n_all:
            mean = self._mean(rows)
            return mean, self._summed(rows, mean)
        if n == n_all:
            return self.mean, self._total
        left_out = torch.ones(n_all, dtype=torch.bool).index_fill(0, rows, False).nonzero().flatten()
        other = self._mean(left_out)
        apart = other - self.mean
        scatter = self._total - self._summed(left_out, other) - n_all * (n_all - n) / n * torch.outer(apart, apart)
        return self.mean - (n_all - n) / n * apart, scatter

    def fourth(self, rows: Tensor, mean: Tensor) -> Tensor:
        """The sum over some images of the fourth power of their distance from `mean`."""
        return sum(self._deviations(part, mean).square().sum(-1).square().sum() for part in rows.split(ROWS))

    def _mean(self, rows: Tensor) -> Tensor:
        return sum(self.values[part].double().sum(0) for part in rows.split(ROWS)) / len(rows)

    def _summed(self, rows: Tensor, mean: Tensor) -> Tensor:
        parts = (self._deviations(part, mean) for part in rows.split(ROWS))
        return sum(part.T @ part for part in parts)

    def _deviations(self, rows: Tensor, mean: Tensor) -> Tensor:
        return self.values[rows].double() - mean


def _nearness(z: Tensor, means: Tensor, cosine: bool) -> Tensor:
    """What orders means (J, D) as their nearness to z (B, D) does, (B, J): the cosine times |z|, or |z|^2 less the
    squared distance.
    """
    lengths, along = torch.linalg.vector_norm(means, dim=-1), z @ means.T
    return along / lengths.clamp(min=1e-300) if cosine else 2 * along - lengths**2


def read(view: View, z: Reading) -> Tensor:
    """Feature vectors z (B, D) of a view's images at its layer.

    `pool`: the mean over positions, D = C. `token`: the class token. `all`: the mean over class token and
    positions. `both`: the class token, then the mean over positions, D = 2 C. `auto`: the class token where the
    layer has one, else the mean. Raises SalcheckError for a class token where there is none.
    """
    pool, prefix = view.acts.mean(dim=(-2, -1)), view.prefix
    has_token = prefix.shape[1] > getattr(view.net, "num_reg_tokens", 0)  # registers alone are no class token
    if z == "pool" or (z == "auto" and not has_token):
        return pool
    if not has_token:
        raise SalcheckError(f"z={z} reads the class token, and this model has none at this layer: take z=pool")
    token, positions = prefix[:, 0], view.acts[0, 0].numel()
    if z == "all":
        return (token + positions * pool) / (1 + positions)
    return torch.cat([token, pool], dim=-1) if z == "both" else token
