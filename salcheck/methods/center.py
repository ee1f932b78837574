"""Control: a Gaussian blob in the middle of the picture, the same for every image and class.

Photographers centre their subjects, so this blob scores well wherever a map is compared with objects.
"""

import torch
from torch import Tensor

from salcheck.methods._cost import Cost
from salcheck.network.view import View

SOURCE = ""
COST = Cost()
CONTROL = True
ALWAYS = True
HEAD = False
BLIND = True


def saliency(view: View, classes: Tensor, *, sigma: float = 0.25) -> Tensor:
    """exp(-r^2 / (2 sigma^2)) on the layer's grid, (B, M, h, w); r and sigma in picture widths and heights."""
    h, w = view.acts.shape[-2:]
    y, x = ((torch.arange(n, device=view.acts.device) + 0.5) / n - 0.5 for n in (h, w))
    blob = torch.exp(-(y[:, None] ** 2 + x[None] ** 2) / (2 * sigma**2))
    return blob.expand(*classes.shape, h, w)
