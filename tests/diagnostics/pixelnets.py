"""Networks whose answers are known by hand, and that remember what they were shown."""

from collections.abc import Sequence

import torch
from torch import Tensor

from salcheck.network.labels import Labels
from salcheck.network.view import FEATURES, View

FIRST = torch.tensor([[0]])
TOPS = torch.tensor([[4], [2], [0]])


class PixelNet(torch.nn.Module):
    """Logits (weights * image).sum() and 0: softmax of class 0 is the logistic function of the first.

    seen: every image that ran, in order. most: the images that fit into memory at a time, once the first batch ran.
    """

    num_classes = 2

    def __init__(self, weights: Tensor, most: int | None = None):
        super().__init__()
        self.weights, self.most = weights, most
        self.seen: list[Tensor] = []

    def forward_features(self, images: Tensor) -> Tensor:
        if self.most is not None and self.seen and len(images) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        self.seen.extend(images)
        return images

    def forward_head(self, acts: Tensor) -> Tensor:
        logit = (acts * self.weights).flatten(1).sum(1)
        return torch.stack([logit, torch.zeros_like(logit)], dim=1)

    def forward(self, images: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(images))


def pixel_view(
    images: Tensor,
    weights: Tensor | None = None,
    *,
    seeds: Sequence[int] | None = None,
    most: int | None = None,
    normalisation: tuple[Sequence[float], Sequence[float]] = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
) -> View:
    """A view of images (B, 3, H, W) through a `PixelNet`; without weights it adds up all pixels."""
    net = PixelNet(torch.ones(images.shape[1:]) if weights is None else weights, most).eval()
    labels = Labels(["sum", "nothing"])
    size = (images.shape[2], images.shape[3])
    return View(
        net, FEATURES, lambda: images, size, seeds or range(len(images)), labels, 8, normalisation=normalisation
    )


def pictures(count: int = 3) -> Tensor:
    """Pictures that are wider than high: a mask the wrong way round does not fit."""
    return torch.randn(count, 3, 64, 96, generator=torch.Generator().manual_seed(0))


def grids(count: int = 3) -> Tensor:
    return torch.rand(count, 1, 4, 6, generator=torch.Generator().manual_seed(1))


def rows(*values: float) -> Tensor:
    """(1, 1, n, n): one value for each row."""
    return torch.tensor(values).view(1, 1, -1, 1).expand(1, 1, -1, len(values)).clone()


def two_cells() -> Tensor:
    """(1, 1, 4, 4): one high cell beside one that is hardly lower. Of 8x8 pixels, its own 2x2 are the most salient by
    cells, `CELL`; upsampled, the 2x2 between the two cells are.
    """
    maps = torch.zeros(1, 1, 4, 4)
    maps[..., 1, 2], maps[..., 1, 1] = 2, 1.9
    return maps


CELL = [[2, 4], [2, 5], [3, 4], [3, 5]]
BETWEEN = [[2, 3], [2, 4], [3, 3], [3, 4]]
