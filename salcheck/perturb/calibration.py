"""Threshold calibration: a map loses the lowest tenths of its pixels, as many as raise the class's softmax most.

Lee and Han, IJCAI 2022, as released. Of a map L of K pixels, L_i has the lowest floor(i K / 10) at zero and the
others as they were. With p_i the softmax of the class on L_i * image and p that on the image:

    g_i = max(0, p_i - p),  i = 0 ... 9
    intended      L_i at the lowest i of the highest g_i
    compat        L_(i + 1), as the released code has it: never the map that was scored, and all zero for i = 9
    unrectified   L_i at the lowest i of the highest p_i, so that it still chooses where no p_i reaches p

Equal pixels go from the top left. The threshold is chosen on the same image and model as it is used for. A measure that
rewards a high p_i therefore gives any calibrated map a better score, even a map of noise.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from salcheck.maps.ranking import ranked
from salcheck.network.view import View

STEPS = 10

Mode = Literal["intended", "compat", "unrectified"]
Masked = Callable[[Tensor, Callable[[slice | Tensor], Tensor]], Tensor]


def calibrate(maps: Tensor, before: Tensor, masked: Masked, mode: Mode) -> tuple[Tensor, Tensor, Tensor]:
    """Maps (J, H, W) without their lowest tenths, how many these are (J,), and the softmax at each step (J, 10).

    before: (J,) the softmax p of each map's class on the whole image. masked: see `curve`.
    """
    places = places_from_lowest(maps)
    found = curve(maps, places, masked)
    removed = choose(found, before, mode)
    return cut(maps, places, removed), removed, found


def curve(maps: Tensor, places: Tensor, masked: Masked, steps: int = STEPS) -> Tensor:
    """The score, softmax as released, (J, steps) under maps (J, H, W) without their lowest 0, 1, 2 ... tenths.

    masked(of, masks): the score (j,) of jobs under masks, where `of` (j,) is a job's map and masks(rows) makes the
    masks (rows, H, W) of some jobs.
    """
    of = torch.arange(len(maps), device=maps.device).repeat_interleave(steps)
    tenths = torch.arange(steps, device=maps.device).repeat(len(maps))
    return masked(of, lambda rows: cut(maps[of[rows]], places[of[rows]], tenths[rows])).unflatten(0, (-1, steps))


def choose(curve: Tensor, before: Tensor, mode: Mode) -> Tensor:
    """How many tenths (J,) to take, by the score under the map (J, 10) and on the whole image (J,)."""
    gain = curve - before[:, None]
    chosen = ranked(gain if mode == "unrectified" else gain.clamp(min=0))[:, 0]
    return chosen + 1 if mode == "compat" else chosen


def places_from_lowest(maps: Tensor) -> Tensor:
    """Each pixel's place (J, H * W) from the lowest, 0, to the highest; equal ones from the top left."""
    return ranked(-maps.flatten(1)).argsort(dim=-1).int()


def cut(maps: Tensor, places: Tensor, tenths: Tensor) -> Tensor:
    """Maps (J, H, W) with their lowest tenths (J,) at zero, pixels in the order of places (J, H * W)."""
    kept = places >= (tenths * places.shape[1] // STEPS)[:, None]
    return maps * kept.reshape(maps.shape)


def masked_softmax(view: View, classes: Tensor, of: Tensor, masks: Callable[[slice], Tensor]) -> Tensor:
    """The softmax (j,) of a pair's class when the pair's image, as the model is fed it, is multiplied by a mask.

    classes: (B, M); `of` (j,) counts their pairs row by row. Zero is the mean colour, not black.
    """

    def work(rows: slice) -> Tensor:
        pairs = of[rows]
        images = view.images[pairs // classes.shape[1]] * masks(rows)[:, None]
        return view.outputs.confidences(view.forward(images)).gather(1, classes.flatten()[pairs, None])[:, 0]

    return view.chunks(len(of), work)
