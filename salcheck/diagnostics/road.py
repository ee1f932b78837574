"""ROAD: how much of the class's score goes with pixels that are removed and linearly imputed, the most relevant first.

Rong et al., ICML 2022; as DiffCAM, CVPR 2025, section 4.1, asks it. With p the score of the class on the image and p_k
that without k % of its pixels, each of them the weighted mean of its neighbours (`salcheck.perturb.imputation`) plus
noise:

    morf = p - p_k without the most relevant pixels     (higher is better)
    lerf = p - p_k without the least relevant pixels    (lower is better)
    gap  = morf - lerf                                  (what it costs to remove any pixels cancels out)

Departures from the papers and grad-cam's port: exactly K pixels are removed, whatever is equal in a map (the port cuts
at a percentile, and removes everything where more than the rest is 0); the fall is positive; one field of noise for an
image, so that the same mask is the same image for every method. Noise is of the model's input, as in the port; the
original's is of pixels in 0...1 (`space=pixels`). Imputing is linear and the same in both.
"""

from typing import Literal

import torch
from torch import Tensor

from salcheck.diagnostics import Scores, scored
from salcheck.diagnostics._removal import without
from salcheck.errors import SalcheckError
from salcheck.maps.ranking import Ranking, check_percent, order, set_size
from salcheck.network.view import View
from salcheck.perturb.answers import Memory, Paint, clean
from salcheck.perturb.canvas import remover

Space = Literal["normalised", "pixels"]
MOST = 99.0  # percent: something must be left to impute from


def check(*, percent: tuple[float, ...], noise: float, **rest: object) -> None:
    check_percent(*percent)
    if max(percent) > MOST:
        raise SalcheckError(f"percent={max(percent):g}: pixels must be left to impute from: up to {MOST:g}")
    if noise < 0:
        raise SalcheckError(f"noise={noise:g}: a standard deviation is 0 or above")


def score(
    view: View,
    classes: Tensor,
    maps: Tensor,
    *,
    percent: tuple[float, ...] = (25.0, 50.0, 75.0),
    noise: float = 0.01,
    space: Space = "normalised",
    output: Literal["softmax", "logit"] = "softmax",
    ties: Literal["random", "position"] = "random",
    ranking: Ranking = "upsampled",
    memory: Memory,
) -> Scores:
    """`before` (B,), `morf`, `lerf`, `gap` and `tied` (B, L) at each percentage; maps (B, 1, h, w).

    Scores are softmax in 0...1 or logits. tied: percent of the most relevant set that was chosen among equal values.
    """
    found = order(maps[:, 0], view.size, ties, ranking)
    sizes = [set_size(one, view.size[0] * view.size[1]) for one in percent]
    before = clean(view, classes).output(output)
    paint, how = _painter(view, noise, space), f"impute noise={noise} {space}"
    morf, lerf = (
        before - without(view, memory, classes, found, sizes, paint, how, least=least).output(output)[..., 0]
        for least in (False, True)
    )
    tied = 100 * found.tied(sizes) / torch.tensor(sizes, device=morf.device)
    values = {"before": before[:, 0], "morf": morf, "lerf": lerf, "gap": morf - lerf, "tied": tied}
    return scored(values, found.notes, percent, answers=morf - lerf)


def _painter(view: View, noise: float, space: str) -> Paint:
    """paint(of, removed): images whose removed pixels are imputed, with the image's own noise on them alone."""
    C, H, W = view.images.shape[1:]
    drawn = torch.stack([torch.randn(C, H, W, generator=generator) for generator in view.generators()])
    deviation = noise * (view.grey(1.0) - view.grey(0.0)) if space == "pixels" else noise
    fields, impute = deviation * drawn.to(view.images), remover(view, "inpaint")
    return lambda of, removed: impute(of, removed) + removed[:, None] * fields[of]
