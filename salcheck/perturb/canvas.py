"""What takes the place of pixels that are removed, in the units that the model is fed.

mean      the dataset's mean colour, 0 after normalisation
zero      black, 0 before normalisation
grey      half way between black and white before normalisation
blur      the image itself, so blurred that no object is left to see
inpaint   every removed pixel is the weighted mean of its neighbours (`salcheck.perturb.imputation`), or the
          mean colour where none is left
"""

import math
from typing import Literal

import torch
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from salcheck.errors import SalcheckError
from salcheck.network.view import View
from salcheck.perturb.answers import Paint
from salcheck.perturb.imputation import impute

Fill = Literal["mean", "zero", "grey", "blur", "inpaint"]
BLUR = 0.05  # standard deviation in shorter sides


def canvas(view: View, fill: str) -> Tensor:
    """The images (B, 3, H, W) with all of their pixels removed; `inpaint` has nothing to go by, and is not one."""
    if fill == "mean":
        return torch.zeros_like(view.images)
    if fill == "blur":
        sigma = BLUR * min(view.size)
        width = 2 * math.ceil(3 * sigma) + 1
        rows = gaussian_blur(view.images, [width, 1], [sigma, sigma])  # in two passes: a tenth of the time
        return gaussian_blur(rows, [1, width], [sigma, sigma])
    return view.grey({"zero": 0.0, "grey": 0.5}[fill]).expand_as(view.images)


def remover(view: View, fill: str) -> Paint:
    """paint(of, removed): the images `of` (j,) of the batch without the pixels under `removed` (j, H, W)."""
    if fill == "inpaint":
        return lambda of, removed: impute(view.images[of], removed)
    behind = canvas(view, fill)
    return lambda of, removed: torch.where(removed[:, None], behind[of], view.images[of])


def veiler(view: View, fill: str) -> Paint:
    """paint(of, masks): the images `of` (j,) of the batch seen through soft masks (j, H, W) in 0...1; 1 shows all.

    Raises SalcheckError for `inpaint`, which needs pixels to be there or not.
    """
    if fill == "inpaint":
        raise SalcheckError("fill=inpaint needs pixels that are there or not, and this mask is soft: take another fill")
    behind = canvas(view, fill)
    return lambda of, masks: behind[of] + masks[:, None] * (view.images[of] - behind[of])
