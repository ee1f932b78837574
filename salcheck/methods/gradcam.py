"""Grad-CAM: channels weighted by the mean gradient of the class score.

Selvaraju et al., ICCV 2017, equations 1 and 2:

    alpha_n = mean over i, j of d s_u / d A[n, i, j]
    map[i, j] = ReLU(sum over n of alpha_n * A[n, i, j])

s_u is the logit of class u, A the activations at the layer. No departures.
"""

from torch import Tensor

from salcheck.maps.channels import weighted_sum
from salcheck.methods._cost import Cost, M
from salcheck.network.view import View

SOURCE = "Selvaraju et al., ICCV 2017"
COST = Cost(head_backwards=M)


def saliency(view: View, classes: Tensor) -> Tensor:
    """Grad-CAM maps (B, M, h, w), not negative, for classes (B, M)."""
    alpha = view.grads(classes).mean(dim=(-2, -1))
    return weighted_sum(alpha, view.acts).clamp(min=0)
