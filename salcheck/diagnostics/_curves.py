"""What deletion and insertion share: the score along the order of a map, from the whole image to none of it."""

from typing import Literal

import torch
from torch import Tensor

from salcheck.diagnostics import Scores, scored
from salcheck.diagnostics._removal import without
from salcheck.errors import SalcheckError
from salcheck.maps.ranking import Order
from salcheck.network.view import View
from salcheck.perturb.answers import Memory
from salcheck.perturb.canvas import remover

Output = Literal["softmax", "logit"]


def check_steps(steps: int) -> None:
    """Raises SalcheckError for a curve without a step."""
    if steps < 1:
        raise SalcheckError(f"steps={steps}: a curve takes at least one step")


def curve(
    view: View, memory: Memory, classes: Tensor, order: Order, *, steps: int, fill: str, output: Output, insert: bool
) -> tuple[Tensor, Tensor]:
    """The area (B,) under the score's curve, and the curve (B, steps + 1), for maps of one class (B, 1) of each image.

    Pixels are removed from the image, the most salient first, or inserted into the canvas, equally many in each step,
    to a pixel. The area is by the trapezoid rule over the share of pixels, 0...1. The image as a whole is
    not run again, and the canvas once for all maps.
    """
    pixels = order.place[0].numel()
    moved = [round(step / steps * pixels) for step in range(steps + 1)]
    gone = [pixels - count for count in moved] if insert else moved
    answers = without(view, memory, classes, order, gone, remover(view, fill), f"remove {fill}", least=insert)
    scores = answers.output(output)[..., 0]
    shares = torch.tensor(moved, device=scores.device) / pixels
    return torch.trapezoid(scores, shares), scores


def named(area: str, line: str, found: tuple[Tensor, Tensor], order: Order) -> Scores:
    """The area and the curve under their names, at 0...100 %; none for an image whose map ranks nothing."""
    steps = found[1].shape[1] - 1
    levels = [100 * step / steps for step in range(steps + 1)]
    return scored({area: found[0], line: found[1]}, order.notes, levels, answers=found[1])
