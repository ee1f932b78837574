"""SCOUT: where the class is seen, its rival is not, and the model is sure.

Wang and Vasconcelos, CVPR 2020 (GALORE, TPAMI 2023, has the same map), as the authors' code makes it. With A the
activations at the layer, u the class, v its rival, and h_c the attribution of the logit of class c:

    h_c[i, j] = sum over n of A[n, i, j] * d s_c / d A[n, i, j],     1e-7 where that is negative
    e[i, j]   = sum over n of A[n, i, j] * max(0, d t / d A[n, i, j])
    map       = e * (max over i, j of h_v  -  h_v) * h_u

t says how sure the model is of its prediction. `softmax`: its largest probability p. `entropy`: the certainty
1 + (sum over c of p_c log p_c) / log N. With `none` there is no e, which is the paper's own ablation. The paper's third
score, the output of a hardness predictor, is a second network trained beside the first, and not offered.

The rival v is the other one of two classes; where one class is asked for, or more than two, the likeliest other class.

Departures:
- h_c before its floor, d t / d s and e are scaled to a largest size of 1: how low the floor is does then not depend on
  the network, and t still has a gradient where the model is sure. Beside the floor this moves no rank.
- Where activations are signed, so is e, and so is the map; the paper's networks end in a ReLU.

Where h_v is positive nowhere the map is 0: so it is defined.
"""

from typing import Any, Literal

import torch
from torch import Tensor

from salcheck.methods._cost import Cost, M
from salcheck.methods._rivals import no_rival, rivals
from salcheck.network.model import Model
from salcheck.network.outputs import SOFTMAX, Outputs
from salcheck.network.view import View

SOURCE = "Wang and Vasconcelos, CVPR 2020"
COST = Cost(head_backwards=2 * M + 1)

FLOOR = 1e-7  # stands for a negative attribution

Confidence = Literal["softmax", "entropy", "none"]


def saliency(view: View, classes: Tensor, *, confidence: Confidence = "softmax") -> Tensor:
    """SCOUT maps (B, M, h, w) of classes (B, M) against their rivals; not negative where activations are not."""
    own, other = _attribution(view, classes), _attribution(view, rivals(view, classes))
    maps = (other.amax(dim=(-2, -1), keepdim=True) - other) * own
    return maps if confidence == "none" else maps * _easiness(view, confidence)


def unfit(model: Model) -> str | None:
    """Why there is nothing to compare a class with; None where there is."""
    return no_rival(model)


def paired(**_: Any) -> bool:
    """Whether a map depends on which two classes are asked for together."""
    return True


def confident(*, confidence: Confidence, **_: Any) -> bool:
    """Whether it reads confidences."""
    return confidence != "none"


def slopes(logits: Tensor, confidence: Confidence, outputs: Outputs = SOFTMAX) -> Tensor:
    """d t / d logits for logits (..., N), in double precision, the largest scaled to 1.

    Where each class has a sigmoid, t is the largest of these, or the mean certainty of all.
    """
    scores = logits.double()
    if outputs.kind == "sigmoid":
        p = scores.sigmoid()
        top = torch.nn.functional.one_hot(scores.argmax(-1), scores.shape[-1]).to(scores)
        return _largest_1(p * (1 - p) * scores if confidence == "entropy" else top)
    log_p = scores.log_softmax(-1)
    p = log_p.exp()
    if confidence == "entropy":
        slope = p * (log_p - (p * log_p).sum(-1, keepdim=True))
    else:
        top = scores.argmax(-1, keepdim=True)
        others = p.scatter(-1, top, 0)
        slope = -others
        slope.scatter_(-1, top, others.sum(-1, keepdim=True))  # 1 - p would round to 0
    return _largest_1(slope)


def _largest_1(slope: Tensor) -> Tensor:
    return slope / slope.abs().amax(-1, keepdim=True).clamp(min=torch.finfo(slope.dtype).tiny)


def _attribution(view: View, classes: Tensor) -> Tensor:
    """h (B, M, h, w) of classes (B, M)."""
    maps = _scaled(torch.einsum("bmchw,bchw->bmhw", view.grads(classes), view.acts))
    return maps.where(maps >= 0, FLOOR)


def _easiness(view: View, confidence: Confidence) -> Tensor:
    """e (B, 1, h, w)."""
    grads = view.vjp(slopes(view.logits, confidence, view.outputs)[:, None])
    return _scaled(torch.einsum("bmchw,bchw->bmhw", grads.clamp(min=0), view.acts))


def _scaled(maps: Tensor) -> Tensor:
    return maps / maps.abs().amax(dim=(-2, -1), keepdim=True).clamp(min=torch.finfo(maps.dtype).tiny)
