"""How well a map agrees with the pixels of an object: precision and recall, IoU of pixels, IoU of boxes; in batches."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torchvision.ops import box_iou

from salcheck.maps.ranking import Order

BINS = 256  # of Otsu's histogram


@dataclass(frozen=True)
class Agreement:
    """J maps against an object each, pixel by pixel from the most to the least salient.

    values: (J, P), falling. hits: int (J, P + 1), how many of the first k pixels are on the object, for k = 0...P.
    Where no pixel is on the object, areas under precision and recall are NaN.
    """

    values: Tensor
    hits: Tensor

    @property
    def size(self) -> Tensor:
        """The object's pixels, int (J,)."""
        return self.hits[:, -1]

    def average_precision(self) -> Tensor:
        """Precision at each of the object's pixels, averaged: (J,) in 0...1.

        Equal values come in one step, as in scikit-learn: a constant map has the object's share of the picture.
        """
        return self._mean_on_object(self._precision_from(above=False))

    def trapezoid(self) -> Tensor:
        """The area under the precision-recall curve by trapezoids, (J,) in 0...1, from precision 1 at recall 0.

        Davis and Goadrich, ICML 2006: straight lines between far points promise what no threshold keeps.
        """
        return self._mean_on_object((self._precision_from(above=False) + self._precision_from(above=True)) / 2)

    def iou(self, first: Tensor) -> Tensor:
        """IoU (J, T) of the object and the `first` k pixels, int (J, T); exactly as many, whatever is equal."""
        both = self.hits.gather(1, first)
        return both / (first + self.size[:, None] - both)

    def iou_above(self, thresholds: Tensor) -> Tensor:
        """IoU (J, T) of the object and all pixels with values above each of the thresholds (J, T)."""
        return self.iou(torch.searchsorted(-self.values, -thresholds.contiguous()))

    def _precision_from(self, above: bool) -> Tensor:
        """For each pixel (J, P): the precision of all pixels `above` it, or else of these, it and its equals."""
        first = torch.searchsorted(-self.values, -self.values, right=not above)
        precision = self.hits / torch.arange(self.hits.shape[1], device=self.hits.device)
        precision[:, 0] = 1  # of no pixels
        return precision.gather(1, first)

    def _mean_on_object(self, values: Tensor) -> Tensor:
        return (values * self.hits.diff()).sum(-1) / self.size


def agreement(order: Order, masks: Tensor) -> Agreement:
    """Ranked maps (J) against the pixels of an object each, bool (J, H, W)."""
    ranked = torch.zeros_like(order.place.flatten(1)).scatter_(
        1, order.place.flatten(1).long(), masks.flatten(1).to(order.place)
    )
    hits = torch.nn.functional.pad(ranked.cumsum(-1), (1, 0))
    return Agreement(order.values, hits)


def otsu(values: Tensor) -> Tensor:
    """Otsu's threshold (J,) of values (J, P) in 0...1: the middle of the bin, of 256, up to which pixels are behind.

    Otsu 1979: it sets the means of the two sides farthest apart. The lowest bin of equally good ones.
    """
    bins = (values * BINS).nan_to_num().long().clamp(0, BINS - 1)
    counts = torch.zeros(len(values), BINS, device=values.device).scatter_add_(1, bins, torch.ones_like(values))
    counts = counts.cpu().double()  # not every accelerator has double precision, and this is little
    middles = (torch.arange(BINS, dtype=torch.float64) + 0.5) / BINS
    below, mass = counts.cumsum(-1), (counts * middles).cumsum(-1)
    rest, other = below[:, -1:] - below, mass[:, -1:] - mass
    between = (below * rest * (mass / below - other / rest).square()).nan_to_num()
    return middles[between.argmax(-1)].to(values)


def largest_box(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """The tight box (x0, y0, x1, y1) of the largest component of a mask (H, W), the first of equal ones; all 0 for an
    empty mask. Pixels that touch at a corner are connected, as in the contours that WSOL's evaluations draw.
    """
    labels, count = ndimage.label(mask, structure=np.ones((3, 3)))
    if not count:
        return 0, 0, 0, 0
    rows, columns = ndimage.find_objects(labels)[np.bincount(labels.flat)[1:].argmax()]
    return columns.start, rows.start, columns.stop, rows.stop


def tight_box(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """The box (x0, y0, x1, y1) of all pixels of a mask (H, W) that has any; edges, so that a pixel is one wide."""
    rows, columns = ndimage.find_objects(mask.astype(np.uint8))[0]
    return columns.start, rows.start, columns.stop, rows.stop


def best_box_iou(box: Sequence[float], boxes: Sequence[Sequence[float]]) -> float:
    """The highest IoU, by areas, of a box with any of some boxes, each (x0, y0, x1, y1)."""
    found = box_iou(torch.tensor([box], dtype=torch.float64), torch.tensor(boxes, dtype=torch.float64))
    return float(found.max())
