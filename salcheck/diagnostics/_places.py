"""What diagnostics share that know where things are: how much of a map lies there, and whether its maximum does.

Signed maps rank by all of their values. Mass is of the positive part, taken at the map's own resolution as in
`overlap`: a signed map has the mass of its ReLU'd twin.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from salcheck.maps.notes import Note
from salcheck.maps.ranking import blank, upsample


def blanks(maps: Tensor, size: tuple[int, int]) -> list[Note | None]:
    """Why the first blank one of each image's maps (B, M, h, w) ranks nothing, or None where none is blank."""
    flat = maps.flatten(0, 1)
    notes, M = blank(upsample(flat, size), 0, flat), maps.shape[1]
    return [next(filter(None, notes[start : start + M]), None) for start in range(0, len(notes), M)]


def positive(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """The positive part of maps (..., h, w) at pixel resolution (..., H, W)."""
    return upsample(maps.clamp(min=0), size)


def lying_on(pixels: Tensor, masks: Tensor) -> Tensor:
    """The share of each positive map (B, M, H, W) in each place, bool (B, N, H, W): (B, M, N); NaN for a map of 0."""
    on = torch.einsum("bmp,bnp->bmn", pixels.flatten(2), masks.flatten(2).to(pixels))
    return on / pixels.sum((-2, -1))[..., None]


def own_and_other(on: Tensor) -> tuple[Tensor, Tensor]:
    """Of shares (B, M, M) of maps in places: those in each map's own place, and the most in any other, (B, M)."""
    own = torch.eye(on.shape[-1], dtype=torch.bool, device=on.device)
    return on.diagonal(dim1=1, dim2=2), on.masked_fill(own, -torch.inf).amax(-1)


def pointing(pixels: Tensor, masks: Tensor) -> Tensor:
    """The share of the maximum's pixels that are in the mask, of maps and masks (..., H, W): 0 or 1 but for ties."""
    top = pixels == pixels.amax((-2, -1), keepdim=True)
    return (top & masks).sum((-2, -1)) / top.sum((-2, -1))


def widened(masks: Tensor, pixels: int) -> Tensor:
    """Masks (J, H, W) with all pixels that are no farther from them than this."""
    if not pixels:
        return masks
    away = torch.arange(-pixels, pixels + 1, device=masks.device)
    disc = (away[:, None] ** 2 + away**2 <= pixels**2).float()
    return F.conv2d(masks[:, None].float(), disc[None, None], padding=pixels)[:, 0] > 0.5
