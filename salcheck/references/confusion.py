"""How often each class is taken for each other one, counted on held-out images."""

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

LAYER = False
LABELS = True


@dataclass(frozen=True)
class Confusion:
    """How often class u is taken for class v (`counts`), and the mean confidence v gets on images of u (`softmax`).

    Both (N, N), rows the true class, columns the predicted one. An image of several true classes counts
    once for each, with its other true classes left out of the prediction. `images` (N,) is the size of a
    row's sample: 0 where no held-out image shows the class.
    """

    counts: Tensor  # int64
    softmax: Tensor  # float32
    images: Tensor  # int64

    def most_confused(self, classes: Tensor, k: int, least: bool = False) -> tuple[Tensor, Tensor]:
        """The k classes that each of classes (B, M) is most often taken for, (B, M, k), and whether it is known.

        Never the class itself. Equal counts, also the zeros of a row without confusions, are settled by the
        mean confidence, then by the lower index. Unknown (False) where the row has no image at all. With
        `least`, those that it is least often taken for.
        """
        rows = classes.cpu()
        # A count is worth more than any mean confidence, which is below one.
        score = self.counts[rows].double() + self.softmax[rows].double()
        score = (-score if least else score).scatter(-1, rows[..., None], -torch.inf)
        chosen = ranked(score)[..., :k]
        return chosen.to(classes.device), (self.images[rows] > 0).to(classes.device)


class _Counter:
    limit = None

    def __init__(self, N: int):
        self._counts = torch.zeros(N, N, dtype=torch.int64)
        self._softmax = torch.zeros(N, N, dtype=torch.float64)
        self._images = torch.zeros(N, dtype=torch.int64)

    def add(self, view: View, items: Sequence[Item]) -> None:
        for scores, item in zip(view.logits.cpu(), items, strict=True):
            for label in item.labels if scores.isfinite().all() else ():
                others = [other for other in item.labels if other != label]
                left = scores.index_fill(0, torch.tensor(others, dtype=torch.long), -torch.inf)
                self._counts[label, left.argmax()] += 1
                self._softmax[label] += view.outputs.confidences(left).double()
                self._images[label] += 1

    def arrays(self) -> dict[str, np.ndarray]:
        means = self._softmax / self._images.clamp(min=1)[:, None]
        return {"counts": self._counts.numpy(), "softmax": means.float().numpy(), "images": self._images.numpy()}


def collect(model: Model, images: int, scratch: Path) -> _Counter:
    return _Counter(len(model.labels))


def restore(arrays: Mapping[str, np.ndarray]) -> Confusion:
    return Confusion(*(torch.from_numpy(arrays[name]) for name in ("counts", "softmax", "images")))
