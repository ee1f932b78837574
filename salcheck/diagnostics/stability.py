"""Stability: does the map stay when the image changes in ways that leave its class as it is?

The control that question rq1 lacks: there the maps of two classes of one image should differ, here those of one class
in two versions of the image should agree. A method whose maps move as much when nothing has changed that matters tells
no classes apart by moving.

The versions are those of `salcheck.perturb.augment`, each a level. The map of the changed image is taken back to the
frame of the image as it was, and compared on the pixels that both show:

    shared     = 100 * |top_K(map) and top_K(map of the changed image, taken back)| / K, as in rq1
    spearman   = rank correlation of the two maps, with their signs; equal values share their mean rank
    same_class = whether the model still predicts the class that is explained
    agreement  = mean of `shared` over the changes under which it does

The class that is explained stays that of the image as it was. Where the model changes its mind the map may well do so
too: that is the model's instability and no flaw of the method, so `agreement` leaves such changes out, the same ones
for all methods.

High is better, and worth little alone: a map that never looks at the image agrees with itself under all changes that
move nothing. Read it beside the overlap of rq1. A coarse grid does not move with the picture: shifts by less than a
cell move its map by interpolation at best.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from salcheck.diagnostics import Scores, scored
from salcheck.maps.likeness import spearman
from salcheck.maps.notes import Kind, Note
from salcheck.maps.ranking import blank, check_percent, set_size, top_set, upsample
from salcheck.network.view import View
from salcheck.perturb.augment import CHANGES, changed, check_changes, taken_back

NO_SETS = Note(
    Kind.UNDEFINED, "no change leaves the class as it is, or the map of a changed image ranks too few pixels"
)


def check(*, percent: float, changes: tuple[str, ...]) -> None:
    check_percent(percent)
    check_changes(changes)


def level_names(*, changes: tuple[str, ...], **rest: object) -> list[str]:
    return list(changes)


def score(
    view: View,
    classes: Tensor,
    maps: Tensor,
    *,
    percent: float = 5.0,
    changes: tuple[str, ...] = tuple(CHANGES),
    explain: Callable[[View, Tensor], Tensor],
) -> Scores:
    """`agreement` (B,) and `shared` (B, L) in percent, `spearman` (B, L) in -1...1 and `same_class` (B, L), 0 or 1, for
    L changes; maps (B, 1, h, w).

    percent: size of the sets, of the pixels that both pictures show. The cost is that of the method on L images more
    for each image. NaN, with a note, where the map has no such set; NaN where that of a changed image has none, and
    then for `agreement` as well.
    """
    own, of = maps[:, 0], torch.arange(len(view), device=maps.device)
    pixels, positive = upsample(own, view.size), upsample(own.clamp(min=0), view.size)

    def compare(name: str, rows: slice) -> Tensor:
        other = view.again(changed(view, rows, name), of[rows])
        new = explain(other, classes[rows])[:, 0]
        stays = other.logits.argmax(-1) == classes[rows, 0]
        sets, both = taken_back(upsample(new.clamp(min=0), view.size), name)
        signed, _ = taken_back(upsample(new, view.size), name)
        same = shared(positive[rows][:, both], sets[:, both], percent)
        correlation = spearman(pixels[rows][:, None, both], signed[:, None, both])
        return torch.stack([same, correlation, stays.to(same)], dim=1)

    told = [view.chunks(len(view), partial(compare, name)) for name in changes]
    percents, correlations, stay = torch.stack([one.cpu().double() for one in told], dim=1).unbind(-1)
    agreement = torch.where(stay > 0, percents, 0).sum(1) / stay.sum(1)
    values = {"agreement": agreement, "shared": percents, "spearman": correlations, "same_class": stay}
    return scored(values, blank(positive, percent, own.clamp(min=0)), range(1, len(changes) + 1), NO_SETS)


def shared(first: Tensor, second: Tensor, percent: float) -> Tensor:
    """Percent of the top `percent` % that maps (J, P) share with others, (J,); NaN where one has no such set."""
    first, second = first[:, None], second[:, None]
    common = (top_set(first, percent)[0] & top_set(second, percent)[0]).count_nonzero(dim=(-2, -1))
    notes = zip(blank(first, percent), blank(second, percent), strict=True)
    without = torch.tensor([any(pair) for pair in notes], device=first.device)
    return (100 * common / set_size(percent, first.shape[-1])).masked_fill(without, torch.nan)
