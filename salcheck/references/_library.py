"""Activations of held-out images that a class is compared with."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Library:
    """The n references of each class: rows of a pool of activations (P, C, h, w), images that the model classifies
    correctly with a top softmax of at least `p_top`.

    index: (N, n), -1 where there are fewer. mean: (C, h, w) over all held-out images, zero without any. Where the
    logits are an affine function of the activations, their gradients are the same for every image: instead of the
    pool there is `projected` (N, n, h, w), gradient of the class times reference, summed over the channels.
    """

    index: Tensor
    mean: Tensor
    projected: Tensor | None
    pool: Tensor | None
