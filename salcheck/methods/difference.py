"""Plain difference: Grad-CAM, before its ReLU, of the logit of a class less that of its rival.

The simplest answer to "why u and not v"; elaborate methods should score better. Finer-CAM with gamma = 1 and the rival
alone to compare with is its positive part.

    alpha_n   = mean over i, j of d (s_u - s_v) / d A[n, i, j]
    map[i, j] = sum over n of alpha_n * A[n, i, j]

s are logits, A the activations at the layer. The rival v is the other one of two classes; where one class is asked for,
or more than two, the likeliest other class. At a pooled linear head it is, up to the number of cells, CAM with the row
w_u - w_v.

Signed, as that CAM is: what speaks for v is below zero, and the map for v against u is the map for u against v with its
sign turned. It sums to s_u - s_v there but for the classifier's biases.
"""

from torch import Tensor

from salcheck.maps.channels import weighted_sum
from salcheck.methods._cost import Cost, M
from salcheck.methods._rivals import against, no_rival
from salcheck.network.model import Model
from salcheck.network.view import View

SOURCE = "CAM of w_u - w_v: Zhou et al., CVPR 2016, for two classes"
COST = Cost(head_backwards=M)


def saliency(view: View, classes: Tensor) -> Tensor:
    """Maps (B, M, h, w), signed, of classes (B, M) against their rivals."""
    own, rival = against(view, classes)
    alpha = view.vjp(own - rival).mean(dim=(-2, -1))
    return weighted_sum(alpha, view.acts)


def unfit(model: Model) -> str | None:
    """Why there is nothing to compare a class with; None where there is."""
    return no_rival(model)


def paired() -> bool:
    """Whether a map depends on which two classes are asked for together."""
    return True
