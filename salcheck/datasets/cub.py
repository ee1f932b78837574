"""Birds of CUB-200-2011: the test images, with boxes, 15 parts, and by which parts two species are told apart.

Published at vision.caltech.edu/datasets/cub_200_2011: `root` is CUB_200_2011, or the folder that holds it. Its archive
has `attributes.txt` beside CUB_200_2011, where it is looked for too; the training images are left out.

Boxes are x, y, width, height and start at 0: they are taken as edges. Parts are pixels that annotators clicked on. The
README does not say from where they count. Boxes begin at 0 in 73 images, and end at 499 of the usual 500 pixels five
times as often as at 500 or beyond: parts are taken to count from 0 too, and the middle of their pixel, x + 0.5 and
y + 0.5, is given.
"""

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from salcheck.datasets import Dataset, Item, Labels, Parts, Region
from salcheck.datasets._annotated import (
    annotated,
    below,
    faulty,
    paths,
    picture_of,
    read_text,
    require_images,
    require_paths,
)
from salcheck.datasets._files import file_dataset, require_folder
from salcheck.errors import SalcheckError
from salcheck.naming.words import one_line

ATTRIBUTES = "attributes/class_attribute_labels_continuous.txt"
FILES = (
    *("images", "images.txt", "image_class_labels.txt", "train_test_split.txt", "bounding_boxes.txt", "classes.txt"),
    *("parts/parts.txt", "parts/part_locs.txt", ATTRIBUTES),
)
LAYOUT = "CUB_200_2011/{images,images.txt,classes.txt,…,parts,attributes} with attributes.txt in it or beside it"
# By which groups of attributes SCOUT tells each part of two species apart.
GROUPS = {
    "back": ("has_back_color", "has_back_pattern"),
    "beak": ("has_bill_shape", "has_bill_length", "has_bill_color"),
    "belly": ("has_belly_color", "has_belly_pattern"),
    "breast": ("has_breast_pattern", "has_breast_color"),
    "crown": ("has_head_pattern", "has_forehead_color", "has_crown_color"),
    "forehead": ("has_head_pattern", "has_forehead_color"),
    "left eye": ("has_eye_color", "has_head_pattern"),
    "left leg": ("has_leg_color",),
    "left wing": ("has_wing_color", "has_wing_shape", "has_wing_pattern"),
    "nape": ("has_nape_color",),
    "right eye": ("has_eye_color", "has_head_pattern"),
    "right leg": ("has_leg_color",),
    "right wing": ("has_wing_color", "has_wing_shape", "has_wing_pattern"),
    "tail": ("has_tail_shape", "has_upper_tail_color", "has_under_tail_color", "has_tail_pattern"),
    "throat": ("has_head_pattern", "has_throat_color"),
}

Array = NDArray[np.float64]


@dataclass(frozen=True)
class _Marked:
    """An image with its box (4,) and parts (15, 3), both as written."""

    path: Path
    box: Array
    parts: Array


def open_dataset(root: Path | None, labels: Labels, seed: int) -> Dataset:
    """Test images with their class, the bird's box and its parts.

    A model's classes are known by `001.Black_footed_Albatross` or the name alone; where it has as many classes as there
    are and no names for them, by their number minus 1. Raises SalcheckError for classes that the model does not have,
    and where a file is missing or broken.
    """
    root = require_folder(root, LAYOUT)
    root = root / "CUB_200_2011" if (root / "CUB_200_2011").is_dir() else root
    require_paths(root, FILES, LAYOUT)
    names, files = _names(root / "classes.txt"), _names(root / "images.txt")
    training = _choices(root / "train_test_split.txt", len(files), (0, 1))
    classes = _choices(root / "image_class_labels.txt", len(files), (1, len(names)))
    tests = [i for i in range(len(files)) if training[i] != 1]
    known = _known(names, {number - 1 for i in tests if (number := classes[i])}, labels)
    rows = {below(root / "images", files[i], "images.txt"): i for i in tests}
    require_images(list(rows), "images.txt")
    boxes, parts = _numbered(root / "bounding_boxes.txt", len(files), 5)[:, 1:], _parts(root, len(files))
    differences = _differences(root, [known.get(i) for i in range(len(names))], len(labels))
    label_of = {path: (known[number - 1],) if (number := classes[i]) else () for path, i in rows.items()}
    dataset = file_dataset("cub", root, label_of.items())
    marked = {key: _Marked(path, boxes[rows[path]], parts[rows[path]]) for key, path in paths(dataset).items()}
    faults = {
        key: f"{name} has no sound row for {one.path.name}"
        for name, values in (("image_class_labels.txt", classes), ("train_test_split.txt", training))
        for key, one in marked.items()
        if values[rows[one.path]] is None
    }
    return faulty(_annotated(dataset, marked, differences), faults)


