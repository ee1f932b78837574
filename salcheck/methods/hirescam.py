"""HiResCAM: gradient times activation at every position, summed over channels.

Draelos and Carin, arXiv 2011.08891, equation 3:

    map[i, j] = sum over n of (d s_u / d A[n, i, j]) * A[n, i, j]

Signed: the definition has no ReLU. At a head that pools and is linear it equals Grad-CAM before its ReLU.
"""

import torch
from torch import Tensor

from salcheck.methods._cost import Cost, M
from salcheck.network.view import View

SOURCE = "Draelos and Carin, arXiv 2011.08891"
COST = Cost(head_backwards=M)


def saliency(view: View, classes: Tensor) -> Tensor:
    """HiResCAM maps (B, M, h, w), signed, for classes (B, M)."""
    return torch.einsum("bmchw,bchw->bmhw", view.grads(classes), view.acts)


def total(view: View, classes: Tensor) -> Tensor | None:
    """What the maps sum to (B, M): the logits less those of zero activations, which are the bias.

    The paper proves it where one linear layer follows; None elsewhere, where it promises nothing.
    """
    if not view.affine:
        return None
    return (view.logits - view.head(torch.zeros_like(view.acts))).gather(1, classes)
