"""RISE: random masks, averaged with the probability of the class seen through each as their weight.

Petsiuk, Das and Saenko, BMVC 2018, section 3 (the Monte Carlo estimate):

    map = sum over i of p_u(x * m_i) * m_i / (masks * keep)

p_u is the softmax probability of class u, x the image as the model takes it, so that what is masked becomes the mean
colour. A mask m_i is a grid of cells x cells, each kept with probability `keep`, stretched to cells + 1 cells of the
image, cut to its size and shifted by less than a cell at random. The paper takes 4000 masks for VGG-16 and 8000 for
ResNet-50; the error falls with the square root of their number.

Departures: a cell's size is rounded up (as in the code; the paper's is rounded down and need not cover the image),
and any number of masks will do. An image's masks come from its seed and serve all of its classes.
"""

import math
from typing import Any

import torch
from torch import Tensor

from salcheck.errors import SalcheckError
from salcheck.maps.ranking import upsample
from salcheck.methods._cost import Cost, parameter
from salcheck.network.view import View

SOURCE = "Petsiuk et al., BMVC 2018"
COST = Cost(forwards=parameter("masks"))


def saliency(view: View, classes: Tensor, *, masks: int = 4000, cells: int = 8, keep: float = 0.5) -> Tensor:
    """RISE maps (B, M, H, W), not negative, for classes (B, M). Raises SalcheckError for parameters out of range."""
    if masks < 1 or cells < 1 or not 0 < keep < 1:
        given = f"rise:masks={masks},cells={cells},keep={keep}"
        raise SalcheckError(f"{given} does not fit: masks and cells are 1 or more, keep is between 0 and 1")
    maps = []
    for index, generator in enumerate(view.generators()):
        grids, shifts = draw(view.size, masks, cells, keep, generator)
        maps.append(_weighted(view, index, classes[index], grids, shifts) / (masks * keep))
    return torch.stack(maps)


def needs(**_: Any) -> dict[str, dict[str, Any]]:
    """The seed that the masks come from."""
    return {"seed": {}}


def confident(**_: Any) -> bool:
    """Whether it reads confidences."""
    return True


def draw(
    size: tuple[int, int], masks: int, cells: int, keep: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Grids (masks, cells, cells) of zeros and ones, and shifts (masks, 2) in pixels, each less than a cell."""
    grids = (torch.rand(masks, cells, cells, generator=generator) < keep).float()
    shifts = [torch.randint(math.ceil(side / cells), (masks,), generator=generator) for side in size]
    return grids, torch.stack(shifts, dim=1)


def grow(grids: Tensor, shifts: Tensor, size: tuple[int, int]) -> Tensor:
    """Masks (J, H, W) in 0...1 of grids (J, cells, cells) and shifts (J, 2)."""
    (H, W), cells = size, grids.shape[-1]
    large = upsample(grids, ((cells + 1) * math.ceil(H / cells), (cells + 1) * math.ceil(W / cells)))
    rows = shifts[:, :1] + torch.arange(H, device=shifts.device)
    columns = shifts[:, 1:] + torch.arange(W, device=shifts.device)
    which = torch.arange(len(large), device=shifts.device)[:, None, None]
    return large[which, rows[:, :, None], columns[:, None]]


def _weighted(view: View, index: int, classes: Tensor, grids: Tensor, shifts: Tensor) -> Tensor:
    """The sum (M, H, W) of one image's masks, weighted by the probabilities of classes (M,)."""
    image = view.images[index]
    grids, shifts = grids.to(image.device), shifts.to(image.device)

    def probabilities(rows: slice) -> Tensor:
        seen = image * grow(grids[rows], shifts[rows], view.size)[:, None]
        return view.outputs.confidences(view.forward(seen.to(memory_format=torch.channels_last)))[:, classes]

    weights = view.chunks(len(grids), probabilities)
    total = torch.zeros(len(classes), *view.size, device=image.device)
    # Masks are made a second time: that is cheap beside a forward, and all of them at once would fill the memory.
    for w, g, s in zip(*(part.split(view.batch_size) for part in (weights, grids, shifts)), strict=True):
        total += torch.einsum("jm,jhw->mhw", w, grow(g, s, view.size))
    return total
