"""SIIM-ACR Pneumothorax Segmentation: chest X-rays with masks of pneumothorax, as distributed for the Kaggle challenge.

Read are `dicom-images-train/*/*/*.dcm` and `train-rle.csv`. ImageId is a file's name; EncodedPixels is -1 for none, or
numbers that alternate: how many pixels to leave out and how many to take, column by column from the top left
(https://www.kaggle.com/c/siim-acr-pneumothorax-segmentation).
"""

import re
from collections import defaultdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from salcheck.datasets import Dataset, Labels, Region
from salcheck.datasets._annotated import require_paths
from salcheck.datasets._chest import dicom_dataset, read_table, two_classes
from salcheck.datasets._dicom import dicom_size
from salcheck.datasets._files import require_folder
from salcheck.datasets._masks import from_runs
from salcheck.errors import SalcheckError
from salcheck.naming.words import one_line

IMAGES, TABLE = "dicom-images-train", "train-rle.csv"
LAYOUT = f"{IMAGES}/*/*/*.dcm with {TABLE}"
FINDINGS = ("pneumothorax",)
NONE = "-1"


def open_dataset(root: Path | None, labels: Labels, seed: int) -> Dataset:
    """The training images that the table names: the finding where one has a mask, else health.

    Regions are the masks, those of an image's several rows as one. Raises SalcheckError for a folder or table that is
    incomplete or broken, and for a model that does not tell a finding from none.
    """
    root = require_folder(root, LAYOUT)
    require_paths(root, (IMAGES, TABLE), LAYOUT)
    classes = two_classes(labels, "siim", FINDINGS)
    runs = _runs(root / TABLE)
    files = list((root / IMAGES).rglob("*.dcm"))
    if not any(path.stem in runs for path in files):
        raise SalcheckError(
            f"{TABLE} names none of the {len(files)} images of '{root / IMAGES}': expected are {LAYOUT}"
        )

    def regions(path: Path) -> list[Region]:
        return [Region(classes[1], mask=_mask(runs[path.stem], path))] if runs[path.stem] else []

    strange = {image: text for image, texts in runs.items() for text in texts if not re.fullmatch(r"[0-9\s]+", text)}
    faults = {
        image: f"{TABLE} has the EncodedPixels '{one_line(text)[:40]}' for {image}: -1 or numbers are expected"
        for image, text in strange.items()
    }
    return dicom_dataset("siim", root, files, runs, classes, regions, faults)


def _runs(table: Path) -> dict[str, list[str]]:
    """The texts of each image's masks, none for an image without."""
    found: dict[str, list[str]] = defaultdict(list)
    for image, text in read_table(table, "ImageId", "EncodedPixels"):
        found[image] += [text] if text != NONE else []
    return dict(found)


def _mask(texts: list[str], path: Path) -> NDArray[np.bool_]:
    """Bool (height, width), what any of the texts takes."""
    width, height = dicom_size(path)
    mask = np.zeros((height, width), dtype=np.bool_)
    for text in texts:
        try:
            runs = [int(number) for number in text.split()]
            if not runs or len(runs) % 2 or min(runs) < 0 or sum(runs) > width * height:
                raise ValueError(f"{len(runs)} numbers from {min(runs, default=0)} on, {sum(runs)} pixels in all")
            mask |= from_runs([*runs, width * height - sum(runs)], height, width)
        except ValueError as error:
            raise SalcheckError(
                f"{TABLE}, {path.stem}: EncodedPixels cannot be read ({one_line(error)[:200]}): pairs of pixels to "
                f"leave out and to take within {width}x{height} are expected"
            ) from error
    return mask