def _annotated(dataset: Dataset, marked: dict[str, _Marked], differences: Array) -> Dataset:
    def regions(item: Item) -> list[Region]:
        one = marked[item.key]
        if not np.isfinite(one.box).all():
            raise SalcheckError(f"bounding_boxes.txt has no sound row for {item.key}")
        x, y, width, height = one.box.tolist()
        box = picture_of(one.path).box((x, y, x + width, y + height), f"bounding_boxes.txt, {item.key}")
        return [Region(item.labels[0], box)]

    def of(item: Item) -> Array:
        one = marked[item.key]
        if not np.isfinite(one.parts).all():
            raise SalcheckError(f"part_locs.txt has no sound row for each part of {item.key}")
        visible = one.parts[:, 2:]
        return np.hstack([picture_of(one.path).points(one.parts[:, :2] + 0.5), visible]) * visible

    table = hashlib.sha256(differences.tobytes()).digest()

    def note(item: Item) -> bytes:
        one = marked[item.key]
        return one.box.tobytes() + one.parts.tobytes() + table

    return dataclasses.replace(annotated(dataset, note), regions=regions, parts=Parts(tuple(GROUPS), of, differences))


def _known(names: Sequence[str], wanted: set[int], labels: Labels) -> dict[int, int]:
    """The model's index of each class that it has; of the `wanted` it must have all."""
    if len(labels) == len(names) and all(labels.index(f"class {i}") == i for i in range(len(names))):
        return {i: i for i in range(len(names))}
    found = {i: _index(labels, name) for i, name in enumerate(names)}
    strange = [names[i] for i in sorted(wanted) if found[i] is None]
    if strange:
        raise SalcheckError(
            f"classes.txt names classes that the model does not have: {one_line(', '.join(strange[:5]))}"
        )
    return {i: index for i, index in found.items() if index is not None}


def _index(labels: Labels, name: str) -> int | None:
    """By `001.Black_footed_Albatross`, else by what follows the number."""
    whole = labels.index(name)
    return labels.index(name.partition(".")[2]) if whole is None else whole


def _differences(root: Path, known: Sequence[int | None], count: int) -> Array:
    """How far the model's classes differ in each part: (N, N, 15) for N = `count`, NaN where the model's class is none
    of CUB's. known: the model's index of each of CUB's classes.

    SCOUT's ground truth (Wang & Vasconcelos, CVPR 2020): the mean over a part's groups of attributes of

        sum_i p_i log(2 p_i / (p_i + q_i)) + q_i log(2 q_i / (p_i + q_i))

    where p and q are the softmax of the two classes' percentages, 0 to 100, within the group. In nats, 0 to 2 log 2. As
    percentages are that large, p is nearly one for the commonest attribute and 0 for all others.
    """
    columns = _attribute_groups(root)
    percent = _table(root / ATTRIBUTES, len(known), sum(len(one) for one in columns.values()))
    if percent.min() < 0 or percent.max() > 100:
        raise SalcheckError(f"'{root / ATTRIBUTES}' has numbers below 0 or above 100: percentages are expected")
    by_group = {name: _divergence(percent[:, columns[name]]) for names in GROUPS.values() for name in names}
    between = np.stack([np.mean([by_group[name] for name in names], axis=0) for names in GROUPS.values()], axis=-1)
    mine = [i for i, index in enumerate(known) if index is not None]
    theirs = [index for index in known if index is not None]
    differences = np.full((count, count, len(GROUPS)), np.nan)
    differences[np.ix_(theirs, theirs)] = between[np.ix_(mine, mine)]
    return differences


