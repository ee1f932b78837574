"""Insertion: the area under the score's curve while the most salient pixels are put on a canvas. Higher is better.

Petsiuk et al., RISE, BMVC 2018, section 4.2. With s_k the score of the class on the canvas with the k % most salient
pixels of the image:

    insertion = integral of s_k over the share of pixels k / 100, 0...1, by the trapezoid rule

The canvas is the blurred image, as in the released code: on a plain one the first pixels make edges that mean
something to the model. Departures from that code: the blur is a Gaussian of 5 % of the shorter side, not one of 5
pixels cut off at 5 (of 224); 20 steps, not one for each row of the picture; every step holds the same number of pixels
to a pixel; equal values are ordered at random, not as the sort leaves them; a map that ranks nothing gets no score.
fill=inpaint has nothing to impute from before the first pixel is there: the first point is then the mean colour.
"""

from typing import Literal

from torch import Tensor

from salcheck.diagnostics import Scores
from salcheck.diagnostics._curves import check_steps, curve, named
from salcheck.maps.ranking import Ranking, order
from salcheck.network.view import View
from salcheck.perturb.answers import Memory
from salcheck.perturb.canvas import Fill


def check(*, steps: int, **rest: object) -> None:
    check_steps(steps)


def score(
    view: View,
    classes: Tensor,
    maps: Tensor,
    *,
    steps: int = 20,
    fill: Fill = "blur",
    output: Literal["softmax", "logit"] = "softmax",
    ties: Literal["random", "position"] = "random",
    ranking: Ranking = "upsampled",
    memory: Memory,
) -> Scores:
    """`insertion` (B,), the area, and `inserted` (B, steps + 1), the scores at 0...100 % inserted; maps (B, 1, h, w).

    Softmax in 0...1, and so is its area; or logits.
    """
    found = order(maps[:, 0], view.size, ties, ranking)
    line = curve(view, memory, classes, found, steps=steps, fill=fill, output=output, insert=True)
    return named("insertion", "inserted", line, found)
