"""Integrated gradients: each pixel's part of the score's change from a baseline to the image.

Sundararajan, Taly and Yan, ICML 2017, equation 1, on the straight path x' + t (x - x') from the baseline x' to the
image x:

    map[i, j] = sum over colours c of (x - x')[c, i, j] * integral over t in 0...1 of d s_u / d x[c, i, j]

The map sums to s_u(x) - s_u(x') up to the error of the integration (completeness).

Departures:
- The integral is by Gauss-Legendre quadrature, which needs fewer steps than the paper's sum of equal ones.
- The paper's baseline is black. `mean`, the default, is zero in the units that the model is fed: the dataset's mean
  colour, which is neither dark nor bright; `zero` is the paper's. `blur` is the image itself, blurred (Sturmfels et
  al., Distill 2020): no colour is then left out for being that of the baseline.
"""

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from salcheck.errors import SalcheckError
from salcheck.methods._averaging import average_grads
from salcheck.methods._cost import Cost, M, parameter
from salcheck.network.view import View
from salcheck.perturb.canvas import canvas

SOURCE = "Sundararajan et al., ICML 2017"
COST = Cost(forwards=parameter("steps"), backwards=parameter("steps") * M)


def saliency(
    view: View, classes: Tensor, *, steps: int = 50, baseline: Literal["mean", "blur", "zero"] = "mean"
) -> Tensor:
    """Integrated gradients at pixel resolution (B, M, H, W), signed, for classes (B, M).

    steps: points on the path. baseline: where the path begins. Raises SalcheckError for less than one step.
    """
    if steps < 1:
        raise SalcheckError(f"integratedgradients:steps={steps}: it takes 1 step or more on the path")
    start = canvas(view, baseline)
    change = view.images - start
    nodes, weights = (torch.from_numpy(half) / 2 for half in np.polynomial.legendre.leggauss(steps))
    shares = (nodes + 0.5).to(change)

    def on_path(of: Tensor, n: Tensor) -> Tensor:
        return start[of] + shares[n].view(-1, 1, 1, 1) * change[of]

    return (change[:, None] * average_grads(view, classes, weights, on_path)).sum(dim=2)


def total(view: View, classes: Tensor, *, baseline: Literal["mean", "blur", "zero"], **_: object) -> Tensor:
    """What the maps sum to (B, M), up to the error of the integration: s_u(x) - s_u(x') (the paper's proposition 1)."""
    start = canvas(view, baseline)
    scores = view.chunks(len(view), lambda rows: view.forward(start[rows]))
    return (view.logits - scores).gather(1, classes)
