"""Counterfactual: does the map for one class and not another mark the parts in which the two differ?

Wang and Vasconcelos, CVPR 2020 (SCOUT), section 4; DiffCAM, CVPR 2025, adds F1. The two explained classes are a, the
model's prediction, and its rival b: the likeliest other class (SCOUT's advanced user) or one drawn at random among
those that the image does not show (its beginner). A method that knows of rivals answers in its map for a "why a and not
b", others "why a": that map is measured. The dataset knows where parts are, and how far two classes differ in each.

    true       = visible parts in which a and b differ by more than T
    marked     = visible parts whose point lies in the region, the top k % of the pixels of the map
    recall     = |true and marked| / |true|
    precision  = |true and marked| / |marked|
    f1         = 2 |true and marked| / (|true| + |marked|), the harmonic mean of the two, and 0 where nothing is marked
    lift       = precision - base rate, and base rate = |true| / |visible|: what a map at random has for precision
    PIoU       = |Q and C| / |Q or C|, of the parts Q marked in the image and C marked in an image of class b by its map
                 for b against a, both among those visible in both images

0 / 0 is no number, nor is a PIoU where Q or C is empty. The curves are over k; `f1`, `lift` and `piou` are means over
those k at which an image has a number, which for precision and PIoU is from where its first part is marked. Pixels at
and below zero are ranked like others, equal ones at random.

Of the rivals in DiffCAM's Table 2, `goyal` and `scout` (GALORE has its map) are methods here. CounteRGAN (Nemirovsky et
al., 2022) is not: a generator trained anew for every dataset, published for tables and digits, of which nobody has said
how it was made to give regions of photographs; what we made up would not be it.

PIoU is high for whatever marks the same parts in every picture, a map of the centre among them: it says nothing without
the controls.

T is SCOUT's: the 20th percentile of how far any two classes differ in any part, each class and itself among them. With
`percentile=0` every difference counts. T is below the largest difference, so that of differences 0 and 1 the ones count
whatever their share. On CUB-200-2011 four fifths of the parts of two classes at random are then true, which is why
precision says nothing without the base rate.

SCOUT's scripts differ from the above; the image of class b is as there the first of its class:
- They map points as if the picture were stretched, and those of the image of class b without its crop. Here all go
  through the very resize and crop of the model; one outside of the crop is not visible.
- The region is made by setting to 1 what exceeds a threshold, and to 0 what is then below 1: what exceeds 1 to begin
  with stays in all regions. Here it is the k % of pixels ranked highest, exactly so many.
- Two parts on one pixel count once there, and twice here.
- Their script for Goyal's method is a matter of that method: see `goyal`.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from salcheck.diagnostics import Scores, scored
from salcheck.errors import SalcheckError
from salcheck.inputs.truth import Located, Truth
from salcheck.maps.notes import Kind, Note
from salcheck.maps.ranking import Order, check_percent, order, set_size
from salcheck.naming.roles import RANDOM, TOP1, TOP2, Role
from salcheck.network.view import View
from salcheck.perturb.answers import Memory

KNOWS = "parts"
UNKNOWN = Note(Kind.EXCLUDED, "it is not known in which parts its two classes differ")
ALIKE = Note(Kind.EXCLUDED, "its two classes differ in no visible part")

Example = Callable[[int], tuple[Tensor, Truth] | None]


def check(*, percent: tuple[float, ...], percentile: float, **rest: object) -> None:
    check_percent(*percent)
    if not 0 <= percentile < 100:
        raise SalcheckError(f"percentile={percentile:g}: it is 0 or more, and below 100")


def roles(*, rival: str, **rest: object) -> tuple[Role, ...]:
    return (TOP1, TOP2 if rival == "likeliest" else RANDOM)


def score(
    view: View,
    classes: Tensor,
    maps: Tensor,
    *,
    percent: tuple[float, ...] = (1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0, 40.0, 50.0),
    percentile: float = 20.0,
    rival: Literal["likeliest", "random"] = "likeliest",
    explain: Callable[[View, Tensor], Tensor],
    truth: Truth,
    example: Example,
    memory: Memory,
) -> Scores:
    """`f1`, `lift`, `piou` and `base_rate` (B,), and `recall_at`, `precision_at`, `f1_at` and `piou_at` (B, L) for
    regions of L sizes; maps (B, 2, h, w) of a and b.

    NaN, with a note, for an image whose classes differ in no visible part or by nobody knows what, and for a blank map.
    """
    parts, found = truth.parts, order(maps[:, 0], view.size)
    sizes = [set_size(one, view.size[0] * view.size[1]) for one in percent]
    differ, notes = _differ(parts, classes, percentile)
    true, marked = (differ & parts.visible)[:, None], _marked(found, parts, sizes)
    hits, of_true, of_marked = (one.sum(-1).double() for one in (true & marked, true, marked))
    precision, base_rate = hits / of_marked, of_true[:, 0] / parts.visible.sum(-1)
    f1, piou = 2 * hits / (of_true + of_marked), _piou(view, memory, classes, truth, marked, sizes, explain, example)
    values = {
        "f1": f1.nanmean(-1),
        "lift": (precision - base_rate[:, None]).nanmean(-1),
        "piou": piou.nanmean(-1),
        "base_rate": base_rate,
        "recall_at": hits / of_true,
        "precision_at": precision,
        "f1_at": f1,
        "piou_at": piou,
    }
    notes = [note or blank for note, blank in zip(notes, found.notes, strict=True)]
    return scored(
        values, notes, percent, gap=Note(Kind.UNDEFINED, "no part is marked, or there is no image of the rival")
    )


def threshold(differences: NDArray[np.float64], percentile: float) -> float:
    """T, of all differences that are known (not NaN)."""
    known = differences[np.isfinite(differences)]
    below = known[known < known.max(initial=-np.inf)]
    return float(min(np.percentile(known, percentile), below.max())) if below.size else np.inf


def _differ(parts: Located, classes: Tensor, percentile: float) -> tuple[Tensor, list[Note | None]]:
    """Parts in which the classes (B, 2) of an image differ, bool (B, P), and why an image is excluded, or None."""
    a, b = classes.cpu().unbind(1)
    between = parts.differences[a, b]
    differ = (between > threshold(parts.differences.numpy(), percentile)).to(parts.visible.device)
    unknown = between.isnan().any(-1).tolist()
    there = (differ & parts.visible).any(-1).tolist()
    return differ, [UNKNOWN if u else None if t else ALIKE for u, t in zip(unknown, there, strict=True)]


def _marked(found: Order, parts: Located, sizes: Sequence[int]) -> Tensor:
    """Visible parts in the region of each size: bool (B, L, P). A blank map marks none."""
    H, W = found.place.shape[1:]
    x, y = (parts.points[..., axis].floor().long().clamp(0, n - 1) for axis, n in enumerate((W, H)))
    image = torch.arange(len(found.place), device=x.device)[:, None]
    ends = torch.tensor(sizes, device=x.device)[:, None]
    ranks = torch.tensor([note is None for note in found.notes], device=x.device)[:, None, None]
    return (found.place[image, y, x][:, None] < ends) & parts.visible[:, None] & ranks


def _piou(
    view: View,
    memory: Memory,
    classes: Tensor,
    truth: Truth,
    marked: Tensor,
    sizes: Sequence[int],
    explain: Callable[[View, Tensor], Tensor],
    example: Example,
) -> Tensor:
    """PIoU (B, L), NaN where either side marks nothing, or no image shows b."""
    piou = torch.full(marked.shape[:2], torch.nan, dtype=torch.float64, device=marked.device)
    # The counterparts are the same for all methods.
    rows, others, theirs = memory.once(f"examples {classes.tolist()}", lambda: _examples(view, classes, truth, example))
    if others is None or theirs is None:
        return piou
    maps = explain(others, classes[rows].flip(1))[:, 0]
    both = (truth.parts.visible[rows] & theirs.visible)[:, None]
    Q, C = marked[rows] & both, _marked(order(maps, view.size), theirs, sizes) & both
    shares = (Q & C).sum(-1).double() / (Q | C).sum(-1)
    piou[rows] = shares.masked_fill(~(Q.any(-1) & C.any(-1)), torch.nan)
    return piou


def _examples(
    view: View, classes: Tensor, truth: Truth, example: Example
) -> tuple[list[int], View | None, Located | None]:
    """The rows of the images that have a counterpart of class b, and these counterparts with their parts."""
    rivals = classes[:, 1].tolist()
    shown = {b: example(b) for b in sorted(set(rivals))}
    apart = [b not in item.labels for item, b in zip(truth.items, rivals, strict=True)]  # else it may be itself
    found = [(row, *one) for row, b in enumerate(rivals) if apart[row] and (one := shown[b]) is not None]
    return ([row for row, _, _ in found], *_together(view, found))


def _together(view: View, found: Sequence[tuple[int, Tensor, Truth]]) -> tuple[View | None, Located | None]:
    if not found:
        return None, None
    of = torch.tensor([row for row, _, _ in found])
    parts = [truth.parts for _, _, truth in found]
    points, visible = torch.cat([one.points for one in parts]), torch.cat([one.visible for one in parts])
    images = torch.stack([image for _, image, _ in found])
    return view.again(images, of), Located(parts[0].names, points, visible, parts[0].differences)
