"""CASE: Grad-CAM with its channel weights projected off those of the confused classes.

Williamson, Ji and Dwyer, arXiv 2506.07327 v3, algorithm 1 and equations 2 to 6. With g_u the mean gradient
of logit u over positions, V the k classes that u is most often taken for, and gbar = mean of g_v over V:

    g_perp = g_u - (<g_u, gbar> / |gbar|^2) gbar            (orthogonal projection)
    map[i, j] = ReLU(sum over n of g_perp[n] * A[n, i, j])

Departures, each where paper, code and sound practice differ:
- The mean gradient is used, as in the code; the paper's notation keeps positions.
- gbar is the gradient of the mean logit of V, so any k costs one backward.
- gbar is scaled to length one instead of adding an absolute epsilon, and the projection is applied twice:
  in float32 it is then orthogonal however small the gradients are. gbar = 0 leaves Grad-CAM.
- V never holds u, ties and empty rows of the confusion matrix are settled (`salcheck/references/confusion.py`).

With k = 1 and two classes that contrast each other, cos(g_perp_u, g_perp_v) = -cos(g_u, g_v) exactly: low
overlap of the two maps is a property of the algebra, which is why reports set it against controls.
"""

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from salcheck.errors import SalcheckError
from salcheck.regions import ranked
from salcheck.view import View

SOURCE = "Williamson, Ji and Dwyer, arXiv 2506.07327"
COST = "2 * M head backwards"
FALLBACK = "case contrasts with the image's own top logits"

Contrast = Literal["confusion", "logits", "random", "explicit"]


def saliency(
    view: View,
    classes: Tensor,
    *,
    contrast: Contrast = "confusion",
    k: int = 1,
    against: str = "",
    reference: Mapping[str, Any],
) -> Tensor:
    """CASE maps (B, M, h, w), not negative, for classes (B, M).

    contrast: where V comes from. `confusion`, the k classes that u is most often taken for on held-out
    images (without such a reference: as `logits`); `logits`, the image's k highest scores but u's;
    `random`, k seeded classes; `explicit`, the classes in `against`, joined by `+` (k is not used).
    Raises SalcheckError where k or `against` do not fit the model.
    """
    chosen, _ = contrast_classes(view, classes, contrast, k, against, reference)
    g_u, g_bar = channel_weights(view, classes, chosen)
    return torch.einsum("bmc,bchw->bmhw", project_off(g_u, g_bar), view.acts).clamp(min=0)


def facts(
    view: View,
    classes: Tensor,
    *,
    contrast: Contrast,
    k: int,
    against: str,
    reference: Mapping[str, Any],
) -> dict[str, Tensor]:
    """What the report counts, each (B, M): `negative_dot`, <g_u, gbar> < 0, so that the projection adds
    contrast evidence; `rival_in_contrast`, V holds another of the explained classes; and for a confusion
    contrast `class_not_in_reference`, no held-out image shows u and V came from the image's scores.
    """
    chosen, fallback = contrast_classes(view, classes, contrast, k, against, reference)
    g_u, g_bar = channel_weights(view, classes, chosen)
    rival = (chosen[..., None] == classes[:, None, None, :]).any(-1).any(-1)  # V never holds u itself
    negative = (g_u * g_bar).sum(-1) < 0
    counts = {"negative_dot": negative, "rival_in_contrast": rival}
    return counts | ({"class_not_in_reference": fallback} if contrast == "confusion" else {})


def needs(*, contrast: Contrast, **_: Any) -> dict[str, dict[str, Any]]:
    """The confusion matrix or the seed, where the contrast comes from them."""
    return {name: {} for name in {"confusion": ["confusion"], "random": ["seed"]}.get(contrast, [])}


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
    if not 1 <= k < N:
        raise SalcheckError(f"case:k={k} does not fit: the model has {N - 1} other classes, so k is 1 to {N - 1}")
    by_logits = _highest(view.logits[:, None].expand(-1, classes.shape[1], -1), classes, k)
    if contrast == "logits" or (contrast == "confusion" and "confusion" not in reference):
        return by_logits, torch.full_like(own, contrast == "confusion")
    if contrast == "random":
        return _highest(view.uniform(classes, (N,)), classes, k), own
    chosen, known = reference["confusion"].most_confused(classes, k)
    return torch.where(known[..., None], chosen, by_logits), ~known


def channel_weights(view: View, classes: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
    """g_u and gbar, each (B, M, C), for classes (B, M) and their contrasts (B, M, k), -1 for none."""
    share = torch.zeros(*classes.shape, view.logits.shape[1] + 1, device=classes.device)
    share.scatter_(-1, chosen % share.shape[-1], 1.0)  # the padding -1 lands in the extra last column
    share = share[..., :-1]
    share = share / share.sum(-1, keepdim=True).clamp(min=1)
    return view.grads(classes).mean(dim=(-2, -1)), view.vjp(share).mean(dim=(-2, -1))


def _highest(scores: Tensor, classes: Tensor, k: int) -> Tensor:
    return ranked(scores.scatter(-1, classes[..., None], -torch.inf))[..., :k]


def _explicit(view: View, classes: Tensor, against: str) -> Tensor:
    named = [view.labels.resolve(name) for name in against.split("+") if name.strip()]
    if not named:
        raise SalcheckError("case:contrast=explicit names no class: add against=CLASS or against=CLASS+CLASS")
    chosen = torch.tensor(named, device=classes.device).expand(*classes.shape, len(named))
    return torch.where(chosen == classes[..., None], -1, chosen)
