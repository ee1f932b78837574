"""Grad-CAM maps of held-out images, each for its own predicted class."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from salcheck.datasets import Item
from salcheck.maps.channels import weighted_sum
from salcheck.maps.ranking import ranked
from salcheck.network.model import Model
from salcheck.network.view import View

LAYER = True
LABELS = False

IMAGES = 64


class _Maps:
    limit = IMAGES

    def __init__(self) -> None:
        self._maps: list[Tensor] = []

    def add(self, view: View, items: Sequence[Item]) -> None:
        sound = view.logits.isfinite().all(-1)
        alpha = view.grads(ranked(view.logits)[:, :1]).mean(dim=(-2, -1))
        self._maps += weighted_sum(alpha, view.acts).clamp(min=0)[sound, 0].cpu()

    def arrays(self) -> dict[str, np.ndarray]:
        maps = self._maps[:IMAGES]  # the last batch may hold more
        return {"maps": torch.stack(maps).numpy() if maps else np.zeros((0, 1, 1), np.float32)}


def collect(model: Model, images: int, scratch: Path) -> _Maps:
    return _Maps()


def restore(arrays: Mapping[str, np.ndarray]) -> Tensor:
    """(n, h, w), none where no image could be read."""
    return torch.from_numpy(arrays["maps"])
