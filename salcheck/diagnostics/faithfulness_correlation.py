"""Faithfulness correlation: does the score fall as much as the map says when random pixels are removed?

Bhatt, Weller and Moura, IJCAI 2020. Over random subsets S of the pixels, all of one size:

    correlation = Pearson correlation of (sum of the map over S) and (f(x) - f(x without S))

f is the score of the class; what is removed is filled with the dataset's mean colour, as in the paper.

Departure: S is made of cells of a grid of cells x cells over the picture, `share` of them at a time. Pixels one by one
are far finer than a map that is made of 7 x 7 numbers: every random S then holds about as much of the map as any
other, and what removing it shows is how the model bears speckle. Measured on 16 scenes with Grad-CAM and a share of
0.2, the median correlation is 0.6 for 7 x 7 cells, 0.3 for 14 x 14 and that of noise for finer ones. `cells` equal to
the side of a square picture is the paper's. Subsets are the same for all methods, and not those that any method draws
from the same seed.

Correlation knows neither the map's unit nor its offset. It is undefined where all subsets hold equal parts of the map
or the score is the same without any of them.
"""

from typing import Literal

import torch
from torch import Tensor

from salcheck.diagnostics import Scores, scored
from salcheck.diagnostics._sampled import generators, watch
from salcheck.errors import SalcheckError
from salcheck.maps.ranking import blank, upsample
from salcheck.network.view import View
from salcheck.perturb.answers import Masks, Memory
from salcheck.perturb.canvas import Fill, remover

ROUNDING = 1e-6  # of the largest value: what spreads less than this in single precision is constant


def check(*, samples: int, cells: int, share: float, **rest: object) -> None:
    if samples < 3:
        raise SalcheckError(f"faithfulness-correlation:samples={samples}: any two correlate, so take 3 or more")
    if cells < 2:
        raise SalcheckError(f"faithfulness-correlation:cells={cells}: it is how many go along a side, 2 or more")
    if not 0 < round(share * cells**2) < cells**2:
        given = f"faithfulness-correlation:cells={cells},share={share:g}"
        raise SalcheckError(f"{given} removes none or all of {cells**2} cells: a share is above 0 and below 1")


def score(
    view: View,
    classes: Tensor,
    maps: Tensor,
    *,
    samples: int = 100,
    cells: int = 7,
    share: float = 0.2,
    fill: Fill = "mean",
    output: Literal["logit", "softmax"] = "logit",
    memory: Memory,
) -> Scores:
    """`correlation` (B,) in -1...1; maps (B, 1, h, w), upsampled to pixels.

    `samples` forwards for each image, whatever the number of methods. NaN where it is undefined, and, with a note,
    where a map is blank. Raises SalcheckError for more cells than pixels.
    """
    if cells > min(view.size):
        most = f"pictures are {view.size[0]} x {view.size[1]}, so take {min(view.size)} or fewer"
        raise SalcheckError(f"faithfulness-correlation:cells={cells} does not fit: {most}")
    pixels = upsample(maps[:, 0], view.size)
    masks = _subsets(view, samples, cells, share)
    sums, after = watch(view, memory, classes, pixels, samples, masks, remover(view, fill), f"remove {fill}", output)
    # f(x) is the same for all subsets and drops out: the score falls as what is left of it does not rise.
    correlation = _pearson(sums, -after).masked_fill(_constant(sums) | _constant(after), torch.nan)
    return scored({"correlation": correlation}, blank(pixels, 0, maps[:, 0]), answers=after)


def _subsets(view: View, samples: int, cells: int, share: float) -> Masks:
    """Which pixels (j, H, W) a job removes: round(share * cells^2) random cells."""
    count = round(share * cells**2)
    drawn = [torch.rand(samples, cells**2, generator=source).argsort(dim=1)[:, :count] for source in generators(view)]
    chosen = torch.zeros(len(view) * samples, cells**2, dtype=torch.bool).scatter_(1, torch.cat(drawn), True)
    chosen = chosen.unflatten(1, (cells, cells))
    rows, columns = (torch.arange(side) * cells // side for side in view.size)

    def masks(jobs: Tensor) -> Tensor:
        return chosen[jobs.cpu()].to(jobs.device)[:, rows.to(jobs.device)][:, :, columns.to(jobs.device)]

    return masks


def _pearson(first: Tensor, second: Tensor) -> Tensor:
    """The correlation (B,) of the rows of two (B, samples)."""
    first, second = (part - part.mean(dim=1, keepdim=True) for part in (first, second))
    return (first * second).sum(dim=1) / (first.norm(dim=1) * second.norm(dim=1))


def _constant(values: Tensor) -> Tensor:
    """Whether the values of each row (B, samples) differ by rounding alone."""
    return values.std(dim=1) <= ROUNDING * values.abs().amax(dim=1)
