"""What SmoothGrad and integrated gradients share: gradients at many changed copies of each image, averaged."""

from collections.abc import Callable

import torch
from torch import Tensor

from salcheck.network.view import View


def average_grads(view: View, classes: Tensor, weights: Tensor, copies: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Sum over n of weights[n] * (d logit / d image at copy n) for classes (B, M): (B, M, 3, H, W).

    weights: (S,). copies(of, n) -> images (J, 3, H, W): copy n[j] of image of[j]. All copies of all images are one
    list of jobs; a chunk of them is in memory at a time, and one forward of a copy serves all classes.
    """
    total = torch.zeros(*classes.shape, *view.images.shape[1:], device=view.images.device)
    weights = weights.to(total)

    def add(rows: slice) -> Tensor:
        jobs = torch.arange(rows.start, rows.stop, device=total.device)
        of, n = jobs // len(weights), jobs % len(weights)
        grads = view.pixel_grads(classes[of], copies(of, n))
        total.index_add_(0, of, grads * weights[n].view(-1, 1, 1, 1, 1))
        return jobs

    view.chunks(len(view) * len(weights), add)
    return total
