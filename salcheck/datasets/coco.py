"""COCO 2017 validation images with the masks of all their objects, as distributed.

Published at cocodataset.org: `root` holds `annotations/instances_val2017.json` (or that file itself) and `val2017/` (or
`images/val2017/`). Masks come from polygons and from run lengths, plain or compressed; where an object has neither, its
box serves, whose x, y, width and height are edges in pixels. A crowd (`iscrowd`), one annotation for many objects of a
class, counts like an object: its mask has the class's label, for a map that marks it marks the class.
"""

import dataclasses
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from salcheck.datasets import Dataset, Item, Labels, Region
from salcheck.datasets._annotated import (
    Picture,
    annotated,
    below,
    by_area,
    faulty,
    known_classes,
    paths,
    picture_of,
    require_images,
)
from salcheck.datasets._files import file_dataset, require_folder
from salcheck.datasets._masks import from_polygon, from_runs, uncompressed
from salcheck.errors import SalcheckError
from salcheck.naming.files import read_file
from salcheck.naming.words import one_line

TABLE = "instances_val2017.json"
LAYOUT = f"annotations/{TABLE} and val2017/IMAGE"


@dataclass(frozen=True)
class _Image:
    path: Path
    size: tuple[int, int]
    objects: list[dict[str, Any]]


def open_dataset(root: Path | None, labels: Labels, seed: int) -> Dataset:
    """Images with all classes in them as labels, the largest total `area` first, and a mask or box of each object.

    Objects of classes that the model does not have are regions labelled -1 and no labels. Raises SalcheckError where
    the model has none of the classes, and where a file is missing or the table is not as published.
    """
    root = require_folder(root, LAYOUT)
    table, folder = (_first(root, names) for names in ((f"annotations/{TABLE}", TABLE), ("val2017", "images/val2017")))
    data = _read(table)
    names = {_get(one, "id", int): _get(one, "name", str) for one in _entries(data, "categories")}
    index = known_classes("COCO", list(names.values()), labels.index)
    known = {number: index[name] for number, name in names.items()}
    images = _images(data, folder, known)
    require_images([one.path for one in images], TABLE)
    labels_of, faults = {}, {}
    for one in images:
        try:
            labels_of[one.path] = _labels(one, known)
        except SalcheckError as error:
            labels_of[one.path], faults[one.path] = (), str(error)
    dataset = file_dataset("coco", root, list(labels_of.items()))
    by_path = {one.path: one for one in images}
    by_key = {key: by_path[path] for key, path in paths(dataset).items()}
    dataset = faulty(dataset, {key: faults[one.path] for key, one in by_key.items() if one.path in faults})

    def regions(item: Item) -> Sequence[Region]:
        image = by_key[item.key]
        picture = picture_of(image.path)
        if picture.size != image.size:
            given, there = ("{}x{}".format(*size) for size in (image.size, picture.size))
            raise SalcheckError(f"{TABLE} says that {image.path.name} has {given} pixels, and it has {there}")
        return [_region(one, picture, known) for one in image.objects]

    def note(item: Item) -> bytes:
        return json.dumps(by_key[item.key].objects, sort_keys=True).encode()

    return dataclasses.replace(annotated(dataset, note), regions=regions)


def _first(root: Path, names: Sequence[str]) -> Path:
    for name in names:
        if (root / name).exists():
            return root / name
    raise SalcheckError(f"'{root}' has no {' or '.join(names)}: give a folder laid out as {LAYOUT}")


def _read(table: Path) -> Any:
    try:
        return json.loads(read_file(table))
    except (OSError, ValueError, RecursionError) as error:
        raise SalcheckError(f"cannot read '{table}' ({one_line(error)[:80]}): fetch it again") from error


def _entries(data: Any, name: str) -> list[dict[str, Any]]:
    """The table's list `name`."""
    entries = data.get(name) if isinstance(data, dict) else None
    if not isinstance(entries, list) or not entries or not all(isinstance(one, dict) for one in entries):
        raise SalcheckError(f"{TABLE} has no list of '{name}' with objects in it: it is not COCO's table of instances")
    return entries


