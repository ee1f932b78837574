"""Sanity: how like a map stays to that of the trained model when the weights become random.

Adebayo et al., NeurIPS 2018: the likeness of two maps of one image for one class, the most likely one of the trained
model; one map is that model's, the other that of a model with random weights. Level k is the k-th part of the network,
counted from the head (`salcheck.network.randomise`):

    spearman_abs, spearman, ssim    the first k parts random (cascading), references of a method gathered anew
    ..._independent                 part k alone random
    ..._frozen                      references those of the trained model; the same where a method reads none
    ..._pair                        of the trained model's maps of this image and of the next one of the run's order,
                                    each for its own most likely class
    ..._labels                      of a model trained on permuted labels, where `shuffled` names one

    excess      = mean over k of spearman_abs - (1 + spearman_abs_pair) / 2
    excess_last = spearman_abs at the last level, all weights random - spearman_abs_pair

The maps of two images are like for reasons that are no secret of the model: smoothness, objects in the middle. A map
that never changes stays at 1, and has an excess of (1 - pair) / 2: 0 where it is the same for every image (`center`),
more where it follows the image (`edges`) or its seed (`random`). So an excess below 0 says that, on the way from the
head to the input, a map is nearer to one of another image than to itself: no map that does without the model gets
there, and none that forgets it only with the very first layers (guided backpropagation keeps most of its picture until
those are random). `excess_last` below 0 is the rule of Arun et al., 2021 (there with SSIM). It asks less of a method,
for all weights are random before it is asked, and more: two maps of one image may share what any network would show.
What it cannot say: that a map is right. Noise that is drawn anew would pass.

Rank correlations are taken on the method's own grid: of absolute values, since the sign that random weights give a map
is chance, and of the values. SSIM is of pixels, each map scaled by its own range. A map that is constant with random
weights has no likeness, and is left out of the mean: what is clamped at zero is often blank then, by the chance sign of
random weights. One draw of weights is shared by all images: ask again with another `draw` before small differences are
believed.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from salcheck.diagnostics import Scores, Seen, scored
from salcheck.errors import SalcheckError
from salcheck.maps.likeness import correlation, ranks, ssim
from salcheck.maps.notes import Kind, Note
from salcheck.maps.ranking import blank, ranked, upsample
from salcheck.network.loading import load_model
from salcheck.network.model import Model
from salcheck.network.randomise import ALONE, random_models
from salcheck.network.view import View

LABELS = "labels"  # the name of the model that was trained on permuted labels
MEASURES = ("spearman_abs", "spearman", "ssim")
BLANK = Note(Kind.BLANK, "the map that it is compared with")
LONELY = Note(Kind.UNDEFINED, "no other image to compare with")


def check(*, parts: int, draw: int, **rest: object) -> None:
    if parts < 0 or parts == 1:
        raise SalcheckError(f"sanity:parts={parts}: it is 2 or more, or 0 for every part of the network")
    if not 0 <= draw < 2**63:
        raise SalcheckError(f"sanity:draw={draw}: it says which random weights, 0 or more")


def subjects(model: Model, *, parts: int = 0, draw: int = 0, shuffled: str = "") -> dict[str, Model]:
    """Models with random weights, cascading and then one part alone, and the one trained on permuted labels.

    The names of the first, in their order, are those of the levels. Raises SalcheckError where `shuffled` is another
    network.
    """
    return random_models(model, parts, draw) | ({LABELS: _shuffled(model, shuffled)} if shuffled else {})


def score(
    view: View,
    classes: Tensor,
    maps: Tensor,
    *,
    parts: int = 0,
    draw: int = 0,
    shuffled: str = "",
    subjects: Sequence[Seen],
    explain: Callable[[View, Tensor], Tensor],
    following: Callable[[], View | None],
) -> Scores:
    """Likenesses (B, L), at most 1, by part of the network; those of a pair and the two excesses (B,).

    maps: (B, 1, h, w). parts: at most so many parts, neighbours joined; 0 for all. draw: which random weights.
    shuffled: the --arch of the same network trained on permuted labels. NaN where a map with random weights is
    constant, and where there is no other image.
    """
    likeness = _likeness(maps[:, 0], view.size)
    found = {one.name: _both(one, classes, likeness) for one in subjects}
    alone = [name for name in found if name.endswith(ALONE)]
    cascade = [name for name in found if name != LABELS and name not in alone]
    others = following()
    pair = likeness(maps[:, 0]) * torch.nan if others is None else likeness(_own(others, explain))
    values = _named("_pair", pair)
    for suffix, names in (("", cascade), ("_independent", [*cascade[:1], *alone])):
        for end, place in (("", 0), ("_frozen", 1)):
            values |= _named(f"{suffix}{end}", torch.stack([found[name][place] for name in names], dim=-1))
    values |= _named("_labels", found[LABELS][0]) if LABELS in found else {}
    curve, other = values["spearman_abs"], values["spearman_abs_pair"]
    values |= {"excess": curve.nanmean(dim=1) - (1 + other) / 2, "excess_last": curve[:, -1] - other}
    levels = [float(level) for level in range(1, len(cascade) + 1)]
    notes = blank(upsample(maps[:, 0], view.size), 0, maps[:, 0])
    return scored(values, notes, levels, LONELY if others is None else BLANK)


def _own(view: View, explain: Callable[[View, Tensor], Tensor]) -> Tensor:
    """Maps (B, h, w), each for the most likely class of its own image."""
    return explain(view, ranked(view.logits)[:, :1])[:, 0]


def _named(suffix: str, rows: Tensor) -> dict[str, Tensor]:
    """Rows (3, ...) by metric."""
    return {f"{measure}{suffix}": row for measure, row in zip(MEASURES, rows, strict=True)}


def _both(one: Seen, classes: Tensor, likeness: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """Likenesses (3, B) with references of the random model, and with those of the trained one."""
    own = likeness(one.explain(one.view, classes)[:, 0])
    return own, own if one.frozen is one.explain else likeness(one.frozen(one.view, classes)[:, 0])


def _likeness(trained: Tensor, size: tuple[int, int]) -> Callable[[Tensor], Tensor]:
    """A function of other maps (B, h, w): the measures (3, B) of these and the trained model's; NaN where the other
    one is constant or not finite.
    """
    absolute, signed, pixels = ranks(trained.abs()), ranks(trained), upsample(trained, size)

    def measure(maps: Tensor) -> Tensor:
        rows = [correlation(absolute, ranks(maps.abs())), correlation(signed, ranks(maps))]
        rows.append(ssim(pixels, upsample(maps, size)))
        return torch.stack(rows).masked_fill(rows[1].isnan(), torch.nan)

    return measure


def _shuffled(model: Model, arch: str) -> Model:
    other = load_model(arch, layer=model.layer, device=str(model.device), amp=model.amp)
    here, there = ({name: t.shape for name, t in one.net.state_dict().items()} for one in (model, other))
    if here != there:
        raise SalcheckError(
            f"sanity:shuffled={arch} is another network than {model.name}: give one of the same architecture and "
            "classes, trained on shuffled labels (`salcheck train --shuffle` does it for its own networks)"
        )
    return other
