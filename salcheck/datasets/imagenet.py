"""ImageNet validation images as distributed: class folders, or a flat folder with LOC_val_solution.csv.

The table lies in `root` and the images at any depth below; its column PredictionString starts with an image's wnid.
"""

import csv
import dataclasses
from pathlib import Path

from salcheck.datasets import Dataset, Labels
from salcheck.datasets import folder as class_folders
from salcheck.datasets._files import file_dataset, images_below, require_folder
from salcheck.errors import SalcheckError

SOLUTION = "LOC_val_solution.csv"


def open_dataset(root: Path | None, labels: Labels, seed: int) -> Dataset:
    """Validation images with their labels; raises SalcheckError where the table or the images are missing."""
    root = require_folder(root, f"class folders of wnids, or images with {SOLUTION}")
    if not (root / SOLUTION).is_file():
        dataset = class_folders.open_dataset(root, labels, seed)
        if not any(item.labels for item in dataset.items):
            raise SalcheckError(f"'{root}' has neither {SOLUTION} nor class folders of wnids: one of them is needed")
        return dataclasses.replace(dataset, name="imagenet")
    wnids = _wnids(root / SOLUTION)
    known = {wnid: labels.index(wnid) for wnid in set(wnids.values())}
    strange = sorted(wnid for wnid, index in known.items() if index is None)
    if strange:
        raise SalcheckError(f"{SOLUTION} names classes that the model does not have: {', '.join(strange[:5])}")
    images = images_below(root)
    files = [(path, known[wnids[path.stem]]) for path in images if path.stem in wnids]
    if images and not files:
        raise SalcheckError(f"{SOLUTION} names none of the {len(images)} images in '{root}' (first: {images[0].name})")
    return file_dataset("imagenet", root, [(path, (index,)) for path, index in files if index is not None])


def _wnids(table: Path) -> dict[str, str]:
    try:
        with table.open(newline="", encoding="utf-8-sig") as lines:
            return {row["ImageId"]: row["PredictionString"].split()[0] for row in csv.DictReader(lines)}
    except (OSError, KeyError, IndexError, AttributeError, UnicodeDecodeError, csv.Error) as error:
        raise SalcheckError(
            f"cannot read '{table}' ({error}): it needs the columns ImageId and PredictionString"
        ) from error
