"""Control: ones everywhere but at one pixel, a map that hides nothing and says nothing.

Fake-CAM, which Poppi et al., CVPR Workshops 2021, made to win the average drop: the image seen through it is the image
but for its top left pixel. A measure on which it does well rewards bright maps, not correct ones.
"""

import torch
from torch import Tensor

from salcheck.methods._cost import Cost
from salcheck.network.view import View

SOURCE = "Poppi et al., CVPR Workshops 2021"
COST = Cost()
CONTROL = True
HEAD = False
BLIND = True


def saliency(view: View, classes: Tensor) -> Tensor:
    """Ones with a zero at the top left, at pixel resolution (B, M, H, W)."""
    maps = torch.ones(*classes.shape, *view.size, device=classes.device)
    maps[..., 0, 0] = 0
    return maps
