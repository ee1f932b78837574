"""Map quality: Libra-CAM's five measures of the image seen through the map, under three ways to threshold it.

Lee and Han, IJCAI 2022, after the authors' released code and table, for the paper's text was not at hand. With Y the
score of the class on the image and O that on the image seen through the map, a soft mask in 0...1:

    API = max(0, O - Y)    APD = max(0, Y - O)    IR = 1 where O > Y, else 0    DR = 1 where O < Y, else 0
    change = O - Y = API - APD,  and the mean of IR, of DR and the share of ties make 1

API and APD are differences of scores here, as the table suggests; their `_relative` twins are divided by |Y|. The
measures are taken three times:

    as it is       the whole map
    _in_loop       without its lowest tenths, as many as are best by O itself (`salcheck.perturb.calibration`): Libra-
                   CAM's protocol. The threshold is chosen by what is then reported, so that any map gains, noise too
    _out_of_loop   the same with the tenths chosen on another canvas, `calibrate_on`, and O measured on `fill`

`auc_api_index` is the area under API over the ten thresholds 0...9 of the map as it is (trapezoids of width 1): one
reading of the paper's AUC, which is nowhere defined; `through` is O at these thresholds. `insertion` and `deletion`
are the areas of the diagnostics of these names. mask_mean and kept tell how much of the image the map lets through:
a bright map loses little.

Every method's map is treated alike: upsampled, shifted and scaled to 0...1 by its own lowest and highest value (where
its definition has no ReLU, negative values included), and thresholded here. The map of `libracam` was calibrated by O
with the mean colour before it comes here, and its references were chosen so: it is in the loop in all three readings,
unless it is asked as `libracam:calibrate=none,rejection=false`.

Departures from the code: a map's maximum is 1, where the authors leave that of Libra-CAM below 1; maps are scaled after
they are upsampled, not before; the chosen threshold is applied, not the next one (`mode=compat`); equal pixels go in a
random order, for from the top left on they would crop the image. The fill is the mean colour, as theirs.
"""

from functools import partial
from typing import Literal

import torch
from torch import Tensor

from salcheck.diagnostics import Scores, deletion, insertion, scored
from salcheck.diagnostics._curves import Output, check_steps
from salcheck.errors import SalcheckError
from salcheck.maps.ranking import order, unit, upsample
from salcheck.network.view import View
from salcheck.perturb.answers import Masks, Memory, ask, clean
from salcheck.perturb.calibration import STEPS, Masked, Mode, choose, curve, cut
from salcheck.perturb.canvas import veiler

Canvas = Literal["mean", "zero", "grey", "blur"]


def check(*, fill: str, calibrate_on: str, steps: int, **rest: object) -> None:
    """Raises SalcheckError for no steps, and for one canvas in both places, where nothing would be out of the loop."""
    check_steps(steps)
    if fill == calibrate_on:
        raise SalcheckError(f"fill={fill},calibrate_on={calibrate_on}: these are the same canvas, give two")


def score(
    view: View,
    classes: Tensor,
    maps: Tensor,
    *,
    fill: Canvas = "mean",
    calibrate_on: Canvas = "blur",
    mode: Mode = "intended",
    output: Output = "softmax",
    steps: int = 20,
    memory: Memory,
) -> Scores:
    """Each measure (B,) as it is, `_in_loop` and `_out_of_loop`, three areas (B,), and `through` (B, 10) at the
    percentage of pixels that are zero; maps (B, 1, h, w).

    Scores are softmax in 0...1, or logits. 20 forwards of changed images per map, 21 with mode=compat, and `steps` for
    insertion and for deletion each.
    """
    found = order(maps[:, 0], view.size)
    missing = torch.tensor([note is not None for note in found.notes], device=maps.device)
    masks = unit(upsample(maps[:, 0], view.size)).masked_fill(missing[:, None, None], 0)  # a blank one costs one image
    places = masks[0].numel() - 1 - found.place.flatten(1)
    before = clean(view, classes).output(output)[:, 0]
    here, elsewhere = (partial(_seen, view, memory, classes, output, canvas) for canvas in (fill, calibrate_on))
    values = _measured(masks, places, before, here, elsewhere, mode)
    for diagnostic, name in ((insertion, "insertion"), (deletion, "deletion")):
        values[name] = diagnostic.score(view, classes, maps, steps=steps, output=output, memory=memory).values[name]
    levels = [100 * i / STEPS for i in range(STEPS)]
    return scored(values, found.notes, levels, answers=values["through"])


def _seen(
    view: View, memory: Memory, classes: Tensor, output: Output, fill: Canvas, of: Tensor, masks: Masks
) -> Tensor:
    """The score (j,) of the images `of` (j,) seen through soft masks."""
    return ask(view, memory, classes, of, masks, veiler(view, fill), f"veil {fill}").output(output)[:, 0]


def _measured(
    masks: Tensor, places: Tensor, before: Tensor, here: Masked, elsewhere: Masked, mode: Mode
) -> dict[str, Tensor]:
    """All but insertion and deletion, for masks (B, H, W) whose pixels go in the order of places (B, H * W); before:
    the score (B,), here and elsewhere: the score under masks on either canvas.
    """
    after = curve(masks, places, here, STEPS + (mode == "compat"))  # which may take all ten tenths
    through = after[:, :STEPS]
    removed = {
        "": torch.zeros_like(places[:, 0]),
        "_in_loop": choose(through, before, mode),
        "_out_of_loop": choose(curve(masks, places, elsewhere), before, mode),
    }
    rises = (through - before[:, None]).clamp(min=0)
    values = {"through": through, "auc_api_index": torch.trapezoid(rises)}
    for suffix, tenths in removed.items():
        change = after.gather(1, tenths.long()[:, None])[:, 0] - before
        found = _changes(change, before) | _areas(cut(masks, places, tenths))
        values |= {name + suffix: value for name, value in found.items()}
    return values


def _changes(change: Tensor, before: Tensor) -> dict[str, Tensor]:
    """Libra-CAM's measures (B,) of O - Y and Y."""
    increase, decrease = change.clamp(min=0), (-change).clamp(min=0)
    return {
        "change": change,
        "api": increase,
        "apd": decrease,
        "api_relative": increase / before.abs(),
        "apd_relative": decrease / before.abs(),
        "ir": (change > 0).to(change).where(change.isfinite(), torch.nan),
        "dr": (change < 0).to(change).where(change.isfinite(), torch.nan),
    }


def _areas(masks: Tensor) -> dict[str, Tensor]:
    """How much of the image masks (B, H, W) let through, (B,) in 0...1."""
    return {"mask_mean": masks.mean(dim=(-2, -1)), "kept": (masks > 0).to(masks).mean(dim=(-2, -1))}
