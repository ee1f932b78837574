"""Finer-CAM: Grad-CAM of the difference between the class score and those of its most similar classes.

Zhang et al., CVPR 2025, arXiv 2501.11309. With D the k classes whose logits lie nearest to the logit of class u, as the
authors' code picks them:

    z         = y_u - gamma * mean over d in D of y_d
    alpha_n   = mean over i, j of d z / d A[n, i, j]
    map[i, j] = ReLU(sum over n of alpha_n * A[n, i, j])

Gradients are linear in the score, so any k costs one backward. The defaults gamma = 0.6 and k = 3 are those of the
authors' aggregated maps. gamma = 0 leaves Grad-CAM. The paper offers other CAM methods as a base; this is Grad-CAM's.

`weights=softmax` is the authors' later code, now in the grad-cam package (there with gamma = 1): the mean of D is
weighted by the softmax over D, and these weights are differentiated too.

`rivals=pair` is salcheck's own: D is one class, the other of the two that are asked for together (the likeliest other
class where one is asked for, or more than two), so that the map says why it is u and not that one. No other departures.
"""

from typing import Any, Literal

import torch
from torch import Tensor

from salcheck.errors import SalcheckError
from salcheck.maps.channels import weighted_sum
from salcheck.maps.ranking import ranked
from salcheck.methods import _rivals
from salcheck.methods._cost import Cost, M
from salcheck.network.model import Model
from salcheck.network.view import View

SOURCE = "Zhang et al., CVPR 2025"
COST = Cost(head_backwards=M)


def saliency(
    view: View,
    classes: Tensor,
    *,
    gamma: float = 0.6,
    k: int = 3,
    weights: Literal["equal", "softmax"] = "equal",
    rivals: Literal["similar", "pair"] = "similar",
) -> Tensor:
    """Finer-CAM maps (B, M, h, w), not negative, for classes (B, M).

    gamma: how much of D is subtracted. k: how many classes D has, all others where the model has fewer. rivals: what D
    is, the `similar` classes, or the other one of the `pair` of classes asked for (k is not used).
    Raises SalcheckError where k is not positive.
    """
    others = _rivals.rivals(view, classes)[..., None] if rivals == "pair" else similar(view.logits, classes, k)
    alpha = view.vjp(slopes(view.logits, classes, others, gamma, weights)).mean(dim=(-2, -1))
    return weighted_sum(alpha, view.acts).clamp(min=0)


def unfit(model: Model) -> str | None:
    """Why there is nothing to compare a class with; None where there is."""
    return _rivals.no_rival(model)


def paired(*, rivals: str, **_: Any) -> bool:
    """Whether a map depends on which two classes are asked for together."""
    return rivals == "pair"


def similar(logits: Tensor, classes: Tensor, k: int) -> Tensor:
    """D (B, M, k): the other classes with the logits nearest to that of each of classes (B, M)."""
    N = logits.shape[-1]
    if k < 1:
        raise SalcheckError(f"finercam:k={k} leaves no class to compare with: k is 1 to {N - 1}")
    distance = (logits[:, None] - logits.gather(1, classes)[..., None]).abs()
    return ranked(-distance.scatter(-1, classes[..., None], torch.inf))[..., : min(k, N - 1)]


def slopes(logits: Tensor, classes: Tensor, others: Tensor, gamma: float, weights: str) -> Tensor:
    """d z / d logits (B, M, N) for logits (B, N), classes (B, M) and their D (B, M, k)."""
    with torch.enable_grad():
        y = logits[:, None].repeat(1, classes.shape[1], 1).requires_grad_()
        y_d = y.gather(-1, others)
        share = y_d.softmax(-1) if weights == "softmax" else torch.full_like(y_d, 1 / y_d.shape[-1])
        z = y.gather(-1, classes[..., None])[..., 0] - gamma * (share * y_d).sum(-1)
        return torch.autograd.grad(z.sum(), y)[0]
