"""Fisher's discriminant of one vector z against a group of references: w = (S + lambda I)^-1 (z - mu).

S = sum over references i of (z_i - mu)(z_i - mu)', the sum scatter, not a covariance. Two forms of S with the
same verbs: `Few` for fewer references than channels, by way of their inner products, and `Many`. All in double
precision: S is nearly singular by its nature, and lambda small beside it.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from salcheck.errors import SalcheckError

Matrix = Literal["full", "diagonal", "identity", "ledoitwolf", "projected"]


@dataclass(frozen=True)
class Few:
    """S of G groups that share K references; `there` (J, G, K) says whose each one is.

    rows (J, K, C): references less `center` (J or 1, 1, C), which is near them so that their inner products
    (J, K, K) keep their digits. S = X'X with X the deviations from a group's mean.
    """

    rows: Tensor
    center: Tensor
    products: Tensor
    there: Tensor

    @cached_property
    def count(self) -> Tensor:
        """References per group (J, G)."""
        return self.there.sum(-1)

    @cached_property
    def _share(self) -> Tensor:
        return self.there / self.count.clamp(min=1)[..., None].double()

    @cached_property
    def _shift(self) -> Tensor:
        return self._share @ self.rows

    @property
    def mean(self) -> Tensor:
        """(J, G, C); the center for a group without references."""
        return self.center + self._shift

    @cached_property
    def gram(self) -> Tensor:
        """XX' (J, G, K, K), zero in rows and columns of others."""
        cross = self.products[:, None] @ self._share[..., None]
        inner = self.products[:, None] - cross - cross.mT + self._share[..., None, :] @ cross
        return inner * self.there[..., None] * self.there[..., None, :]

    @cached_property
    def trace(self) -> Tensor:
        return self.gram.diagonal(dim1=-2, dim2=-1).sum(-1)

    @cached_property
    def square(self) -> Tensor:
        """The sum of the squared entries of S."""
        return self.gram.square().sum((-2, -1))

    @cached_property
    def fourth(self) -> Tensor:
        """The sum over references of the fourth power of their distance from the mean."""
        return self.gram.diagonal(dim1=-2, dim2=-1).square().sum(-1)

    @property
    def rank(self) -> Tensor:
        """Effective rank of S, tr(S)^2 / tr(S^2); NaN for none."""
        return self.trace**2 / self.square

    @property
    def diagonal(self) -> Tensor:
        squares = self.there.double() @ self.rows.square() - self.count[..., None] * self._shift.square()
        return squares.clamp(min=0)

    def solve(self, delta: Tensor, ridge: Tensor) -> Tensor:
        """(S + ridge I)^-1 delta for delta (J, G, T, C), by the Woodbury identity."""
        ridge = ridge[..., None, None]
        kernel = self.gram + ridge * torch.eye(self.gram.shape[-1], dtype=torch.float64)
        return (delta - self._back(_solved(kernel, self._along(delta)))) / ridge

    def project_off(self, delta: Tensor) -> Tensor:
        """delta (J, G, T, C) less its part in the span of the deviations."""
        if self.count.max() > self.rows.shape[-1]:
            raise _spanned(int(self.count.max()), self.rows.shape[-1])
        inverse = torch.linalg.pinv(self.gram, rtol=1e-12, hermitian=True)
        return delta - self._back(inverse @ self._along(delta))

    def _along(self, delta: Tensor) -> Tensor:
        """X delta (J, G, K, T)."""
        along = torch.einsum("jkc,jgtc->jgkt", self.rows, delta) - self._shift[..., None, :] @ delta.mT
        return along * self.there[..., None]

    def _back(self, amounts: Tensor) -> Tensor:
        """X' amounts (J, G, T, C), for amounts that sum to zero as all in the span of XX' do."""
        return torch.einsum("jkc,jgkt->jgtc", self.rows, amounts)


@dataclass(frozen=True)
class Many:
    """S (C, C) of one group of `count` references with its mean (C,)."""

    scatter: Tensor
    mean: Tensor
    count: Tensor
    fourth: Tensor  # as in `Few`; read for Ledoit-Wolf only

    @property
    def trace(self) -> Tensor:
        return self.scatter.trace()

    @property
    def square(self) -> Tensor:
        return self.scatter.square().sum()

    @property
    def rank(self) -> Tensor:
        """Effective rank of S, tr(S)^2 / tr(S^2); NaN for none."""
        return self.trace**2 / self.square

    @property
    def diagonal(self) -> Tensor:
        return self.scatter.diagonal().clamp(min=0)

    def solve(self, delta: Tensor, ridge: Tensor) -> Tensor:
        """(S + ridge I)^-1 delta for delta (T, C)."""
        return _solved(self.scatter + ridge * torch.eye(len(self.mean), dtype=torch.float64), delta.T).T

    def project_off(self, delta: Tensor) -> Tensor:
        raise _spanned(int(self.count), len(self.mean))


def discriminant(group: Few | Many, delta: Tensor, matrix: Matrix, alpha: float) -> Tensor:
    """w (..., T, C) for the differences delta (..., T, C) from the group's mean, lambda = alpha tr(S) / C.

    A group without scatter beyond rounding (one reference, or copies of one) has lambda = 1, and w = delta.
    """
    if matrix == "identity":
        return delta
    if matrix == "projected":
        return group.project_off(delta)
    C = delta.shape[-1]
    amount = ledoit_wolf(group, C) if matrix == "ledoitwolf" else torch.tensor(alpha, dtype=torch.float64)
    rounding = 1e-13 * group.count * group.mean.square().sum(-1)
    ridge = torch.where(group.trace > rounding, amount * group.trace / C, 1.0)
    if matrix == "diagonal":
        return delta / (group.diagonal + ridge[..., None])[..., None, :]
    return group.solve(delta, ridge)


def ledoit_wolf(group: Few | Many, C: int) -> Tensor:
    """alpha of the shrunk covariance (1 - s) S/n + s tr(S/n)/C I, which is s / (1 - s) (Ledoit and Wolf, 2004)."""
    n = group.count.clamp(min=1)
    distance = group.square - group.trace**2 / C  # of S from a multiple of the identity
    error = (group.fourth - group.square / n).clamp(min=0)  # of S, estimated from the spread of the references
    s = torch.where(distance > 0, error / distance, 1.0).clamp(1e-9, 1 - 1e-9)  # two references ask for none
    return s / (1 - s)


def _solved(matrix: Tensor, right: Tensor) -> Tensor:
    """matrix^-1 right for positive definite matrices (..., n, n); NaN where one is not."""
    factor, failed = torch.linalg.cholesky_ex(matrix)
    return torch.where((failed == 0)[..., None, None], torch.cholesky_solve(right, factor), torch.nan)


def _spanned(count: int, C: int) -> SalcheckError:
    return SalcheckError(
        f"matrix=projected leaves nothing where references span all channels: here are {count} references for {C} "
        "channels; take fewer, or matrix=full"
    )
