"""Within a class: does the map mark what sets an image apart from others of its class?

DiffCAM, CVPR 2025, section 4.1.2, shows odd digits with maps against images of their own class, and no numbers. Here
the oddity is planted at known pixels (`salcheck.perturb.plants`), in images as the model is fed them, and the map of
the planted image, for the class that the image shows, is measured against these pixels:

    auprc      average precision of all pixels, ranked by the map as it is
    pointing   whether the maximum is on the plant
    energy     the share of the positive mass on the plant
    gained     average precision of the positive part of the map's change by the plant; a map that does not rise
               anywhere has the plant's share of the picture
    distance   from the references, of the image as it is and of the planted one, where the method measures one
               (DiffCAM: D^2), and whether the plant takes it farther away

`diffcam:group=same` is the method that the question is about: its references are held-out images of the class. Others
explain the class and not the image's place in it, and take part as rivals. `area` is what a full image would have as
auprc. From the two distances the report can tell how well they part planted images from clean ones.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from salcheck.diagnostics import Scores, scored
from salcheck.diagnostics._places import lying_on, pointing, positive
from salcheck.maps.agreement import agreement
from salcheck.maps.notes import Kind, Note, first
from salcheck.maps.ranking import order, upsample
from salcheck.network.view import View
from salcheck.perturb import plants

NO_DISTANCE = Note(Kind.UNDEFINED, "has no distance")


def check(*, size: float, **rest: object) -> None:
    plants.check_size(size)


def score(
    view: View,
    classes: Tensor,
    maps: Tensor,
    *,
    plant: plants.Kind = "dot",
    size: float = 0.02,
    explain: Callable[[View, Tensor], Tensor],
    told: Callable[[str, View, Tensor], Tensor | None],
) -> Scores:
    """All metrics (B,); maps (B, 1, h, w) of the images as they are, for the class that they show.

    plant: what is planted. size: the part of the picture that it takes. The cost is that of the method on one more
    image for each image. NaN, with a note, where the map of the planted image is blank or nothing can be planted.
    """
    planted = plants.plant(view, plant, size)
    new, distance = _explained(view, classes, planted, explain, told)
    clean = told("distance", view, classes)
    before = torch.full_like(distance, torch.nan) if clean is None else clean[:, 0].cpu().double()
    ranked, masks = order(new, view.size), planted.masks
    change = new - maps[:, 0]
    rising, rise = change.flatten(1).isfinite().all(-1), order(change.clamp(min=0), view.size)
    values = {
        "auprc": agreement(ranked, masks).average_precision(),
        "pointing": pointing(upsample(new, view.size), masks),
        "energy": lying_on(positive(new[:, None], view.size), masks[:, None])[:, 0, 0],
        "gained": agreement(rise, masks).average_precision().masked_fill(~rising, torch.nan),
        "area": masks.float().mean((-2, -1)),
        "distance_clean": before,
        "distance_planted": distance,
        "farther": (distance > before).double().masked_fill((distance - before).isnan(), torch.nan),
    }
    return scored(values, first(planted.notes, ranked.notes), gap=NO_DISTANCE)


def _explained(
    view: View,
    classes: Tensor,
    planted: plants.Planted,
    explain: Callable[[View, Tensor], Tensor],
    told: Callable[[str, View, Tensor], Tensor | None],
) -> tuple[Tensor, Tensor]:
    """Maps (B, h, w) of the planted images, and their distances (B,) in double precision, NaN for none."""
    of = torch.arange(len(view), device=classes.device)
    distances = torch.full((len(view),), torch.nan, dtype=torch.float64)

    def work(rows: slice) -> Tensor:
        other = view.again(planted.images[rows], of[rows])
        maps = explain(other, classes[rows])[:, 0]
        distance = told("distance", other, classes[rows])
        if distance is not None:
            distances[rows] = distance[:, 0].cpu().double()
        return maps

    return view.chunks(len(view), work), distances
