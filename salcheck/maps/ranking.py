"""Ranking and regions: the only place that resizes maps or breaks ties."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from salcheck.errors import SalcheckError
from salcheck.maps.notes import Kind, Note

Ties = Literal["none", "random", "position"]
Ranking = Literal["upsampled", "native"]


def upsample(maps: Tensor, size: tuple[int, int], align_corners: bool = False) -> Tensor:
    """Maps (..., h, w) at pixel resolution (..., H, W): bilinear, half-pixel centres unless corners are aligned."""
    if maps.shape[-2:] == size:
        return maps
    flat = maps.reshape(-1, 1, *maps.shape[-2:])
    pixels = F.interpolate(flat, size=size, mode="bilinear", align_corners=align_corners)
    return pixels.reshape(*maps.shape[:-2], *size)


def check_percent(*percents: float) -> None:
    """Raises SalcheckError for a set's size that is not in 0...100 % of the picture, or is there twice."""
    wrong = [percent for percent in percents if not 0 < percent <= 100]
    if wrong or not percents:
        given = f"{wrong[0]:g}" if wrong else "nothing"
        raise SalcheckError(f"percent={given}: it is a part of the picture, above 0 and up to 100")
    if len(set(percents)) < len(percents):
        raise SalcheckError("percent names the same part of the picture twice: leave one out")


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


@dataclass(frozen=True)
class Order:
    """All pixels of J maps from the most to the least salient.

    place: (J, H, W) int32, 0 for the most salient pixel. values: (J, H * W), falling. notes: why a map ranks nothing
    (it is not finite, constant or without a positive value), or None.
    """

    place: Tensor
    values: Tensor
    notes: list[Note | None]

    def tied(self, sizes: Sequence[int]) -> Tensor:
        """How many members of the top sets of each size were chosen among equal values: int (J, L)."""
        pixels = self.values.shape[1]
        ends = torch.tensor(sizes, device=self.values.device)
        beyond = self.values[:, ends.clamp(max=pixels - 1)]
        above = torch.searchsorted(-self.values, -beyond)  # the first of those equal to the best that is left out
        return torch.where(ends < pixels, (ends - above).clamp(min=0), torch.zeros_like(above))

    def positive(self) -> Tensor:
        """How many pixels of each map are positive: int (J,)."""
        return (self.values > 0).count_nonzero(-1)


def order(maps: Tensor, size: tuple[int, int], ties: Ties = "random", ranking: Ranking = "upsampled") -> Order:
    """Ranks the pixels (H, W) of maps (J, h, w). Each pixel has a place of its own, whatever is equal.

    ties: equal values by one fixed random order of the pixels, the same for all maps of a size; or by position, row by
    row from the top left (`none` ranks as `random`; it is for the caller to leave sets out where values do not
    decide). ranking: pixels by the upsampled map, or all pixels of a cell by that cell alone.
    """
    pixels = (
        upsample(maps, size)
        if ranking == "upsampled"
        else F.interpolate(maps[:, None], size, mode="nearest-exact")[:, 0]
    )
    flat = pixels.flatten(1)
    generator = torch.Generator().manual_seed(0)
    first = torch.arange(flat.shape[1]) if ties == "position" else torch.randperm(flat.shape[1], generator=generator)
    first = first.to(flat.device)
    values, within = flat[:, first].sort(dim=-1, descending=True, stable=True)
    places = torch.arange(flat.shape[1], dtype=torch.int32, device=flat.device).expand_as(within)
    place = torch.empty_like(within, dtype=torch.int32).scatter_(1, first[within], places)
    return Order(place.unflatten(1, size), values, blank(pixels, 0, maps))


def blank(pixels: Tensor, percent: float, grids: Tensor | None = None) -> list[Note | None]:
    """Why each of (J, H, W) maps has no top `percent` % worth the name, or None where it has one.

    grids: the maps (J, h, w) that were upsampled to pixels, which rounds: a constant one need not stay constant.
    """
    flat = pixels.flatten(-2)
    positive = (flat > 0).count_nonzero(-1)
    low, high = flat.amin(-1), flat.amax(-1)  # NaN and infinity come through
    finite = low.isfinite() & high.isfinite()
    constant = low == high
    if grids is not None:
        constant |= grids.flatten(-2).amin(-1) == grids.flatten(-2).amax(-1)
    wanted = set_size(percent, flat.shape[-1])
    facts = zip(finite.tolist(), constant.tolist(), positive.tolist(), strict=True)
    return [_why_blank(*fact, wanted) for fact in facts]


def _why_blank(finite: bool, constant: bool, positive: int, wanted: int) -> Note | None:
    if not finite:
        return Note(Kind.BLANK, "not finite")
    if positive == 0:
        return Note(Kind.BLANK, "no positive value")
    if constant:
        return Note(Kind.BLANK, "constant")
    if positive < wanted:
        return Note(Kind.BLANK, "fewer positive pixels than the set")
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


def unit(maps: Tensor) -> Tensor:
    """Each of (..., H, W) maps shifted and scaled to 0...1, its own lowest and highest value; a constant one is 0."""
    low, high = maps.amin(dim=(-2, -1), keepdim=True), maps.amax(dim=(-2, -1), keepdim=True)
    return torch.where(high > low, (maps - low) / (high - low), torch.zeros_like(maps))


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
