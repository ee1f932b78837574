"""CASE: Grad-CAM with its channel weights projected off those of the confused classes.

Williamson, Ji and Dwyer, arXiv 2506.07327 v3, algorithm 1 and equations 2 to 6. With g_u the mean gradient
of logit u over positions, V the k classes that u is most often taken for, and gbar = mean of g_v over V:

    g_perp = g_u - (<g_u, gbar> / |gbar|^2) gbar            (orthogonal projection)
    map[i, j] = ReLU(sum over n of g_perp[n] * A[n, i, j])

Departures, each where paper, code and sound practice differ:
- The mean gradient is used, as in the code. The paper's notation keeps positions: with `pooled=false` g and gbar
  are whole gradients (C, h, w), projected as such, and the map is sum over n of g_perp[n, i, j] * A[n, i, j].
- gbar is the gradient of the mean logit of V, so any k costs one backward.
- gbar is scaled to length one instead of adding an absolute epsilon, and the projection is applied twice:
  in float32 it is then orthogonal however small the gradients are. gbar = 0 leaves Grad-CAM.
- V never holds u, ties and empty rows of the confusion matrix are settled (`salcheck/references/confusion.py`).
- Where <g_u, gbar> < 0 the projection adds contrast evidence: counted, and with `only_if_positive` left undone.
- Controls: `contrast=random` and `contrast=least` contrast with classes that are no rivals, `subtract=difference`
  takes g_u - gbar for g_perp.

With k = 1 and two classes that contrast each other, cos(g_perp_u, g_perp_v) = -cos(g_u, g_v) exactly: low
overlap of the two maps is a property of the algebra, which is why reports set it against controls.
"""

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from salcheck.errors import SalcheckError
from salcheck.maps.ranking import ranked
from salcheck.methods._cost import Cost, M
from salcheck.network.model import Model
from salcheck.network.view import View

SOURCE = "Williamson, Ji and Dwyer, arXiv 2506.07327"
COST = Cost(head_backwards=2 * M)
VALUES = {"against": "CLASS+CLASS, with contrast=explicit"}
FALLBACK = "case contrasts with the image's own top logits (its lowest where contrast=least)"

Contrast = Literal["confusion", "logits", "random", "explicit", "least"]
CONFUSED = ("confusion", "least")  # the contrasts that come from the confusion matrix


def saliency(view: View, classes: Tensor, **parameters: Any) -> Tensor:
    """CASE maps (B, M, h, w), not negative, for classes (B, M), with the parameters of `decide`."""
    return decide(view, classes, **parameters)[0]


def decide(
    view: View,
    classes: Tensor,
    *,
    contrast: Contrast = "confusion",
    k: int = 1,
    against: str = "",
    pooled: bool = True,
    only_if_positive: bool = False,
    subtract: Literal["projection", "difference"] = "projection",
    reference: Mapping[str, Any],
) -> tuple[Tensor, dict[str, Tensor]]:
    """CASE maps (B, M, h, w), not negative, for classes (B, M), and what was decided for each, (B, M).

    contrast: where V comes from. `confusion`, the k classes that u is most often taken for on held-out
    images (without such a reference: as `logits`); `least`, those it is least often taken for (else: the
    image's k lowest scores); `logits`, the image's k highest scores but u's; `random`, k seeded classes;
    `explicit`, the classes in `against`, joined by `+` (k is not used).
    pooled: whether the gradients are averaged over positions first. only_if_positive: whether g_u is left as
    it is where <g_u, gbar> < 0. subtract: what is taken off g_u, its part along gbar or gbar itself.

    Decided: `negative_dot`, <g_u, gbar> < 0, where the projection adds contrast evidence or, with
    `only_if_positive`, is left undone; `rival_in_contrast`, V holds another of the explained classes; for an explicit
    contrast `no_contrast`, V held u alone, which leaves Grad-CAM; and for one from the confusion matrix
    `class_not_in_reference`, no held-out image shows u and V came from the image's scores.
    Raises SalcheckError where k or `against` do not fit the model.
    """
    chosen, fallback = contrast_classes(view, classes, contrast, k, against, reference)
    grads = gradients(view, classes, chosen, pooled)
    g_u, g_bar = (g.flatten(2) for g in grads)
    negative = opposed(g_u, g_bar)
    if only_if_positive:
        g_bar = g_bar.masked_fill(negative[..., None], 0)
    g_perp = g_u - g_bar if subtract == "difference" else project_off(g_u, g_bar)
    maps = torch.einsum("bmchw,bchw->bmhw", g_perp.view_as(grads[0]), view.acts).clamp(min=0)
    rival = (chosen[..., None] == classes[:, None, None, :]).any(-1).any(-1)  # V never holds u itself
    facts = {"negative_dot": negative, "rival_in_contrast": rival}
    if contrast == "explicit":
        facts["no_contrast"] = (chosen < 0).all(-1)
    return maps, facts | ({"class_not_in_reference": fallback} if contrast in CONFUSED else {})


