"""Gradient: how fast the class score changes with each pixel.

Simonyan, Vedaldi and Zisserman, ICLR workshop 2014, section 3.1:

    map[i, j] = max over colours c of | d s_u / d x[c, i, j] |

s_u is the logit of class u, x the image as the model is fed it. No departures.
"""

from torch import Tensor

from salcheck.methods._cost import Cost, M
from salcheck.network.view import View

SOURCE = "Simonyan et al., ICLR workshop 2014"
COST = Cost(forwards=1, backwards=M)


def saliency(view: View, classes: Tensor) -> Tensor:
    """Gradient maps at pixel resolution (B, M, H, W), not negative, for classes (B, M)."""
    return view.pixel_grads(classes).abs().amax(dim=2)
