"""Grad-CAM++: channels weighted by their positive gradients, each position by its share in the channel.

Chattopadhyay et al., WACV 2018, equation 19 (alpha), with g = d s_u / d A and S[n] = sum over a, b of A[n, a, b]:

    alpha[n, i, j] = g^2 / (2 g^2 + S[n] g^3) = 1 / (2 + S[n] g)     (where g is not 0)
    w[n]           = sum over i, j of alpha[n, i, j] * ReLU(g[n, i, j])
    map[i, j]      = ReLU(sum over n of w[n] * A[n, i, j])

Departures:
- The short form of alpha needs no epsilon: ReLU(g) leaves only positions where g > 0, and there it is at most 1/2.
- The paper's A comes after a ReLU. At a signed layer 2 + S g may vanish or change sign: S is taken over the positive
  part of A, which is A itself wherever the paper's method is defined.
- The paper differentiates exp(s_u): w has the positive factor exp(s_u), which scales a map as a whole and is left out.
"""

from torch import Tensor

from salcheck.maps.channels import weighted_sum
from salcheck.methods._cost import Cost, M
from salcheck.network.view import View

SOURCE = "Chattopadhyay et al., WACV 2018"
COST = Cost(head_backwards=M)


def saliency(view: View, classes: Tensor) -> Tensor:
    """Grad-CAM++ maps (B, M, h, w), not negative, for classes (B, M)."""
    acts, positive = view.acts, view.grads(classes).clamp(min=0)
    S = acts.clamp(min=0).sum(dim=(-2, -1))[:, None, :, None, None]
    w = (positive / (2 + S * positive)).sum(dim=(-2, -1))
    return weighted_sum(w, acts).clamp(min=0)
