"""Overlap of the most salient pixels of two classes' maps, as by `overlap`, wherever the model is cut.

CASE, arXiv 2506.07327, section 4.2 (Table 2) asks its research question 1 again at another layer of one network: a
method that tells classes apart at one layer need not at the next. Level k is the k-th layer, from the input to the
head. Every method gathers references of its own at each.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from salcheck.diagnostics import Scores, Seen, overlap, scored
from salcheck.errors import SalcheckError
from salcheck.maps.notes import Kind, Note
from salcheck.maps.ranking import check_percent
from salcheck.network.model import Model
from salcheck.network.view import FEATURES, View

GAP = Note(Kind.BLANK, "at this layer")


def check(*, percent: float, **rest: object) -> None:
    check_percent(percent)


def subjects(model: Model, *, at: tuple[str, ...] = (), **rest: object) -> dict[str, Model]:
    """The model cut at every layer in `at` (`features`, `paper`, module paths), else at its stages; by the layer.

    Raises SalcheckError with near names for a layer that is not there.
    """
    cut = [model.at(layer) for layer in at] if at else stages(model)
    return {one.layer: one for one in cut}


def score(
    view: View,
    classes: Tensor,
    maps: Tensor,
    *,
    percent: float = 5.0,
    at: tuple[str, ...] = (),
    subjects: Sequence[Seen],
) -> Scores:
    """`overlap` and `tied` (B, L), as by `overlap`, at each layer for classes (B, 2); the maps given are not read."""
    found = [overlap.score(one.view, classes, one.explain(one.view, classes), percent=percent) for one in subjects]
    values = {name: torch.cat([one.values[name] for one in found], dim=1) for name in ("overlap", "tied")}
    levels = [float(level) for level in range(1, len(found) + 1)]
    return scored(values, [None] * len(maps), levels, GAP)


def stages(model: Model) -> list[Model]:
    """The model cut at each of timm's stages (`feature_info`) and at `features`, from the input to the head.

    Left out, found by one picture of noise: what cannot be cut, what no class score depends on, and what is the same
    as a layer behind it. Raises SalcheckError where nothing is left.
    """
    info = getattr(model.net, "feature_info", [])
    names = [stage["module"] for stage in getattr(info, "info", info)]
    noise = torch.randn(1, model.channels, *model.size, generator=torch.Generator().manual_seed(0)).to(model.device)
    kept: list[Model] = []
    seen: list[Tensor] = []
    for layer in reversed(dict.fromkeys([*names, FEATURES])):
        try:
            cut = model.at(layer)
            view = cut.view(lambda: model.batch(noise), [0])
            heard = bool(view.grads(torch.zeros(1, 1, dtype=torch.long, device=model.device)).any())
        except SalcheckError:
            continue
        if heard and not any(view.acts.equal(other) for other in seen):
            kept.append(cut)
            seen.append(view.acts)
    if not kept:
        raise SalcheckError("no stage of this model can be cut: name layers, as in at=features or at=MODULE+MODULE")
    return kept[::-1]