def needs(*, contrast: Contrast, **_: Any) -> dict[str, dict[str, Any]]:
    """The confusion matrix or the seed, where the contrast comes from them."""
    if contrast in CONFUSED:
        return {"confusion": {}}
    return {"seed": {}} if contrast == "random" else {}


def named(*, against: str, **_: Any) -> list[str]:
    """The classes that the parameters name."""
    return [name for name in against.split("+") if name.strip()]


def unfit(model: Model) -> str | None:
    """Why there is nothing to contrast a class with; None where there is."""
    if model.outputs.opposed:
        return "it contrasts classes, and those of this model are opposites of the same output: nothing would be left"
    return "it contrasts classes, and this model has one" if len(model.labels) < 2 else None


def project_off(g: Tensor, direction: Tensor) -> Tensor:
    """g (..., C) less its part along direction (..., C); g itself where the direction is zero."""
    unit = torch.nn.functional.normalize(direction, dim=-1, eps=torch.finfo(direction.dtype).tiny)
    for _ in range(2):  # the second pass removes what rounding left of the first
        g = g - (g * unit).sum(-1, keepdim=True) * unit
    return g


def contrast_classes(
    view: View, classes: Tensor, contrast: Contrast, k: int, against: str, reference: Mapping[str, Any]
) -> tuple[Tensor, Tensor]:
    """V (B, M, k) for each class, never u itself (-1 pads), and whether it fell back to logits (B, M)."""
    N = view.logits.shape[1]
    own = torch.zeros_like(classes, dtype=torch.bool)
    if contrast == "explicit":
        return _explicit(view, classes, against), own
    if against:
        raise SalcheckError(f"case:against={against} is read with contrast=explicit only: add it, or leave it out")
    if not 1 <= k < N:
        raise SalcheckError(f"case:k={k} does not fit: the model has {N - 1} other classes, so k is 1 to {N - 1}")
    if contrast == "random":
        return _highest(view.uniform(classes, (N,)), classes, k), own
    logits = view.logits[:, None].expand(-1, classes.shape[1], -1)
    by_logits = _highest(-logits if contrast == "least" else logits, classes, k)
    if contrast == "logits" or "confusion" not in reference:
        return by_logits, torch.full_like(own, contrast != "logits")
    chosen, known = reference["confusion"].most_confused(classes, k, least=contrast == "least")
    return torch.where(known[..., None], chosen, by_logits), ~known


def gradients(view: View, classes: Tensor, chosen: Tensor, pooled: bool = True) -> tuple[Tensor, Tensor]:
    """g_u and gbar for classes (B, M) and their contrasts (B, M, k), -1 for none.

    Each (B, M, C, h, w), or (B, M, C, 1, 1) where `pooled`.
    """
    share = torch.zeros(*classes.shape, view.logits.shape[1] + 1, device=classes.device)
    share.scatter_(-1, chosen % share.shape[-1], 1.0)  # the padding -1 lands in the extra last column
    share = share[..., :-1]
    share = share / share.sum(-1, keepdim=True).clamp(min=1)
    g_u, g_bar = view.grads(classes), view.vjp(share)
    return (_pool(g_u), _pool(g_bar)) if pooled else (g_u, g_bar)


def opposed(g_u: Tensor, g_bar: Tensor) -> Tensor:
    """Whether <g_u, gbar> < 0 along the last axis."""
    return (g_u * g_bar).sum(-1) < 0


def _pool(grads: Tensor) -> Tensor:
    return grads.mean(dim=(-2, -1), keepdim=True)


def _highest(scores: Tensor, classes: Tensor, k: int) -> Tensor:
    return ranked(scores.scatter(-1, classes[..., None], -torch.inf))[..., :k]


def _explicit(view: View, classes: Tensor, against: str) -> Tensor:
    found = [view.labels.resolve(name) for name in named(against=against)]
    if not found:
        raise SalcheckError("case:contrast=explicit names no class: add against=CLASS or against=CLASS+CLASS")
    chosen = torch.tensor(found, device=classes.device).expand(*classes.shape, len(found))
    return torch.where(chosen == classes[..., None], -1, chosen)
