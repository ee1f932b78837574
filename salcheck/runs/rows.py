"""What goes into a shard and what comes out: a task, and rows that name images and methods by their keys."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from salcheck.datasets import Item
from salcheck.methods import Method

Maps = Mapping[tuple[str, str], NDArray[np.float32]]  # (M, h, w) by method key and image key


@dataclass(frozen=True)
class Task:
    """What is left to do for some images: the methods without scores, and the classes by rank that are known already,
    by image key. `first`: these are the first images of the run.
    """

    items: Sequence[Item]
    todo: Sequence[Method]
    ranks: Mapping[str, list[int]] = field(default_factory=dict)
    first: bool = False


@dataclass(frozen=True)
class Made:
    """New maps of one method: (B, M, h, w) for images, by their keys, and M roles, each with its signature or None."""

    method: Method
    images: Sequence[str]
    maps: NDArray[np.float32]
    signatures: Sequence[Sequence[float | None]]


@dataclass
class Rows:
    """What was found, by table; images and methods by their keys."""

    predictions: list[dict[str, Any]] = field(default_factory=list)
    maps: list[Made] = field(default_factory=list)
    facts: list[dict[str, Any]] = field(default_factory=list)
    scores: list[dict[str, Any]] = field(default_factory=list)

    def extend(self, other: "Rows") -> None:
        for name, rows in vars(self).items():
            rows.extend(getattr(other, name))


def fact_rows(
    method: Method, roles: Sequence[str], images: Sequence[str], facts: Mapping[str, Tensor]
) -> Iterable[dict[str, Any]]:
    """Rows of what the method had to decide; `flag`: it is true or false, and to be counted."""
    for name, values in facts.items():
        flag = values.dtype == torch.bool
        for image, row in zip(images, values.cpu().tolist(), strict=True):
            for role, value in zip(roles, row, strict=True):
                if math.isfinite(value):
                    where = {"method": method.key, "role": role, "image": image}
                    yield {**where, "name": name, "flag": flag, "value": float(value)}


def number(value: float) -> float | None:
    """NaN is no number: the database says NULL."""
    return None if math.isnan(value) else value