def _divergence(percent: Array) -> Array:
    """The symmetric divergence (n, n) between the softmax of n rows."""
    p = np.exp(percent - percent.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    middle = (p[:, None] + p) / 2
    one_way = (p[:, None] * (np.log(p)[:, None] - np.log(middle))).sum(-1)
    return np.maximum(one_way + one_way.T, 0)  # rounding may leave it below


def _attribute_groups(root: Path) -> dict[str, list[int]]:
    """Columns of each group of attributes, by names such as has_bill_shape::dagger."""
    places = [root / "attributes.txt", root.parent / "attributes.txt", root / "attributes" / "attributes.txt"]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        raise SalcheckError(f"no attributes.txt in '{root}' or beside it: give a folder laid out as {LAYOUT}")
    groups: dict[str, list[int]] = {}
    for column, name in enumerate(_names(path)):
        groups.setdefault(name.partition("::")[0], []).append(column)
    missing = sorted({name for names in GROUPS.values() for name in names} - set(groups))
    if missing:
        raise SalcheckError(f"'{path}' has no attributes of {', '.join(missing[:5])}")
    return groups


def _parts(root: Path, images: int) -> Array:
    """x, y and visible (images, 15, 3) as written."""
    names = _names(root / "parts" / "parts.txt")
    if names != list(GROUPS):
        raise SalcheckError(f"'{root / 'parts' / 'parts.txt'}' has other parts than CUB's: {', '.join(GROUPS)}")
    path = root / "parts" / "part_locs.txt"
    table = np.full((images, len(names), 3), np.nan)
    for image, part, *where in _rows(path, 5):
        if image in range(1, images + 1) and part in range(1, len(names) + 1) and where[2] in (0, 1):
            place = int(image) - 1, int(part) - 1
            table[place] = where if np.isnan(table[place]).all() else np.inf  # twice is as bad as never
    if not np.isfinite(table).any():
        raise SalcheckError(
            f"'{path}' does not have '<image> <part> <x> <y> <0 or 1>' once for each part of each image"
        )
    return table


def _names(path: Path) -> list[str]:
    """Names from lines `<number> <name>`, whose numbers are 1, 2, ..."""
    lines = [line.split(maxsplit=1) for line in read_text(path).splitlines() if line.strip()]
    for i, words in enumerate(lines, 1):
        if len(words) < 2 or words[0] != str(i):
            raise SalcheckError(
                f"'{path}' has '{one_line(' '.join(words))[:60]}' on line {i}: '{i} <name>' is expected"
            )
    return [words[1].strip() for words in lines]


def _choices(path: Path, count: int, least_most: tuple[int, int]) -> list[int | None]:
    """The whole number, from the least to the most, of each of `count` images; None where it has no sound row."""
    values = _numbered(path, count, 2)[:, 1]
    least, most = least_most
    sound = np.isin(values, np.arange(least, most + 1))
    if not sound.any():
        raise SalcheckError(f"'{path}' has other values than {least} to {most}")
    return [int(value) if fits else None for value, fits in zip(values, sound, strict=True)]


def _numbered(path: Path, count: int, columns: int) -> Array:
    """A table (count, columns) whose first column numbers the rows 1, 2, ...; NaN for an image without a sound row."""
    table = np.full((count, columns), np.nan)
    for row in _rows(path, columns):
        if row[0] in range(1, count + 1):
            place = int(row[0]) - 1
            table[place] = row if np.isnan(table[place]).all() else np.inf  # twice is as bad as never
    table[~np.isfinite(table).all(1)] = np.nan
    if np.isnan(table).all():
        raise SalcheckError(f"'{path}' does not have each of the images 1 to {count} once")
    return table


def _rows(path: Path, columns: int) -> Iterator[list[float]]:
    """The lines that are so many finite numbers."""
    for line in read_text(path).splitlines():
        try:
            row = [float(word) for word in line.split()]
        except ValueError:
            continue
        if len(row) == columns and np.isfinite(row).all():
            yield row


def _table(path: Path, rows: int, columns: int) -> Array:
    text = read_text(path)
    try:
        table = np.array(text.split(), dtype=np.float64)
    except ValueError as error:
        raise SalcheckError(f"'{path}' has something else than numbers ({one_line(error)[:80]})") from error
    if table.size != rows * columns or not np.isfinite(table).all():
        raise SalcheckError(f"'{path}' has {table.size} numbers: {rows} lines of {columns} finite ones are expected")
    return table.reshape(rows, columns)
