"""Infidelity: how far the change of the score that a map foretells is from the change that comes.

Yeh et al., NeurIPS 2019, section 2. With I a random change of the image x and f the score of the class:

    infidelity  = mean over I of (beta * I . map - (f(x) - f(x - I)))^2
    unexplained = infidelity / mean over I of (f(x) - f(x - I))^2

perturbation=squares   the paper's square removal: a random square is filled. As in the released code I . map is then
                       the sum of the map over the square, I being 1 for a pixel that is removed and 0 for others: a
                       map has one number for a pixel and not three, and no unit in which to multiply colours.
perturbation=noise     I ~ N(0, sigma^2) for every pixel and colour; the map is divided equally over the colours.

The released code gives each map its best scale, beta = mean(I . map * change) / mean((I . map)^2), since maps have no
common unit; captum's `normalize` does the same. That beta may be negative, and a map that says the opposite of what
happens earns as much as the one that is right. Departure: beta is 0 there, which is the best scale that is not
negative, and such a map foretells nothing. `scale=signed` is theirs; `scale=none` leaves the map as it is.

Departures in what is sampled: the released code takes all squares of 1 to 10 pixels in images of 28 x 28; here they
are `samples` random ones, of 1 pixel to the same share (`largest`) of the shorter side, and they all lie within the
picture. They are the same for all methods, and not those that any method draws from the same seed.

Infidelity is a squared change of the score, and a few images on which the score moves far decide its mean. So the
claim is on `unexplained`, our addition: the share of the squared change that the map does not foretell, 1 for one that
foretells nothing.
"""

from typing import Literal

import torch
from torch import Tensor

from salcheck.diagnostics import Scores, scored
from salcheck.diagnostics._sampled import generators, seeds, watch
from salcheck.errors import SalcheckError
from salcheck.maps.ranking import blank, upsample
from salcheck.network.view import View
from salcheck.perturb.answers import Masks, Memory, Paint, clean
from salcheck.perturb.canvas import Fill, remover


def check(*, samples: int, largest: float, sigma: float, **rest: object) -> None:
    if samples < 2:
        raise SalcheckError(f"infidelity:samples={samples}: a scale fits one change exactly, so take 2 or more")
    if not 0 < largest <= 1:
        raise SalcheckError(f"infidelity:largest={largest:g}: it is a share of the shorter side, above 0 and up to 1")
    if sigma <= 0:
        raise SalcheckError(f"infidelity:sigma={sigma:g}: it is a standard deviation, above 0")


def score(
    view: View,
    classes: Tensor,
    maps: Tensor,
    *,
    perturbation: Literal["squares", "noise"] = "squares",
    samples: int = 50,
    output: Literal["logit", "softmax"] = "logit",
    scale: Literal["positive", "signed", "none"] = "positive",
    fill: Fill = "mean",
    largest: float = 0.36,
    sigma: float = 0.2,
    memory: Memory,
) -> Scores:
    """`infidelity` (B,), the squared error in squared units of the score, and `unexplained` (B,), 0...1 unless
    scale=none; maps (B, 1, h, w), upsampled to pixels.

    fill, largest: of squares. sigma: of noise, in the units that the model is fed. `samples` forwards for each image,
    whatever the number of methods. NaN, with a note, where a map is blank.
    """
    pixels = upsample(maps[:, 0], view.size)
    if perturbation == "noise":
        masks, paint, how = _noise(view, samples, sigma), _subtractor(view), "subtract"
    else:
        masks, paint, how = _squares(view, samples, largest), remover(view, fill), f"remove {fill}"
    sums, after = watch(view, memory, classes, pixels, samples, masks, paint, how, output)
    change = clean(view, classes).output(output).cpu().double() - after
    error = (_scale(sums, change, scale) * sums - change).square().mean(dim=1)
    unexplained = error / change.square().mean(dim=1)
    return scored({"unexplained": unexplained, "infidelity": error}, blank(pixels, 0, maps[:, 0]), answers=after)


def _scale(sums: Tensor, change: Tensor, scale: str) -> Tensor:
    """beta (B, 1); 0 for a map that foretells 0 of every change."""
    if scale == "none":
        return torch.ones_like(sums[:, :1])
    power = sums.square().mean(dim=1, keepdim=True)
    beta = (sums * change).mean(dim=1, keepdim=True) / power.where(power > 0, 1)
    return beta if scale == "signed" else beta.clamp(min=0)


def _squares(view: View, samples: int, largest: float) -> Masks:
    """Which pixels (j, H, W) a job removes: a square of a random side, anywhere within the picture."""
    H, W = view.size
    drawn = torch.cat([torch.rand(3, samples, generator=source) for source in generators(view)], dim=1)
    sides = 1 + (drawn[0] * max(1, round(largest * min(H, W)))).long()
    top, left = (drawn[1] * (H - sides + 1)).long(), (drawn[2] * (W - sides + 1)).long()

    def masks(jobs: Tensor) -> Tensor:
        square = torch.stack([top, left, sides]).to(jobs.device)[:, jobs, None]
        rows = torch.arange(H, device=jobs.device) - square[0]
        columns = torch.arange(W, device=jobs.device) - square[1]
        inside = [(place >= 0) & (place < square[2]) for place in (rows, columns)]
        return inside[0][:, :, None] & inside[1][:, None, :]

    return masks


def _noise(view: View, samples: int, sigma: float) -> Masks:
    """The noise (j, 3, H, W) of a job."""
    own = seeds(view, samples)

    def draw(job: int) -> Tensor:
        return torch.randn(view.images.shape[1:], generator=torch.Generator().manual_seed(own[job]))

    return lambda jobs: sigma * torch.stack([draw(job) for job in jobs.tolist()]).to(view.images)


def _subtractor(view: View) -> Paint:
    """paint(of, noise): the images `of` (j,) less the noise."""
    return lambda of, noise: view.images[of] - noise
