"""Completeness: does the map sum to what its method says it sums to?

    error = |sum of the map - total| / |total|

The sum is over the map as the method gives it, on its own grid. The total is the method's own claim, made of the
model's scores and not of the map (`total` in its file): the score less that of a baseline (Sundararajan et al., ICML
2017, completeness), or of zero activations (conservation, Montavon et al., 2018). A method claims what holds for its
map as it stands: a ReLU or a min-max at its end undoes any sum, so those that have one claim none. Neither does a
method where its authors' guarantee ends, as HiResCAM's does at a head that is not linear. No claim is no error, and no
merit; a small error says that the map accounts for the whole score, not that it shows the right place.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from salcheck.diagnostics import Scores, scored
from salcheck.maps.notes import Kind, Note
from salcheck.network.view import View

NO_CLAIM = Note(Kind.UNDEFINED, "claims no sum")
NOT_FINITE = Note(Kind.BLANK, "not finite")


def score(view: View, classes: Tensor, maps: Tensor, *, told: Callable[[str, View, Tensor], Tensor | None]) -> Scores:
    """`error`, `sum` and `total` (B,), the last two in units of the method; maps (B, 1, h, w).

    NaN, with a note, for a method that claims no sum and for a map that is not finite; the error is NaN where the
    total is zero.
    """
    total = told("total", view, classes)
    there = maps[:, 0].flatten(1).cpu().double().sum(1)
    if total is None:
        nothing = torch.full_like(there, torch.nan)
        return Scores({"error": nothing, "sum": nothing, "total": nothing}, [NO_CLAIM] * len(there))
    claimed = total[:, 0].cpu().double()
    error = ((there - claimed).abs() / claimed.abs()).masked_fill(claimed == 0, torch.nan)
    notes = [None if finite else NOT_FINITE for finite in there.isfinite().tolist()]
    return scored({"error": error, "sum": there, "total": claimed}, notes)
