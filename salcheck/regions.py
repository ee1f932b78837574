"""Ranking and regions: the only place that resizes maps or breaks ties."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


def upsample(maps: Tensor, size: tuple[int, int], align_corners: bool = False) -> Tensor:
    """Maps (..., h, w) at pixel resolution (..., H, W): bilinear, half-pixel centres unless corners are aligned."""
    if maps.shape[-2:] == size:
        return maps
    flat = maps.reshape(-1, 1, *maps.shape[-2:])
    pixels = F.interpolate(flat, size=size, mode="bilinear", align_corners=align_corners)
    return pixels.reshape(*maps.shape[:-2], *size)


def ranked(scores: Tensor) -> Tensor:
    """Indices along the last axis by falling score; equal scores by the lower index."""
    return scores.argsort(dim=-1, descending=True, stable=True)


def set_size(percent: float, pixels: int) -> int:
    """K = round(percent / 100 * pixels), at least one pixel."""
    return max(1, round(percent / 100 * pixels))


def top_set(maps: Tensor, percent: float) -> tuple[Tensor, Tensor]:
    """The `percent` % of pixels with the highest values, exactly K of them in every map.

    maps: (..., H, W). Returns (mask, tied): bool (..., H, W), and int (...), how many members of the set
    were chosen among equal values by position (row by row from the top left) and not by value.
    Maps that are not finite are `blank` and have no set worth using.
    """
    flat = maps.reshape(-1, maps.shape[-2] * maps.shape[-1])
    size = set_size(percent, flat.shape[-1])
    cut = flat.topk(size, sorted=False).values.amin(-1, keepdim=True)
    mask = flat > cut
    wanted = size - mask.count_nonzero(-1)
    equal = flat == cut
    straddles = equal.count_nonzero(-1) > wanted
    # Most cuts fall between two values; the running count is only paid where one falls within equals.
    within = equal[straddles]
    equal[straddles] = within & (within.cumsum(-1) <= wanted[straddles, None])
    tied = torch.where(straddles, wanted, torch.zeros_like(wanted))
    return (mask | equal).reshape(maps.shape), tied.reshape(maps.shape[:-2])


def blank(maps: Tensor, percent: float) -> list[str | None]:
    """Why each of (J, H, W) maps has no top `percent` % worth the name, or None where it has one."""
    flat = maps.flatten(-2)
    positive = (flat > 0).count_nonzero(-1)
    low, high = flat.amin(-1), flat.amax(-1)  # NaN and infinity come through
    finite = low.isfinite() & high.isfinite()
    constant = low == high
    wanted = set_size(percent, flat.shape[-1])
    facts = zip(finite.tolist(), constant.tolist(), positive.tolist(), strict=True)
    return [_why_blank(*fact, wanted) for fact in facts]


def _why_blank(finite: bool, constant: bool, positive: int, wanted: int) -> str | None:
    if not finite:
        return "blank: not finite"
    if positive == 0:
        return "blank: no positive value"
    if constant:
        return "blank: constant"
    if positive < wanted:
        return "blank: fewer positive pixels than the set"
    return None


def signature(maps: Tensor) -> Tensor:
    """One number per map that two maps share when they rank every pixel alike by being proportional.

    maps: (..., h, w). The positive part, scaled to length one, projected on a fixed random direction; NaN
    for maps with no positive value. It makes identities such as Grad-CAM = HiResCAM at a pooled linear
    head visible in the database without keeping the maps there.
    """
    positive = maps.clamp(min=0).flatten(-2)
    generator = torch.Generator().manual_seed(0)
    direction = torch.randn(positive.shape[-1], generator=generator).to(positive)
    return (positive @ direction) / positive.norm(dim=-1)


def mass(maps: Tensor) -> Tensor:
    """The positive part of (..., h, w) maps as shares that sum to one; NaN where there is none."""
    positive = maps.clamp(min=0)
    return positive / positive.sum(dim=(-2, -1), keepdim=True)


@dataclass(frozen=True)
class Place:
    """Where a map's positive mass lies. `center` (x, y) and `half_in` (the smallest share of the picture that
    holds half of the mass) in 0...1 of width, height and area; `cells`, its share in each ninth, row by row.
    """

    center: tuple[float, float]
    half_in: float
    cells: tuple[float, ...]

    def __str__(self) -> str:
        largest = sorted(range(9), key=lambda cell: -self.cells[cell])[:2]
        return ", ".join(f"{self.cells[cell]:.0%} {NINTHS[cell]}" for cell in largest if self.cells[cell] >= 0.05)


NINTHS = tuple(
    f"{row} {column}".replace("middle center", "center").replace("middle ", "")
    for row in ("top", "middle", "bottom")
    for column in ("left", "center", "right")
)


def place(pixels: Tensor) -> Place | None:
    """Where the positive mass of one map (H, W) lies, or None for a map that has none."""
    shares = mass(pixels)
    if not bool(shares.isfinite().all()):
        return None
    H, W = shares.shape
    y, x = ((torch.arange(n, device=shares.device) + 0.5) / n for n in (H, W))
    center = (float(shares.sum(0) @ x), float(shares.sum(1) @ y))
    ranked = shares.flatten().sort(descending=True).values.cumsum(0)
    half_in = (int((ranked < 0.5).sum()) + 1) / ranked.numel()
    rows = (torch.arange(H, device=shares.device) * 3 // H)[:, None]
    ninth = (rows * 3 + torch.arange(W, device=shares.device) * 3 // W).flatten()
    cells = torch.zeros(9, device=shares.device).index_add_(0, ninth, shares.flatten())
    return Place(center, half_in, tuple(cells.tolist()))
