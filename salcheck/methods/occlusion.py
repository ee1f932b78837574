"""Occlusion: how far the class score falls when a grey window covers a place.

Zeiler and Fergus, ECCV 2014, section 4.2. A window slides over the image in rows and columns:

    map[y, x] = mean of s_u(image) - s_u(image under the window) over the windows that cover pixel (y, x)

s_u is the logit of class u; grey is 0 after the normalisation, the mean colour. A window is one `cells`-th of the
image wide and high, rounded up, and moves by one `steps`-th of itself; the first and the last touch the image's
edges, so every pixel is covered. With the defaults and 224 pixels: windows of 32 pixels, 16 apart, 169 in all.

Departures: the paper draws the score of the class, and one value per position of the window; here it is the fall of
the logit, high where evidence is, spread over the pixels that the window covers, as captum does.
"""

import math

import torch
from torch import Tensor

from salcheck.errors import SalcheckError
from salcheck.methods._cost import Cost, parameter
from salcheck.network.view import View

SOURCE = "Zeiler and Fergus, ECCV 2014"
COST = Cost(forwards=((parameter("cells") - 1) * parameter("steps") + 1) ** 2)


def saliency(view: View, classes: Tensor, *, cells: int = 7, steps: int = 2) -> Tensor:
    """Occlusion maps (B, M, H, W), signed, for classes (B, M). All classes share the forwards.

    Raises SalcheckError where the image is too small for so many windows.
    """
    side = min(view.size)
    if cells < 1 or steps < 1 or cells * steps > side:
        given = f"occlusion:cells={cells},steps={steps}"
        raise SalcheckError(f"{given} does not fit: both are 1 or more, and cells * steps at most the {side} pixels")
    rows, columns = (windows(length, cells, steps).to(view.images) for length in view.size)
    fall = view.logits.gather(1, classes)[:, None, None] - _occluded(view, classes, rows, columns)
    covering = rows.sum(dim=0)[:, None] * columns.sum(dim=0)
    return torch.einsum("bijm,ih,jw->bmhw", fall, rows, columns) / covering


def windows(length: int, cells: int, steps: int) -> Tensor:
    """Where along a side of `length` pixels each window lies: (windows, length), 1 within and 0 outside."""
    width = math.ceil(length / cells)
    first = torch.linspace(0, length - width, (cells - 1) * steps + 1).round()[:, None]
    pixel = torch.arange(length)
    return ((first <= pixel) & (pixel < first + width)).float()


def _occluded(view: View, classes: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Logits (B, rows, columns, M) of classes (B, M) under the window at each place."""
    shape = (len(view), len(rows), len(columns))
    jobs = torch.ones(shape, device=classes.device).nonzero()

    def occluded(part: slice) -> Tensor:
        images, i, j = jobs[part].T
        shown = 1 - rows[i][:, None, :, None] * columns[j][:, None, None, :]
        seen = view.images[images] * shown
        return view.forward(seen.to(memory_format=torch.channels_last)).gather(1, classes[images])

    return view.chunks(len(jobs), occluded).unflatten(0, shape)
