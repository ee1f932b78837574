"""Contrastive faithfulness: does a class lose more to its own map than to its rival's?

salcheck's own, after CASE, arXiv 2506.07327, section 4 (research question 2), which watches one class alone: a map that
marks whatever the picture shows lowers that one too. With u the class and v its rival, s their scores, and A_w the top
k % of the pixels of the map for w:

    own      = (s_u - s_v) - (s_u - s_v without A_u)
    other    = (s_u - s_v) - (s_u - s_v without A_v)
    contrast = own - other

Maps that are the same for both classes have a contrast of exactly 0. To name u the rival and v the class turns own
into -other and other into -own, and leaves the contrast as it is. A level has no score where either map has fewer
positive pixels than the set (`ties=random` fills the sets up, at random); an image has none where either is blank.
"""

from typing import Literal

import torch
from torch import Tensor

from salcheck.diagnostics import Scores, scored
from salcheck.diagnostics._removal import without
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
    output: Literal["logit", "softmax"] = "logit",
    ties: Ties = "none",
    ranking: Ranking = "upsampled",
    memory: Memory,
) -> Scores:
    """`contrast`, `own` and `other` (B, L) at each percentage, in logits or in shares; maps (B, 2, h, w) of u and v."""
    found = order(maps.flatten(0, 1), view.size, ties, ranking)
    sizes = [set_size(one, view.size[0] * view.size[1]) for one in percent]
    before = _margin(clean(view, classes).output(output))
    changed = without(view, memory, classes, found, sizes, remover(view, fill), f"remove {fill}").output(output)
    after = _margin(changed).unflatten(0, (-1, 2))
    fall = before[:, None, None] - after
    if ties == "none":
        few = found.positive()[:, None] < torch.tensor(sizes, device=fall.device)
        fall = fall.masked_fill(few.unflatten(0, (-1, 2)).any(1, keepdim=True), torch.nan)
    notes = [u or v for u, v in zip(found.notes[::2], found.notes[1::2], strict=True)]
    own, other = fall.unbind(1)
    values = {"contrast": own - other, "own": own, "other": other}
    return scored(values, notes, percent, gap=Note(Kind.BLANK, "fewer positive pixels than the set"), answers=after)


def _margin(scores: Tensor) -> Tensor:
    """s_u - s_v of scores (..., 2)."""
    return scores[..., 0] - scores[..., 1]
