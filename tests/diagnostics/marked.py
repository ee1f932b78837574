"""Images in which objects are marked, as the model is fed them: nothing is resized or cropped."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torchvision import transforms

from salcheck.datasets import Dataset, Item, Region
from salcheck.inputs.truth import Truth


def marked(places: Sequence[Sequence[Region]], size: tuple[int, int]) -> Truth:
    """The truth of as many images of (H, W) pixels, each with its regions."""
    items = [Item(str(i), tuple(sorted({one.label for one in regions}))) for i, regions in enumerate(places)]
    found = dict(zip(items, places, strict=True))
    dataset = Dataset("marked", "", items, lambda item: Image.new("RGB", size[::-1]), regions=lambda item: found[item])
    return Truth(dataset, items, [size[::-1]] * len(items), transforms.ToTensor(), torch.device("cpu"))


def mask_of(label: int, rows: slice, columns: slice, size: tuple[int, int]) -> Region:
    """A region of the class by its very pixels, a block of them."""
    mask = np.zeros(size, bool)
    mask[rows, columns] = True
    return Region(label, mask=mask)
