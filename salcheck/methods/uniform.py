"""Control: the same value everywhere, a map that says nothing about place.

Most measurements give it no score, because it has no top pixels. Where one measures the share of the map's mass in a
region, this control's score is the region's share of the picture: a method must score better.
"""

import torch
from torch import Tensor

from salcheck.methods._cost import Cost
from salcheck.network.view import View

SOURCE = ""
COST = Cost()
CONTROL = True
HEAD = False
BLIND = True


def saliency(view: View, classes: Tensor) -> Tensor:
    """Ones on the layer's grid, (B, M, h, w)."""
    return torch.ones(*classes.shape, *view.acts.shape[-2:], device=view.acts.device)
