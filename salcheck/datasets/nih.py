"""NIH ChestX-ray14: chest X-rays with text-mined findings, boxes for 984 of them; as distributed, or in class folders.

As distributed (https://nihcc.app.box.com/v/ChestXray-NIHCC): `images/*.png` or `images_*/images/*.png`,
`Data_Entry_2017.csv` (or its edition `_v2020`), `BBox_List_2017.csv`, and `test_list.txt`, which limits the images
where it is there. Class folders: {valid,test}/{0_normal,1_abnormal}/*.png with `BBox_List_2017.csv`; a folder `train`
is left out with its boxes, since a model has seen it. Boxes are in pixels of 1024x1024, whatever the images' size.
Wang et al. 2017, CVPR (arXiv 1705.02315).
"""

import dataclasses
from collections import defaultdict
from pathlib import Path

from salcheck.datasets import Dataset, Item, Labels, Region
from salcheck.datasets._annotated import Corners, Picture, annotated, faulty, paths, picture_of, read_text
from salcheck.datasets._chest import HEALTHY, corners, read_table, two_classes
from salcheck.datasets._files import file_dataset, images_below, require_folder
from salcheck.errors import SalcheckError

TABLES = ("Data_Entry_2017.csv", "Data_Entry_2017_v2020.csv")
BOXES, TEST = "BBox_List_2017.csv", "test_list.txt"
LAYOUT = f"images*/…/*.png with {TABLES[0]} and {BOXES}, or {{valid,test}}/{{0_normal,1_abnormal}}/*.png"
SIDE = 1024  # pixels of the picture in which the boxes were drawn
NO_FINDING, ANY = "No Finding", "1_abnormal"
FINDINGS = (
    *("Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumonia", "Pneumothorax"),
    *("Consolidation", "Edema", "Emphysema", "Fibrosis", "Pleural_Thickening", "Hernia"),
)
FOLDERS = {"0_normal": NO_FINDING, "1_abnormal": ANY}
OTHER_NAMES = {"Infiltrate": "Infiltration"}  # as the boxes' table calls it


def open_dataset(root: Path | None, labels: Labels, seed: int) -> Dataset:
    """The images with the findings that the model has: by name where it has any of the 14, else two classes, none and
    any.

    Labels are what the table or folder says, which a box may contradict; regions are the boxes, -1 for a finding that
    the model does not have, and are not known where there is no table of them. Raises SalcheckError for a folder or
    table that is incomplete or broken, and for a model with neither.
    """
    root = require_folder(root, LAYOUT)
    known = _known(labels)
    table = next((root / name for name in TABLES if (root / name).exists()), None)
    findings = _by_folder(root) if table is None else _by_table(root, table)
    files = [(path, _indices(names, known)) for path, names in findings.items()]
    if not any(indices for _, indices in files):
        raise SalcheckError(
            f"none of the {len(files)} images of '{root}' shows a class of the model: take a model of nih"
        )
    dataset = file_dataset("nih", root, files)
    lacking = {key: path.name for key, path in paths(dataset).items() if findings[path] == [""]}
    dataset = faulty(dataset, {key: f"'{table}' has no Finding Labels for {name}" for key, name in lacking.items()})
    return _with_boxes(dataset, root / BOXES, known) if (root / BOXES).exists() else dataset


def _known(labels: Labels) -> dict[str, int]:
    """The model's indices of what the tables and folders call a finding or none."""
    names = [*FINDINGS, *OTHER_NAMES]
    named = {OTHER_NAMES.get(name, name): index for name in names if (index := labels.index(name)) is not None}
    if named:
        healthy = next((index for name in HEALTHY if (index := labels.index(name)) is not None), None)
    else:
        healthy, finding = two_classes(labels, "nih", FINDINGS)
        named = dict.fromkeys([*FINDINGS, ANY], finding)
    return named if healthy is None else {**named, NO_FINDING: healthy}


def _indices(names: list[str], known: dict[str, int]) -> tuple[int, ...]:
    return tuple(sorted({known[name] for name in names if name in known}))


def _by_table(root: Path, table: Path) -> dict[Path, list[str]]:
    """The findings of each image that the table names and, where it is there, the test list."""
    rows = read_table(table, "Image Index", "Finding Labels")
    findings = {image: [OTHER_NAMES.get(one, one) for one in names.split("|")] for image, names in rows}
    images = images_below(root)
    test = set(read_text(root / TEST).split()) if (root / TEST).exists() else set(findings)
    found = {path: findings[path.name] for path in images if path.name in findings and path.name in test}
    if not found:
        source = f"{table.name} and {TEST} name" if (root / TEST).exists() else f"{table.name} names"
        raise SalcheckError(f"{source} none of the {len(images)} images in '{root}': expected are {LAYOUT}")
    return found


def _by_folder(root: Path) -> dict[Path, list[str]]:
    images = [path for path in images_below(root) if path.parent.name in FOLDERS]
    found = [path for path in images if path.relative_to(root).parts[0] != "train"]
    if not found:
        raise SalcheckError(f"no images of ChestX-ray14 in '{root}': expected are {LAYOUT}")
    return {path: [FOLDERS[path.parent.name]] for path in found}


def _with_boxes(dataset: Dataset, table: Path, known: dict[str, int]) -> Dataset:
    # The header is `Bbox [x,y,w,h]`, unquoted, and so names four columns.
    boxes: dict[str, list[tuple[str, list[str]]]] = defaultdict(list)
    for image, name, *cells in read_table(table, "Image Index", "Finding Label", "Bbox [x", "y", "w", "h]"):
        boxes[image].append((OTHER_NAMES.get(name, name), cells))

    def of(item: Item) -> list[tuple[str, list[str]]]:
        return boxes.get(item.key.rpartition("/")[2], [])

    def regions(item: Item) -> list[Region]:
        path = dataset.path(item)
        if path is None or not of(item):
            return []
        picture, source = picture_of(path), f"{table.name}, {path.name}"
        drawn = Picture(path, (SIDE, SIDE), picture.turn)
        marked = [(known.get(name, -1), corners(cells, table)) for name, cells in of(item)]
        return [Region(label, _scaled(drawn.box(box, source), picture)) for label, box in marked]

    return annotated(
        dataclasses.replace(dataset, regions=regions), lambda item: repr(of(item)).encode() if of(item) else b""
    )


def _scaled(box: Corners, picture: Picture) -> Corners:
    width, height = picture.size[::-1] if picture.turn[0] else picture.size
    x0, y0, x1, y1 = box
    return x0 * width / SIDE, y0 * height / SIDE, x1 * width / SIDE, y1 * height / SIDE
