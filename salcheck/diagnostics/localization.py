"""Localisation: how well a map agrees with the object's box or mask, under every rule that papers threshold it by.

Wang et al., CVPR Workshops 2020 (Score-CAM), as asked by DiffCAM, CVPR 2025, section 4.2: images with one box of the
class that covers at most half of what the model sees. Maps are upsampled, and every pixel counts:

    auprc       average precision of all pixels, ranked by the map as it is, negative values too
    iou         IoU of the object and the pixels above 2, 4, ..., 98 % of the map's range; iou_oracle is its maximum
    iou_mean, iou_half, iou_otsu   above the map's mean, half of its range, Otsu's threshold
    iou_area    of as many pixels as the object has, exactly
    iou_wsol    IoU of boxes, by area: the object's and that of the largest component above 20 % of the range (Zhou et
                al., CVPR 2016; Choe et al., CVPR 2020), the best where the class has several
    pointing    whether the maximum is on the object (Zhang et al., IJCV 2018, who allow 15 pixels of the photograph)
    energy      the share of the positive mass on the object

DiffCAM does not say by which threshold, and its definition has no ReLU (equation 7). A map without one, minus a
constant, ranks the same pixels: so it is ranked and scaled by its own range as it is, and `signed=false` cuts every map
at 0 before anything else, as libraries do. A full image has no score, as no constant map has; `area` is what it would
have as auprc, energy and IoU.
"""

import dataclasses
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from salcheck.datasets import Region
from salcheck.diagnostics import Scores, scored
from salcheck.diagnostics._places import lying_on, pointing, positive, widened
from salcheck.errors import SalcheckError
from salcheck.inputs.truth import Truth
from salcheck.maps.agreement import Agreement, agreement, best_box_iou, largest_box, otsu, tight_box
from salcheck.maps.notes import Kind, Note, first
from salcheck.maps.ranking import order, unit, upsample
from salcheck.naming.roles import LABEL1, TOP1, Role
from salcheck.network.view import View

LEVELS = tuple(range(2, 100, 2))  # percent of the range
WSOL = 0.2
MOST = 100  # pixels of tolerance

Found = Sequence[tuple[Region, Tensor]]  # the regions of one class in one image, with their pixels


def check(*, largest: float, tolerance: int, **rest: object) -> None:
    if not 0 < largest <= 1:
        raise SalcheckError(f"largest={largest:g}: it is a share of the picture, above 0 and up to 1")
    if not 0 <= tolerance <= MOST:
        raise SalcheckError(f"tolerance={tolerance}: it is a number of pixels, 0 to {MOST}")


def roles(*, target: str, **rest: object) -> tuple[Role, ...]:
    return (TOP1,) if target == "top1" else (LABEL1,)


def score(
    view: View,
    classes: Tensor,
    maps: Tensor,
    *,
    truth: Truth,
    target: Literal["label", "top1"] = "label",
    single: bool = True,
    largest: float = 0.5,
    tolerance: int = 0,
    signed: bool = True,
) -> Scores:
    """All metrics (B,) and `iou` (B, 49) at percentages of the range; maps (B, 1, h, w).

    single: images with several boxes of the class are left out; several masks make one. tolerance: how many pixels of
    what the model is fed the maximum may be away from the object.
    """
    masks = truth.masks(classes)[:, 0]
    grids = maps[:, 0] if signed else maps[:, 0].clamp(min=0)
    ranked, pixels = order(grids, view.size), upsample(grids, view.size)
    area = masks.float().mean((-2, -1))
    found = _of_class(truth, classes)
    excluded = [_excluded(*one, single, largest) for one in zip(found, area.tolist(), strict=True)]
    values = _by_pixels(agreement(ranked, masks)) | {
        "iou_wsol": _by_boxes(unit(pixels) > WSOL, found),
        "pointing": pointing(pixels, widened(masks, tolerance)),
        "energy": lying_on(positive(maps, view.size), masks[:, None])[:, 0, 0],
        "area": area,
    }
    return scored(values, first(excluded, ranked.notes), LEVELS)


def _of_class(truth: Truth, classes: Tensor) -> list[Found]:
    return [
        [(region, pixels) for region, pixels in regions if region.label == u]
        for regions, u in zip(truth.regions, classes[:, 0].tolist(), strict=True)
    ]


def _excluded(found: Found, area: float, single: bool, largest: float) -> Note | None:
    if not found:
        return Note(Kind.EXCLUDED, "no object of the class is marked")
    if single and len(found) > 1 and any(region.box is not None for region, _ in found):
        return Note(Kind.EXCLUDED, "several objects of the class")
    if area == 0:
        return Note(Kind.EXCLUDED, "the object is outside of the picture as the model sees it")
    if area > largest:
        return Note(Kind.EXCLUDED, f"the object covers more than {100 * largest:g} % of the picture")
    return None


def _by_pixels(found: Agreement) -> dict[str, Tensor]:
    """Measures (B,) that take every pixel for itself, and the curve."""
    scaled = dataclasses.replace(found, values=unit(found.values[:, None])[:, 0])
    levels = torch.tensor(LEVELS, device=scaled.values.device) / 100
    curve = scaled.iou_above(levels.expand(len(scaled.values), -1))
    thresholds = {
        "iou_mean": scaled.values.mean(-1),
        "iou_half": torch.full_like(scaled.values[:, 0], 0.5),
        "iou_otsu": otsu(scaled.values),
    }
    return {
        "auprc": found.average_precision(),
        "auprc_trapezoid": found.trapezoid(),
        **{name: scaled.iou_above(one[:, None])[:, 0] for name, one in thresholds.items()},
        "iou_area": found.iou(found.size[:, None])[:, 0],
        "iou_oracle": curve.amax(-1),
        "iou": curve,
    }


def _by_boxes(masks: Tensor, found: Sequence[Found]) -> Tensor:
    """IoU (B,) of the boxes of the largest components of masks (B, H, W) and of the objects; NaN where none is seen."""
    values = []
    for mask, regions in zip(masks.cpu().numpy(), found, strict=True):
        boxes = [tight_box(pixels.cpu().numpy()) for _, pixels in regions if pixels.any()]
        values.append(best_box_iou(largest_box(mask), boxes) if boxes else torch.nan)
    return torch.tensor(values, device=masks.device)
