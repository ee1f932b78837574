"""ImageNet validation images as distributed: class folders, or a flat folder with LOC_val_solution.csv or the devkit.

Published at image-net.org (ILSVRC2012) and, with the table, by Kaggle (imagenet-object-localization-challenge). Images
may lie at any depth below `root`; labels come from the first of these that is there:

- `LOC_val_solution.csv` in `root`; its column PredictionString is wnid and box of each object of an image in turn;
- `ILSVRC2012_devkit_t12/data`, where line i of ILSVRC2012_validation_ground_truth.txt is the number of image
  ILSVRC2012_val_<i, eight digits>'s class, which meta.mat turns into a wnid (it is not the index of any model's class);
- folders named by wnids.

Boxes come from the table, else from XML files in one of the folders `XML` below, else they are not known. ILSVRC counts
pixels from 0 and a box's last pixel belongs to it: of 777 boxes in 500 images 78 begin at 0, 77 end at the width minus
1, and none reaches the width. Its edges are therefore xmin, ymin, xmax + 1, ymax + 1.
"""

import csv
import dataclasses
import io
import math
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from salcheck.datasets import Dataset, Item, Labels, Region
from salcheck.datasets import folder as class_folders
from salcheck.datasets._annotated import Corners, Picture, annotated, faulty, paths, picture_of, read_text
from salcheck.datasets._files import file_dataset, images_below, require_folder
from salcheck.datasets._xml import read_annotation, read_bytes
from salcheck.errors import SalcheckError
from salcheck.naming.files import read_file
from salcheck.naming.words import one_line

SOLUTION = "LOC_val_solution.csv"
DEVKIT = "ILSVRC2012_devkit_t12/data"
TRUTH = "ILSVRC2012_validation_ground_truth.txt"
LAYOUT = f"class folders of wnids, or images with {SOLUTION} or {DEVKIT}"
# Where the validation images lie in a folder that may hold the training images too.
IMAGES = ("ILSVRC/Data/CLS-LOC/val", "Data/CLS-LOC/val", "ILSVRC2012_img_val", "val")
# Where the archives of boxes (ILSVRC2012_bbox_val_v3.tgz, Kaggle's) are unpacked.
XML = (
    *("ILSVRC/Annotations/CLS-LOC/val", "Annotations/CLS-LOC/val", "ILSVRC2012_bbox_val_v3/val"),
    *("ILSVRC2012_bbox_val_v3", "bbox/val", "bbox_val", "bbox", "annotations/val", "val", "."),
)
CLASSES = 1000
MAX_MAT = 4_000_000  # bytes; the published one is far smaller, and it unpacks to a thousand times its size at most

Objects = Callable[[Picture], Sequence[tuple[str, Corners]]]


def open_dataset(root: Path | None, labels: Labels, seed: int) -> Dataset:
    """Validation images with their labels, and all boxes of each where the boxes are there.

    A box of a class that the model does not have is labelled -1. Raises SalcheckError where labels or images are
    missing, and for classes of images that the model does not have.
    """
    root = require_folder(root, LAYOUT)
    if (root / SOLUTION).is_file():
        rows = _rows(root / SOLUTION)
        wnids = {name: (row.split() or [""])[0] for name, row in rows.items()}
        dataset = _flat(root, wnids, labels, SOLUTION)
        return _located(dataset, labels, partial(_from_row, rows), lambda stem: rows[stem].encode())
    dataset = _flat(root, _devkit(root / DEVKIT), labels, TRUTH) if (root / DEVKIT).is_dir() else _folders(root, labels)
    files = _xml_files(root)
    if not files:
        return dataset
    return _located(dataset, labels, partial(_from_xml, files), partial(_xml_bytes, files))


def _folders(root: Path, labels: Labels) -> Dataset:
    dataset = class_folders.open_dataset(root, labels, 0)
    if not any(item.labels for item in dataset.items):
        raise SalcheckError(
            f"'{root}' has neither {SOLUTION} nor class folders of wnids, nor {DEVKIT}: one of them is needed"
        )
    return dataclasses.replace(dataset, name="imagenet")


def _flat(root: Path, wnids: dict[str, str], labels: Labels, table: str) -> Dataset:
    known = {wnid: labels.index(wnid) for wnid in set(wnids.values()) - {""}}
    strange = sorted(wnid for wnid, index in known.items() if index is None)
    if strange:
        raise SalcheckError(f"{table} names classes that the model does not have: {one_line(', '.join(strange[:5]))}")
    images = next(filter(None, (images_below(root / place) for place in (*IMAGES, "."))), [])
    files = [path for path in images if path.stem in wnids]
    if images and not files:
        raise SalcheckError(f"{table} names none of the {len(images)} images in '{root}' (first: {images[0].name})")
    of = {path: known.get(wnids[path.stem]) for path in files}
    dataset = file_dataset("imagenet", root, [(path, () if u is None else (u,)) for path, u in of.items()])
    lacking = {key: path.name for key, path in paths(dataset).items() if not wnids[path.stem]}
    return faulty(dataset, {key: f"{table} has no known class for {name}" for key, name in lacking.items()})


