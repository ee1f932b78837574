"""What a model does on held-out images, computed once and cached by weights and dataset."""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor

from salcheck.cache import atomic_write
from salcheck.datasets import Dataset, Item
from salcheck.loader import batches
from salcheck.models import Model
from salcheck.provenance import code_digest
from salcheck.regions import ranked


@dataclass(frozen=True)
class Confusion:
    """How often class u is taken for class v (`counts`), and the mean softmax v gets on images of u (`softmax`).

    Both (N, N), rows the true class, columns the predicted one. An image of several true classes counts
    once for each, with its other true classes left out of the prediction. `images` (N,) is the size of a
    row's sample: 0 where no held-out image shows the class. `unread`: images that could not be read.
    """

    counts: Tensor  # int64
    softmax: Tensor  # float32
    images: Tensor  # int64
    unread: int = 0

    def most_confused(self, classes: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """The k classes that each of classes (B, M) is most often taken for, (B, M, k), and whether it is known.

        Never the class itself. Equal counts, also the zeros of a row without confusions, are settled by the
        mean softmax, then by the lower index. Unknown (False) where the row has no image at all.
        """
        rows = classes.cpu()
        # A count is worth more than any mean softmax, which is below one.
        score = (self.counts[rows].double() + self.softmax[rows].double()).scatter(-1, rows[..., None], -torch.inf)
        chosen = ranked(score)[..., :k]
        return chosen.to(classes.device), (self.images[rows] > 0).to(classes.device)


def confusion(
    model: Model, dataset: Dataset, cache: Path, batch_size: int, progress: Callable[[int], None] = lambda n: None
) -> Confusion:
    """The confusion matrix of `model` on the labelled images of `dataset`, from `cache` if it is there.

    progress is called with the number of images done. Images that cannot be read are counted, and a matrix
    that lacks any is not cached: they may be readable the next time.
    """
    identity = f"{code_digest()} {model.identity} {dataset.digest}"
    file = cache / "reference" / f"confusion-{hashlib.sha256(identity.encode()).hexdigest()[:24]}.npz"
    stored = _load(file)
    unread = 0
    if stored is None:
        stored, unread = _count(model, dataset, batch_size, progress)
        if not unread:
            atomic_write(file, lambda out: np.savez(out, **stored))  # type: ignore[arg-type]
    return Confusion(**{name: torch.from_numpy(array) for name, array in stored.items()}, unread=unread)


def build(
    names: Iterable[str], model: Model, dataset: Dataset, cache: Path, batch_size: int, progress: Callable[[int], None]
) -> Mapping[str, Any]:
    """The references called `names`, by name: what `saliency(..., reference=...)` is given."""
    builders = {"confusion": confusion}
    return {name: builders[name](model, dataset, cache, batch_size, progress) for name in names}


def _load(file: Path) -> dict[str, np.ndarray] | None:
    try:
        with np.load(file, allow_pickle=False) as stored:
            return {name: stored[name] for name in ("counts", "softmax", "images")}
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        return None  # absent, torn or altered: it is counted again


def _count(
    model: Model, dataset: Dataset, batch_size: int, progress: Callable[[int], None]
) -> tuple[dict[str, np.ndarray], int]:
    N = len(model.labels)
    counts = torch.zeros(N, N, dtype=torch.int64)
    softmax = torch.zeros(N, N, dtype=torch.float64)
    images = torch.zeros(N, dtype=torch.int64)
    unread = 0
    labelled = [item for item in dataset.items if item.labels]
    for chunk in batches(model, dataset, labelled, batch_size):
        if chunk.read:
            _tally(model.logits(model.batch(chunk.tensors)).cpu(), chunk.read, counts, softmax, images)
        unread += len(chunk.failures)
        progress(len(chunk.items))
    means = softmax / images.clamp(min=1)[:, None]
    return {"counts": counts.numpy(), "softmax": means.float().numpy(), "images": images.numpy()}, unread


def _tally(logits: Tensor, items: list[Item], counts: Tensor, softmax: Tensor, images: Tensor) -> None:
    for scores, item in zip(logits, items, strict=True):
        for label in item.labels:
            others = [other for other in item.labels if other != label]
            left = scores.index_fill(0, torch.tensor(others, dtype=torch.long), -torch.inf)
            counts[label, left.argmax()] += 1
            softmax[label] += left.softmax(-1).double()
            images[label] += 1
