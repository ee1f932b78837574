"""Confidence drop: how much of the class's score goes when the most salient pixels are removed.

CASE, arXiv 2506.07327, section 4 (research question 2). With p the score of the class on the image and p_k that
without its top k % of pixels:

    drop       = max(p - p_k, 0) / p     as the released code has it (`average drop`)
    difference = p - p_k                 as the paper's text has it

The paper does not name k; the code takes 50. Departures from the code: pixels are removed where the map is high, not
where its transpose is (`transposed=true`); all methods see the same images; sets hold exactly K pixels, and a map
without K positive pixels gets no score at that k (`ties=random` fills the set up, at random). The code's fill is the
dataset's mean colour, which is the default here.
"""

from typing import Literal

import torch
from torch import Tensor

from salcheck.diagnostics import Scores, scored
from salcheck.diagnostics._removal import without
from salcheck.errors import SalcheckError
from salcheck.maps.notes import Kind, Note
from salcheck.maps.ranking import Ranking, Ties, check_percent, order, set_size
from salcheck.network.view import View
from salcheck.perturb.answers import Memory, clean
from salcheck.perturb.canvas import Fill, remover


def check(*, percent: tuple[float, ...], **rest: object) -> None:
    check_percent(*percent)


def score(
    view: View,
    classes: Tensor,
    maps: Tensor,
    *,
    percent: tuple[float, ...] = (5.0, 10.0, 25.0, 50.0),
    fill: Fill = "mean",
    output: Literal["softmax", "logit"] = "softmax",
    ties: Ties = "none",
    ranking: Ranking = "upsampled",
    transposed: bool = False,
    memory: Memory,
) -> Scores:
    """`before` (B,), `after`, `drop`, `difference` and `tied` (B, L) at each percentage; maps (B, 1, h, w).

    Scores are softmax in 0...1 or logits; a drop of logits is relative to the logit's size. tied: percent of the set
    that was chosen among equal values. Raises SalcheckError for `transposed` where pictures are not square.
    """
    if transposed and view.size[0] != view.size[1]:
        raise SalcheckError(f"transposed=true needs square pictures: these are {view.size[0]} x {view.size[1]}")
    found = order(maps[:, 0].mT if transposed else maps[:, 0], view.size, ties, ranking)
    sizes = [set_size(one, view.size[0] * view.size[1]) for one in percent]
    before = clean(view, classes).output(output)
    after = without(view, memory, classes, found, sizes, remover(view, fill), f"remove {fill}").output(output)[..., 0]
    difference = before - after
    values = {
        "drop": difference.clamp(min=0) / before.abs(),
        "difference": difference,
        "after": after,
        "tied": 100 * found.tied(sizes) / torch.tensor(sizes, device=after.device),
    }
    if ties == "none":
        few = found.positive()[:, None] < torch.tensor(sizes, device=after.device)
        values = {name: value.masked_fill(few, torch.nan) for name, value in values.items()}
    values = {"before": before[:, 0], **values}
    return scored(
        values, found.notes, percent, gap=Note(Kind.BLANK, "fewer positive pixels than the set"), answers=after
    )