def _located(dataset: Dataset, labels: Labels, objects: Objects, note: Callable[[str], bytes]) -> Dataset:
    """The dataset with its boxes: `objects(picture)` gives wnids and corners, `note(stem)` what tells them apart."""
    files = paths(dataset)

    def region(picture: Picture, wnid: str, corners: Corners) -> Region:
        index, (x0, y0, x1, y1) = labels.index(wnid), corners
        box = picture.box((x0, y0, x1 + 1, y1 + 1), f"boxes of {picture.path.name}")
        return Region(-1 if index is None else index, box)

    def regions(item: Item) -> list[Region]:
        picture = picture_of(files[item.key])
        return [region(picture, *one) for one in objects(picture)]

    return dataclasses.replace(annotated(dataset, lambda item: note(files[item.key].stem)), regions=regions)


def _rows(table: Path) -> dict[str, str]:
    try:
        lines = io.StringIO(read_file(table).decode("utf-8-sig", "backslashreplace"), newline="")
        return {row["ImageId"] or "": row["PredictionString"] or "" for row in csv.DictReader(lines)}
    except (OSError, KeyError, csv.Error) as error:
        raise SalcheckError(
            f"cannot read '{table}' ({error}): it needs the columns ImageId and PredictionString"
        ) from error


def _from_row(rows: dict[str, str], picture: Picture) -> list[tuple[str, Corners]]:
    words = rows[picture.path.stem].split()
    try:
        found = [(words[i], tuple(float(word) for word in words[i + 1 : i + 5])) for i in range(0, len(words), 5)]
    except ValueError:
        found = []
    corners = [(wnid, (box[0], box[1], box[2], box[3])) for wnid, box in found if len(box) == 4]
    if len(corners) < len(words) / 5 or not all(math.isfinite(value) for _, box in corners for value in box):
        row = one_line(" ".join(words))[:60]
        raise SalcheckError(
            f"{SOLUTION} has '{row}' for {picture.path.stem}: 'wnid x0 y0 x1 y1' of each object is expected"
        )
    return corners


def _from_xml(files: dict[str, Path], picture: Picture) -> Sequence[tuple[str, Corners]]:
    if picture.path.stem not in files:
        return []
    annotation = read_annotation(files[picture.path.stem])
    annotation.require_size(picture.size)
    return annotation.objects


def _xml_bytes(files: dict[str, Path], stem: str) -> bytes:
    """The annotation of an image of this name, nothing where there is none; what is wrong where it is broken."""
    try:
        return read_bytes(files[stem]) if stem in files else b""
    except SalcheckError as error:
        return str(error).encode()


def _xml_files(root: Path) -> dict[str, Path]:
    """XML files by the names of their images, of the first folder that has any."""
    for place in XML:
        files = {path.stem: path for path in (root / place).glob("*.xml")}
        if files:
            return files
    return {}


def _devkit(folder: Path) -> dict[str, str]:
    """The wnid of each image name, from the devkit's list of numbers."""
    text = read_text(folder / TRUTH).split()
    wnids = _wnids(folder / "meta.mat")
    found = [wnids.get(int(word), "") if re.fullmatch("[0-9]{1,4}", word) else "" for word in text]
    if not any(found):
        what = f"'{one_line(text[0][:20])}'" if text else "no numbers"
        raise SalcheckError(
            f"'{folder / TRUTH}' has {what}: a number of meta.mat's, 1 to {CLASSES}, is expected on each line"
        )
    return {f"ILSVRC2012_val_{i:08d}": wnid for i, wnid in enumerate(found, 1)}


def _wnids(mat: Path) -> dict[int, str]:
    """The wnid of each of the devkit's numbers, from the table of synsets in `meta.mat`."""
    from scipy.io import loadmat

    expected = "a MATLAB file with `synsets` of ILSVRC2012_ID and WNID is expected"
    try:
        if mat.stat().st_size > MAX_MAT:
            raise SalcheckError(f"'{mat}' is too large (the limit is {MAX_MAT} bytes): {expected}")
        synsets = loadmat(io.BytesIO(read_file(mat)), squeeze_me=True, variable_names=["synsets"])["synsets"]
        numbers, wnids = synsets["ILSVRC2012_ID"], synsets["WNID"]
        # Above CLASSES come groups of classes.
        return {int(i): str(wnid) for i, wnid in zip(numbers, wnids, strict=True) if 1 <= i <= CLASSES}
    except SalcheckError:
        raise
    except Exception as error:  # the reader raises whatever a broken file leads it to
        raise SalcheckError(f"cannot read '{mat}' ({one_line(error)[:80]}): {expected}") from error
