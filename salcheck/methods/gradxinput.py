"""Gradient times input: each pixel's part of the class score, to first order.

Shrikumar et al., arXiv 1605.01713 (2016), section 1:

    map[i, j] = sum over colours c of x[c, i, j] * d s_u / d x[c, i, j]

s_u is the logit of class u, x the image as the model is fed it: after normalisation, so that pixels of the
dataset's mean colour get nothing. No departures. On a network of ReLU layers without biases the map sums to s_u.
"""

from torch import Tensor

from salcheck.methods._cost import Cost, M
from salcheck.network.view import View

SOURCE = "Shrikumar et al., arXiv 1605.01713 (2016)"
COST = Cost(forwards=1, backwards=M)


def saliency(view: View, classes: Tensor) -> Tensor:
    """Gradient times input at pixel resolution (B, M, H, W), signed, for classes (B, M)."""
    return (view.images[:, None] * view.pixel_grads(classes)).sum(dim=2)


def total(view: View, classes: Tensor) -> Tensor:
    """The logits (B, M). Its authors claim no sum: this is the one that the map has on networks of ReLU layers without
    biases, by Euler's theorem for homogeneous functions. What biases take, those of batch norms too, is its error.
    """
    return view.logits.gather(1, classes)
