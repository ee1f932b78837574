"""What is known of where things are, in pixels of what the model is fed."""

import copy
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from salcheck.datasets import Dataset, Item, Region
from salcheck.errors import SalcheckError

LEAST = 4  # pixels: of fewer the interpolation of a ramp says too little
OUTSIDE = 0  # what a transform fills borders with; ramps are above
NOT_PLAIN = "this model's transform does more than scale and crop: where objects land is not known"


@dataclass(frozen=True)
class Frame:
    """Where a transform takes an image: a point (x, y) of it lands on scale * (x, y) + shift of a picture (H, W)."""

    size: tuple[int, int]
    scale: NDArray[np.float64]
    shift: NDArray[np.float64]

    def points(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Where points (n, 2), x before y, land."""
        return points * self.scale + self.shift

    def mask(self, region: Region) -> NDArray[np.bool_]:
        """The pixels (H, W) whose middle is in the region."""
        x, y = ((np.arange(n) + 0.5 - self.shift[i]) / self.scale[i] for i, n in enumerate(self.size[::-1]))
        if region.box is not None:
            x0, y0, x1, y1 = region.box
            return ((y >= y0) & (y < y1))[:, None] & ((x >= x0) & (x < x1))[None, :]
        if region.mask is None:
            raise SalcheckError("a region has neither a box nor a mask")
        height, width = region.mask.shape
        column, row = np.floor(x).astype(int), np.floor(y).astype(int)
        inside = ((row >= 0) & (row < height))[:, None] & ((column >= 0) & (column < width))[None, :]
        return region.mask[row.clip(0, height - 1)][:, column.clip(0, width - 1)] & inside


@functools.lru_cache(maxsize=1024)
def frame_of(transform: Callable[[Image.Image], Any], size: tuple[int, int]) -> Frame:
    """Where timm's eval transform takes an image of (width, height) pixels.

    It is shown two ramps, of each pixel's own x and y, and asked where they went: whatever resizes and crops it is made
    of, no step is known by its name. Raises SalcheckError for one that does more than scale and crop,
    and for an image of a few pixels.
    """
    width, height = size
    if min(size) < LEAST:
        raise SalcheckError(
            f"an image of {width}x{height} pixels is too small to say where its objects land: leave it out"
        )
    ramps = [
        np.broadcast_to(np.arange(width, dtype=np.float32) + 0.5, (height, width)),
        np.broadcast_to(np.arange(height, dtype=np.float32)[:, None] + 0.5, (height, width)),
    ]
    seen = [_shown(transform, Image.fromarray(np.ascontiguousarray(ramp))) for ramp in ramps]
    H, W = seen[0].shape
    lines = [_line(seen[0][H // 2]), _line(seen[1][:, W // 2])]
    return Frame((H, W), np.array([scale for scale, _ in lines]), np.array([shift for _, shift in lines]))


def _shown(transform: Any, image: Image.Image) -> NDArray[np.float64]:
    """The image after all steps of a transform that leave it an image."""
    for step in getattr(transform, "transforms", [transform]):
        plain = copy.copy(step)
        if hasattr(plain, "fill"):  # a colour of three channels
            plain.fill = OUTSIDE
        done = plain(image)
        if not isinstance(done, Image.Image):
            break
        image = done
    return np.asarray(image, dtype=np.float64)


def _line(values: NDArray[np.float64]) -> tuple[float, float]:
    """Scale and shift of the line through a ramp's values (n,): by least squares over the middle of what is no border,
    for a value that was interpolated is off by up to a tenth of a pixel, and more at the edges.
    """
    inside = np.flatnonzero(values > OUTSIDE)
    inside = inside[len(inside) // 8 : len(inside) - len(inside) // 8]
    if len(inside) < 2:
        raise SalcheckError(NOT_PLAIN)
    step, start = np.polyfit(inside + 0.5, values[inside], 1)
    if step <= 0 or np.abs(start + step * (inside + 0.5) - values[inside]).max() > max(0.5, step):
        raise SalcheckError(NOT_PLAIN)
    return 1 / step, -start / step


@dataclass(frozen=True)
class Located:
    """Parts of B images: points (B, P, 2), x before y, in pixels of (H, W); visible: bool (B, P), there and within the
    picture. names (P,), differences (N, N, P): as in `datasets.Parts`.
    """

    names: Sequence[str]
    points: Tensor
    visible: Tensor
    differences: Tensor


@dataclass(frozen=True)
class Truth:
    """What a dataset knows of B of its images. sizes: (width, height) of each as it was read."""

    dataset: Dataset
    items: Sequence[Item]
    sizes: Sequence[tuple[int, int]]
    transform: Callable[[Image.Image], Any]
    device: torch.device

    @cached_property
    def frames(self) -> list[Frame]:
        """Raises SalcheckError where one is not known."""
        return [frame_of(self.transform, size) for size in self.sizes]

    @cached_property
    def regions(self) -> list[list[tuple[Region, Tensor]]]:
        """For each image its regions, each with its pixels, bool (H, W).

        Raises SalcheckError for a dataset that knows no places, or whose annotation is broken.
        """
        read = required(self.dataset, "regions")
        return [
            [(one, torch.from_numpy(frame.mask(one)).to(self.device)) for one in read(item)]
            for item, frame in zip(self.items, self.frames, strict=True)
        ]

    def faults(self, kind: str) -> list[str | None]:
        """What is wrong with the `regions` or `parts` of each image or with its size, None where nothing is."""
        read = required(self.dataset, kind)
        return [self._fault(read, item, size) for item, size in zip(self.items, self.sizes, strict=True)]

    def _fault(self, read: Callable[[Item], Any], item: Item, size: tuple[int, int]) -> str | None:
        try:
            read(item)
            frame_of(self.transform, size)
        except SalcheckError as error:
            return str(error)
        return None

    def masks(self, classes: Tensor) -> Tensor:
        """Bool (B, M, H, W): all pixels of any region of the class, for classes (B, M)."""
        H, W = self.frames[0].size if self.frames else (0, 0)
        masks = torch.zeros(*classes.shape, H, W, dtype=torch.bool, device=self.device)
        for b, row in enumerate(classes.tolist()):
            for m, u in enumerate(row):
                for region, pixels in self.regions[b]:
                    if region.label == u:
                        masks[b, m] |= pixels
        return masks

    @cached_property
    def parts(self) -> Located:
        """Raises SalcheckError for a dataset that knows no parts."""
        read, parts = required(self.dataset, "parts"), self.dataset.parts
        assert parts is not None
        found = np.stack([read(item) for item in self.items])
        points = np.stack([frame.points(one[:, :2]) for frame, one in zip(self.frames, found, strict=True)])
        H, W = self.frames[0].size
        inside = ((points >= 0) & (points < [W, H])).all(-1)
        return Located(
            parts.names,
            torch.from_numpy(points).to(self.device),
            torch.from_numpy((found[..., 2] > 0) & inside).to(self.device),
            torch.from_numpy(parts.differences),
        )

    def part(self, rows: Sequence[int]) -> "Truth":
        """That of some of the images."""
        items, sizes = [self.items[row] for row in rows], [self.sizes[row] for row in rows]
        return Truth(self.dataset, items, sizes, self.transform, self.device)


def required(dataset: Dataset, kind: str) -> Callable[[Item], Any]:
    """How a dataset's `regions` or `parts` are read; raises SalcheckError for one that knows none."""
    if kind == "parts":
        if dataset.parts is None:
            raise SalcheckError(f"{dataset.name} does not know the parts of its objects: {KNOW_PARTS}")
        return dataset.parts.of
    if dataset.regions is None:
        raise SalcheckError(f"{dataset.name} does not say where its objects are: {KNOW_REGIONS}")
    return dataset.regions


KNOW_REGIONS = (
    "take --dataset imagenet with boxes, voc, coco, cub, rsna, siim, nih, scenes or puppets with a model of its "
    "classes, or ask mosaic, which makes places of any class folders"
)
KNOW_PARTS = "take --dataset cub or puppets with a model of its classes; mosaic asks for none"
