"""PASCAL VOC 2007 or 2012 as distributed: all objects of an image, with masks where they are drawn, else boxes.

Published at host.robots.ox.ac.uk/pascal/VOC. `root` is VOCdevkit, the folder that holds it, or that of one year:

    VOC2012/{JPEGImages, Annotations, ImageSets/Main/val.txt, SegmentationClass, SegmentationObject}

Images are those of ImageSets/Main/val.txt; of 2007, whose test set is published, those of test.txt where it is there.
Boxes count pixels from 1 and their last pixel belongs to them: the edges are xmin - 1, ymin - 1, xmax, ymax. Objects
marked difficult count like all others, as labels and as regions: they are in the picture, and a map that marks one
marks the class. In the masks 255, the outline and what nobody could tell, belongs to no object.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

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
    read_indices,
    read_text,
    require_images,
    require_paths,
)
from salcheck.datasets._files import file_dataset, fingerprint, require_folder
from salcheck.datasets._xml import Annotation, read_annotation
from salcheck.errors import SalcheckError

LAYOUT = "VOCdevkit/VOC2012/{JPEGImages,Annotations,ImageSets/Main/val.txt} (or VOC2007)"
CLASSES = (  # in the order of the masks, where 0 is the background
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog"),
    *("horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
ALSO = {"diningtable": "dining table", "pottedplant": "potted plant", "tvmonitor": "tv monitor"}
MASKS = ("SegmentationObject", "SegmentationClass")
NOTHING, VOID = 0, 255
NO_ANNOTATION = Annotation(Path(), (0, 0), (), b"")


def open_dataset(root: Path | None, labels: Labels, seed: int) -> Dataset:
    """Images with all classes in them as labels, the largest total area of boxes first, and where their objects are.

    Objects of classes that the model does not have are regions labelled -1 and no labels. Raises SalcheckError where
    the model has none of the classes, and where an image is missing; one whose annotation is broken cannot be read.
    """
    root = _year(require_folder(root, LAYOUT))
    known = known_classes("VOC", CLASSES, lambda name: _index(labels, name))
    found: dict[Path, Annotation] = {}
    faults: dict[Path, str] = {}
    for name in _names(root):
        image = below(root / "JPEGImages", f"{name}.jpg", "ImageSets")
        try:
            found[image] = read_annotation(root / "Annotations" / f"{name}.xml")
            _labels(found[image], known)
        except SalcheckError as error:
            faults[image], found[image] = str(error), NO_ANNOTATION
    require_images(list(found), "ImageSets")
    dataset = file_dataset("voc", root, [(path, _labels(one, known)) for path, one in found.items()])
    by_key = {key: (path, found[path]) for key, path in paths(dataset).items()}
    dataset = faulty(dataset, {key: faults[path] for key, (path, _) in by_key.items() if path in faults})

    def regions(item: Item) -> Sequence[Region]:
        path, annotation = by_key[item.key]
        picture = picture_of(path)
        annotation.require_size(picture.size)
        drawn = _drawn(root, path)
        return _masks(drawn, picture, known) if drawn else _boxes(annotation, picture, known)

    def note(item: Item) -> bytes:
        path, annotation = by_key[item.key]
        return annotation.text + "".join(fingerprint(one) for one in _drawn(root, path)).encode()

    return dataclasses.replace(annotated(dataset, note), regions=regions)


def _year(root: Path) -> Path:
    """The folder of one year, in or below `root`."""
    years = [place for above in (root, root / "VOCdevkit") for place in sorted(above.glob("VOC20[0-9][0-9]"))]
    if len(years) > 1 and not (root / "JPEGImages").is_dir():
        raise SalcheckError(f"'{root}' has {', '.join(year.name for year in years)}: name one of these folders")
    root = root if (root / "JPEGImages").is_dir() or not years else years[0]
    require_paths(root, ["JPEGImages", "Annotations", "ImageSets/Main/val.txt"], LAYOUT)
    return root


def _names(root: Path) -> list[str]:
    lists = root / "ImageSets" / "Main"
    test = lists / "test.txt"
    # The test lists of later years have no annotations, or only those of some tasks.
    chosen = test if "2007" in root.name and test.is_file() else lists / "val.txt"
    names = [line.split()[0] for line in read_text(chosen).splitlines() if line.strip()]
    if not names:
        raise SalcheckError(f"'{chosen}' is empty: the name of an image is expected on each line")
    return names


def _index(labels: Labels, name: str) -> int | None:
    index = labels.index(name)
    return labels.index(ALSO[name]) if index is None and name in ALSO else index


def _labels(annotation: Annotation, known: dict[str, int]) -> tuple[int, ...]:
    areas = [
        (known[_class(name, annotation.path)], max(0.0, x1 - x0 + 1) * max(0.0, y1 - y0 + 1))
        for name, (x0, y0, x1, y1) in annotation.objects
    ]
    return by_area(areas)


def _class(name: str, path: Path) -> str:
    if name not in CLASSES:
        raise SalcheckError(f"'{path}' has an object '{name[:40]}': VOC's classes are {', '.join(CLASSES)}")
    return name


def _boxes(annotation: Annotation, picture: Picture, known: dict[str, int]) -> list[Region]:
    return [
        Region(known[name], picture.box((x0 - 1, y0 - 1, x1, y1), f"'{annotation.path}'"))
        for name, (x0, y0, x1, y1) in annotation.objects
    ]


def _drawn(root: Path, image: Path) -> list[Path]:
    """The two files of an image's masks, or none where one of them is not there."""
    files = [root / folder / f"{image.stem}.png" for folder in MASKS]
    return files if all(file.is_file() for file in files) else []


def _masks(files: Sequence[Path], picture: Picture, known: dict[str, int]) -> list[Region]:
    """A mask for every object number, with the class that most of its pixels have."""
    objects, classes = (read_indices(file, picture) for file in files)
    found = []
    for number in np.unique(objects):
        if number in (NOTHING, VOID):
            continue
        mask = objects == number
        kind = int(np.bincount(classes[mask]).argmax())
        if not 1 <= kind <= len(CLASSES):
            raise SalcheckError(f"object {number} of '{files[0]}' has no class in '{files[1]}': 1 to 20 is expected")
        found.append(Region(known[CLASSES[kind - 1]], mask=picture.mask(mask)))
    return found
