"""A model whose answers are known by hand: each logit is a weighted sum of pixels."""

from collections.abc import Sequence

import torch
from torch import Tensor

from salcheck.network.labels import Labels
from salcheck.network.view import FEATURES, View

PLAIN = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


class LinearNet(torch.nn.Module):
    """Logits sum(weights * image) for weights (N, 3, H, W). `forwarded`: how many images each forward had.

    It runs out of memory, as an accelerator would, on more than `most` images.
    """

    def __init__(self, weights: Tensor, most: int | None = None):
        super().__init__()
        self.num_classes = len(weights)
        self.weights = weights
        self.most = most
        self.forwarded: list[int] = []

    def forward_features(self, images: Tensor) -> Tensor:
        if self.most is not None and len(images) > self.most:
            raise torch.OutOfMemoryError("out of memory")
        self.forwarded.append(len(images))
        return images

    def forward_head(self, images: Tensor) -> Tensor:
        return torch.einsum("bchw,nchw->bn", images, self.weights)

    def forward(self, images: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(images))


def linear_view(
    net: torch.nn.Module,
    images: Tensor,
    seeds: Sequence[int] | None = None,
    batch_size: int = 8,
    normalisation: tuple[Sequence[float], Sequence[float]] = PLAIN,
) -> View:
    """A view that has all that diagnostics ask for."""
    size = (images.shape[-2], images.shape[-1])
    labels = Labels([f"class {index}" for index in range(net.num_classes)])
    seeds = range(len(images)) if seeds is None else seeds
    return View(net, FEATURES, lambda: images, size, seeds, labels, batch_size, normalisation=normalisation)


def red(plane: Tensor) -> Tensor:
    """Images or weights (..., 3, H, W) that have planes (..., H, W) in their first colour, and nothing else."""
    return torch.stack([plane, torch.zeros_like(plane), torch.zeros_like(plane)], dim=-3)
