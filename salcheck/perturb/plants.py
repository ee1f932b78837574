"""Small things planted into images at known pixels, so that it is known what sets such an image apart.

dot      a disc, white where the picture is dark and black where it is light
stroke   a straight stroke of that colour, five times as long as wide but for its round ends
patch    a square of random grey cells, 4 by 4
gap      a disc of the background's colour on what stands out from it, which breaks the stroke of a digit. Background is
         the median colour of the picture's border; a pixel stands out where one of its colours is further from that
         than half of the way from black to white

Place, direction and cells are drawn by the image's seed. All is in units of the picture, black 0 and white 1. A plant's
pixels are those of its shape that it changes by more than a tenth: the rest is as it was.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from salcheck.errors import SalcheckError
from salcheck.maps import notes
from salcheck.maps.notes import Note
from salcheck.network.view import View

Kind = Literal["dot", "patch", "gap", "stroke"]

OWN = 0x97A47  # turns an image's seed into another: plants must not lie where a method draws something
LARGEST = 0.1  # of the picture: a stroke still fits in
CELLS = 4
LONG = 5
STANDS_OUT = 0.5
CHANGED = 0.1
NOTHING = Note(notes.Kind.EXCLUDED, "nothing stands out from the background")


@dataclass(frozen=True)
class Planted:
    """Images (B, 3, H, W) as the model is fed them, the plants' pixels, bool (B, H, W), and why an image has none."""

    images: Tensor
    masks: Tensor
    notes: list[Note | None]


def check_size(size: float) -> None:
    """Raises SalcheckError for a plant of no size, or one that is no small thing."""
    if not 0 < size <= LARGEST:
        raise SalcheckError(f"size={size:g}: a plant is a part of the picture, above 0 and up to {LARGEST:g}")


def plant(view: View, kind: Kind, size: float) -> Planted:
    """One plant in each of the view's images, its shape `size` of the picture large."""
    black, white = view.grey(0), view.grey(1)
    pictures, draws = (view.images - black) / (white - black), _draws(view)
    shapes, colours = {"dot": _dot, "stroke": _stroke, "patch": _patch, "gap": _gap}[kind](pictures, draws, size)
    masks = shapes & ((colours - pictures).abs().amax(1) > CHANGED)
    notes = [None if there else NOTHING for there in masks.flatten(1).any(1).tolist()]
    images = torch.where(masks[:, None], black + colours * (white - black), view.images)
    return Planted(images, masks, notes)


def _draws(view: View) -> Tensor:
    """Numbers in [0, 1), (B, 3 + CELLS^2): two for the place, one for the direction, the others for the cells."""
    sources = [torch.Generator().manual_seed(seed ^ OWN) for seed in view.seeds]
    return torch.stack([torch.rand(3 + CELLS**2, generator=source) for source in sources]).to(view.images.device)


# Each kind gives its shape, bool (B, H, W), and its colours, (B, 3 or 1, H or 1, W or 1).


def _dot(pictures: Tensor, draws: Tensor, size: float) -> tuple[Tensor, Tensor]:
    return _drawn(pictures, draws, 0, (size / torch.pi) ** 0.5)


def _stroke(pictures: Tensor, draws: Tensor, size: float) -> tuple[Tensor, Tensor]:
    return _drawn(pictures, draws, LONG, (size / (4 * LONG + torch.pi)) ** 0.5)


def _drawn(pictures: Tensor, draws: Tensor, long: float, thick: float) -> tuple[Tensor, Tensor]:
    """A line anywhere in the picture, half as wide as `thick` of the picture's side, `long` times as long as wide."""
    H, W = pictures.shape[-2:]
    radius = _pixels(thick, H, W)
    reach = (long + 1) * radius
    room = torch.tensor([H, W], device=draws.device) - 2 * reach
    shapes = _lines(pictures, reach + draws[:, :2] * room, draws[:, 2], long * radius, radius)
    light = (pictures.mean(1) * shapes).sum((-2, -1)) / shapes.sum((-2, -1))
    return shapes, (light < 0.5).to(pictures).view(-1, 1, 1, 1)


def _gap(pictures: Tensor, draws: Tensor, size: float) -> tuple[Tensor, Tensor]:
    edges = (pictures[..., 0, :], pictures[..., -1, :], pictures[..., :, 0], pictures[..., :, -1])
    background = torch.cat(edges, dim=-1).median(-1).values[..., None, None]
    apart = (pictures - background).abs().amax(1)
    out = (apart > STANDS_OUT).flatten(1)
    running = out.cumsum(1)
    chosen = (draws[:, :1] * running[:, -1:]).long()  # the pixel with so many of its kind before it
    place = torch.searchsorted(running, chosen, right=True)[:, 0].clamp(max=out.shape[1] - 1)
    H, W = pictures.shape[-2:]
    center = torch.stack([place // W, place % W], dim=1) + 0.5
    shapes = _lines(pictures, center, draws[:, 2], 0.0, _pixels((size / torch.pi) ** 0.5, H, W))
    return shapes & out.any(1)[:, None, None], background


def _patch(pictures: Tensor, draws: Tensor, size: float) -> tuple[Tensor, Tensor]:
    H, W = pictures.shape[-2:]
    side = max(CELLS, round((size * H * W) ** 0.5))
    y, x = (
        torch.arange(n, device=draws.device) - (draws[:, axis, None] * (n - side + 1)).long()
        for axis, n in enumerate((H, W))
    )
    shapes = ((y >= 0) & (y < side))[:, :, None] & ((x >= 0) & (x < side))[:, None, :]
    row, column = ((part * CELLS // side).clamp(0, CELLS - 1) for part in (y, x))
    cells = (row[:, :, None] * CELLS + column[:, None, :]).flatten(1)
    return shapes, draws[:, 3:].gather(1, cells).view(-1, 1, H, W)


def _pixels(share: float, H: int, W: int) -> float:
    """A share of the picture's side in pixels; a disc of no smaller radius has the middle of some pixel in it."""
    return max(0.75, share * (H * W) ** 0.5)


def _lines(pictures: Tensor, center: Tensor, turn: Tensor, length: float, radius: float) -> Tensor:
    """The pixels (B, H, W) no further than `radius` from a line that goes `length` both ways from its center (B, 2)."""
    H, W = pictures.shape[-2:]
    y = (torch.arange(H, device=center.device) + 0.5 - center[:, :1])[:, :, None]
    x = (torch.arange(W, device=center.device) + 0.5 - center[:, 1:])[:, None, :]
    sine, cosine = ((turn * torch.pi).sin()[:, None, None], (turn * torch.pi).cos()[:, None, None])
    along = (y * sine + x * cosine).clamp(-length, length)
    return (y - along * sine) ** 2 + (x - along * cosine) ** 2 <= radius**2
