"""Control: the image's own edges (Sobel), pooled to the layer's grid, the same for every class.

Adebayo et al. 2018 found that some convincing maps are edge detectors. The edges are pooled to the grid, so that this
control has the same resolution as the methods and differs only in where it looks.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from salcheck.methods._cost import Cost
from salcheck.network.view import View

SOURCE = "Adebayo et al., NeurIPS 2018"
COST = Cost()
CONTROL = True
ALWAYS = True
HEAD = False
BLIND = True


def saliency(view: View, classes: Tensor) -> Tensor:
    """Mean gradient magnitude of the grey image (normalised units a pixel) in each cell, (B, M, h, w)."""
    grey = F.pad(view.images.mean(dim=1, keepdim=True), (1, 1, 1, 1), mode="replicate")
    across = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]], device=grey.device) / 8
    slopes = F.conv2d(grey, torch.stack([across, across.T])[:, None])
    magnitude = torch.hypot(slopes[:, :1], slopes[:, 1:])
    grid = F.adaptive_avg_pool2d(magnitude, view.acts.shape[-2:])
    return grid.expand(-1, classes.shape[1], -1, -1)
