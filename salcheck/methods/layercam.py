"""LayerCAM: activations weighted position by position with the positive gradient.

Jiang et al., IEEE TIP 2021, equations 5 and 6:

    map[i, j] = ReLU(sum over n of ReLU(d s_u / d A[n, i, j]) * A[n, i, j])

No departures; the paper's fusion of several layers is left to whoever cuts several layers.
"""

import torch
from torch import Tensor

from salcheck.methods._cost import Cost, M
from salcheck.network.view import View

SOURCE = "Jiang et al., IEEE TIP 2021"
COST = Cost(head_backwards=M)


def saliency(view: View, classes: Tensor) -> Tensor:
    """LayerCAM maps (B, M, h, w), not negative, for classes (B, M)."""
    return torch.einsum("bmchw,bchw->bmhw", view.grads(classes).clamp(min=0), view.acts).clamp(min=0)
