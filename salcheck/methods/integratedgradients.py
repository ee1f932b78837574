"""Integrated gradients: each pixel's part of the score's change from a baseline to the image.

Sundararajan, Taly and Yan, ICML 2017, equation 1, on the straight path x' + t (x - x') from the baseline x' to the
image x:

    map[i, j] = sum over colours c of (x - x')[c, i, j] * integral over t in 0...1 of d s_u / d x[c, i, j]

The map sums to s_u(x) - s_u(x') up to the error of the integration (completeness).

Departures:
- The integral is by Gauss-Legendre quadrature, which needs fewer steps than the paper's sum of equal ones.
- The paper's baseline is black. `mean`, the default, is zero in the units that the model is fed: the dataset's mean
  colour, which is neither dark nor bright. `blur` is the image itself, blurred (Sturmfels et al., Distill 2020):
  no colour is then left out for being that of the baseline.
"""

import math
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from salcheck.errors import SalcheckError
from salcheck.methods._averaging import average_grads
from salcheck.view import View

SOURCE = "Sundararajan et al., ICML 2017"
COST = "steps forwards, steps * M backwards"

BLUR = 0.05  # standard deviation of the blurred baseline in shorter sides: no object is left to see


def saliency(view: View, classes: Tensor, *, steps: int = 50, baseline: Literal["mean", "blur"] = "mean") -> Tensor:
    """Integrated gradients at pixel resolution (B, M, H, W), signed, for classes (B, M).

    steps: points on the path. baseline: where the path begins. Raises SalcheckError for less than one step.
    """
    if steps < 1:
        raise SalcheckError(f"integratedgradients:steps={steps}: it takes 1 step or more on the path")
    start = baseline_images(view, baseline)
    change = view.images - start
    nodes, weights = (torch.from_numpy(half) / 2 for half in np.polynomial.legendre.leggauss(steps))
    shares = (nodes + 0.5).to(change)

    def on_path(of: Tensor, n: Tensor) -> Tensor:
        return start[of] + shares[n].view(-1, 1, 1, 1) * change[of]

    return (change[:, None] * average_grads(view, classes, weights, on_path)).sum(dim=2)


def baseline_images(view: View, baseline: str) -> Tensor:
    """Where the paths of the images begin, (B, 3, H, W)."""
    if baseline == "mean":
        return torch.zeros_like(view.images)
    sigma = BLUR * min(view.size)
    return gaussian_blur(view.images, 2 * math.ceil(3 * sigma) + 1, sigma)