def _get(entry: dict[str, Any], name: str, kind: type | tuple[type, ...]) -> Any:
    """A value of an entry, of the type that it must have."""
    value = entry.get(name)
    if not isinstance(value, kind) or isinstance(value, bool):
        shown = one_line(json.dumps(entry))[:60]
        raise SalcheckError(f"{TABLE} has '{name}' missing or of another type than COCO's in {shown}…")
    return value


def _images(data: Any, folder: Path, known: dict[int, int]) -> list[_Image]:
    found: dict[int, _Image] = {}
    for one in _entries(data, "images"):
        path = below(folder, _get(one, "file_name", str), TABLE)
        found[_get(one, "id", int)] = _Image(path, (_get(one, "width", int), _get(one, "height", int)), [])
    for one in _entries(data, "annotations"):
        image = _get(one, "image_id", int)
        if image not in found:
            raise SalcheckError(f"{TABLE} has an annotation of image {image}: it lists no such image")
        found[image].objects.append(one)
    return list(found.values())


def _labels(image: _Image, known: dict[int, int]) -> tuple[int, ...]:
    strange = [one.get("category_id") for one in image.objects if _get(one, "category_id", int) not in known]
    if strange:
        raise SalcheckError(f"{TABLE} has an annotation of category {strange[0]}: it lists no such category")
    areas = [_numbers([_get(one, "area", (int, float))], 1, f"{TABLE}, area")[0] for one in image.objects]
    return by_area([(known[one["category_id"]], area) for one, area in zip(image.objects, areas, strict=True)])


def _region(entry: dict[str, Any], picture: Picture, known: dict[int, int]) -> Region:
    label = known[entry["category_id"]]
    source = f"{TABLE}, annotation {entry.get('id')} of {picture.path.name}"
    drawn = entry.get("segmentation")
    if drawn:
        try:
            return Region(label, mask=picture.mask(_mask(drawn, picture.size)))
        except SalcheckError as error:
            raise SalcheckError(f"{source}: {error}") from error
    x, y, width, height = _numbers(_get(entry, "bbox", list), 4, source)
    return Region(label, picture.box((x, y, x + width, y + height), source))


def _mask(drawn: Any, size: tuple[int, int]) -> NDArray[np.bool_]:
    width, height = size
    if isinstance(drawn, list):
        mask = np.zeros((height, width), dtype=bool)
        for one in drawn:  # all at once they would fill the memory
            mask |= from_polygon(_polygon(one, size), height, width)
        return mask
    if not isinstance(drawn, dict) or drawn.get("size") != [height, width]:
        raise SalcheckError(f"a segmentation is a list of polygons, or run lengths with 'size' [{height}, {width}]")
    counts = drawn.get("counts")
    if isinstance(counts, str):
        return from_runs(uncompressed(counts), height, width)
    if not isinstance(counts, list) or not all(type(count) is int for count in counts):
        raise SalcheckError("'counts' of run lengths is a list of whole numbers or a string")
    return from_runs(counts, height, width)


def _polygon(values: Any, size: tuple[int, int]) -> NDArray[np.float64]:
    if not isinstance(values, list) or len(values) < 6 or len(values) % 2:
        raise SalcheckError("a polygon is a list x, y, x, y, … of three corners or more")
    points = np.array(_numbers(values, len(values), "a polygon")).reshape(-1, 2)
    if (np.abs(points / size - 0.5) > 1.5).any():
        raise SalcheckError("a polygon has corners far outside of the picture")
    return points


def _numbers(values: list[Any], count: int, source: str) -> list[float]:
    try:
        numbers = [float(value) for value in values if type(value) in (int, float)]
    except OverflowError:
        numbers = []
    if len(numbers) != count or len(values) != count or not all(math.isfinite(number) for number in numbers):
        raise SalcheckError(f"{source} has '{one_line(values)[:60]}': {count} numbers are expected")
    return numbers
