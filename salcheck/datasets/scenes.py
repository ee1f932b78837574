"""Drawn scenes with known answers: one or two objects of ten shapes, and the exact pixels of each.

No photographs: every picture is computed from (seed, index). Only the outline tells the class; colour, size,
place, rotation, texture, light and noise are random.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from salcheck.datasets import Dataset, Item, Labels, Region
from salcheck.datasets import _drawing as drawing
from salcheck.datasets._drawing import SIZE, Array, Box, Depth
from salcheck.errors import SalcheckError

COUNT = 2000
SEED_EVALUATION = 20  # the pictures of the dataset
SEED_TRAINING = 10  # the pictures that the built-in model has seen
EDITION = 1  # raise it when any pixel changes: maps cached for the older pictures then no longer count

AREA = (0.042, 0.10)  # of the picture; two larger objects could not always be set apart
STRETCH = 1.07
MARGIN = 2.0  # pixels between an object and the border or another object
CONTRAST = 0.3  # least distance between the colours of an object and of both backgrounds, in the unit cube


@dataclass(frozen=True)
class Scene:
    """A picture and what is in it, the larger object first.

    image: uint8 (SIZE, SIZE, 3). classes: n indices into CLASSES, all different.
    masks: bool (n, SIZE, SIZE), the pixels of which the object covers half or more.
    """

    image: NDArray[np.uint8]
    classes: tuple[int, ...]
    masks: NDArray[np.bool_]


def open_dataset(root: Path | None, labels: Labels, seed: int) -> Dataset:
    """2000 drawn pictures with two objects each, and the exact pixels of both; goes with --arch scenes.

    The pictures are the same whatever the run's `seed`: they come from SEED_EVALUATION, and those that the
    built-in model was trained on from SEED_TRAINING. An item's labels are its two classes, the larger object's
    first. Raises SalcheckError where a root is given or where the model does not know the classes.
    """
    if root is not None:
        raise SalcheckError(f"scenes are drawn, not read from '{root}': leave out --data")
    known = [_known(labels, name) for name in CLASSES]
    return Dataset("scenes", "", [_item(index, known) for index in range(COUNT)], read, regions=regions)


def read(item: Item) -> Image.Image:
    """The item's picture, RGB, SIZE x SIZE pixels."""
    return Image.fromarray(draw(SEED_EVALUATION, _index(item)).image)


def masks(item: Item) -> NDArray[np.bool_]:
    """The pixels of the item's two objects, bool (2, SIZE, SIZE), in the order of its labels."""
    return draw(SEED_EVALUATION, _index(item)).masks


def regions(item: Item) -> list[Region]:
    """The item's two objects, each with its very pixels."""
    return [Region(label, mask=mask) for label, mask in zip(item.labels, masks(item), strict=True)]


def draw(seed: int, index: int, objects: int = 2) -> Scene:
    """Scene number `index` of the stream `seed`, with one or two objects; about 2 ms.

    Every (seed, index, objects) has a random stream of its own: scenes can be drawn in any order.
    """
    rng = np.random.default_rng([seed, index, objects])
    classes, areas = _plan(rng, objects)
    canvas, colours = drawing.backdrop(rng)
    light, noise = drawing.light(rng), drawing.noise(rng)
    outlines = [_OUTLINES[CLASSES[label]] for label in classes]
    radii = [SIZE * math.sqrt(area / (math.pi * fill)) for area, (_, fill) in zip(areas, outlines, strict=True)]
    centres = _centres(rng, np.array(radii) * STRETCH + MARGIN)
    covers = np.zeros((objects, SIZE, SIZE))
    for cover, (depth, _), radius, centre in zip(covers, outlines, radii, centres, strict=True):
        box = drawing.box_around(centre, radius * STRETCH)
        cover[box] = _cover(rng, depth, radius, centre, box)
        _paint(rng, canvas, cover, colours, box)
    return Scene(drawing.finished(canvas * light + noise), classes, covers >= 0.5)


def _known(labels: Labels, name: str) -> int:
    index = labels.index(name)
    if index is None:
        raise SalcheckError(f"the model has no class '{name}': scenes go with --arch scenes (or give --data)")
    return index


def _item(index: int, known: list[int]) -> Item:
    classes, _ = _plan(np.random.default_rng([SEED_EVALUATION, index, 2]), 2)
    return Item(f"scene-{index:05d}", tuple(known[label] for label in classes), f"edition-{EDITION}")


def _index(item: Item) -> int:
    prefix, _, number = item.key.partition("-")
    if prefix != "scene" or not number.isdecimal():
        raise SalcheckError(f"no scene is called '{item.key}': they are scene-00000 to scene-{COUNT - 1:05d}")
    return int(number)


def _plan(rng: np.random.Generator, objects: int) -> tuple[tuple[int, ...], list[float]]:
    """Classes and areas (shares of the picture), the first thing in every stream: cheap without drawing."""
    least, most = AREA
    first = int(rng.integers(len(CLASSES)))
    if objects == 1:
        return (first,), [rng.uniform(least, most)]
    second = (first + 1 + int(rng.integers(len(CLASSES) - 1))) % len(CLASSES)
    larger = rng.uniform(least / 0.8, most)
    # A clear difference, so that rasterising never turns the order.
    return (first, second), [larger, rng.uniform(least, 0.87 * larger)]


def _centres(rng: np.random.Generator, radii: Array) -> Array:
    """Centres (n, 2) of circles that lie within the picture and apart."""
    places = radii[:, None] + (SIZE - 2 * radii[:, None]) * rng.random((64, len(radii), 2))
    if len(radii) == 1:
        return places[0]
    apart = np.hypot(*(places[:, 0] - places[:, 1]).T) > radii.sum()
    if apart.any():
        return places[apart.argmax()]
    return np.array([[radii[0]] * 2, [SIZE - radii[1]] * 2])  # opposite corners are always far enough apart


def _paint(rng: np.random.Generator, canvas: Array, cover: Array, backs: Array, box: Box) -> None:
    """Lay an object with a colour of its own over the canvas, in place, where `cover` (SIZE, SIZE) says."""
    drawing.lay(rng, canvas, cover[box], drawing.standing_out(rng, backs, CONTRAST), box)


def _cover(rng: np.random.Generator, depth: Depth, radius: float, centre: Array, box: Box) -> Array:
    """How much of each pixel in the box the object covers, 0..1: turned and slightly stretched at random."""
    angle, stretch = rng.uniform(0, 2 * math.pi), rng.uniform(1 / STRETCH, STRETCH)
    down, right = drawing.pixels(box, centre)
    x = (math.cos(angle) * right + math.sin(angle) * down) / (radius * stretch)
    y = (math.cos(angle) * down - math.sin(angle) * right) * (stretch / radius)
    return np.clip(depth(x, y) * radius + 0.5, 0, 1)


def _frame(x: Array, y: Array) -> Array:
    inside = drawing.square(x, y)
    return np.minimum(inside, 0.5 * math.sqrt(0.5) - inside)


def _arrow(x: Array, y: Array) -> Array:
    y = np.abs(y)
    head = np.minimum(x, (0.85 * (1 - x) - y) / math.hypot(0.85, 1))
    shaft = np.minimum(0.33 - y, np.minimum(x + 0.94, 0.1 - x))
    return np.maximum(head, shaft)


# Each outline with the share of its circumscribed circle that it fills.
_OUTLINES: dict[str, tuple[Depth, float]] = {
    "disk": (drawing.disk, 1.0),
    "ring": (drawing.ring, 0.698),
    "crescent": (drawing.crescent, 0.53),
    "square": (drawing.square, 0.637),
    "frame": (_frame, 0.477),
    "cross": (drawing.cross, 0.614),
    "triangle": (drawing.triangle, 0.414),
    "star": (drawing.star, 0.551),
    "heart": (drawing.heart, 0.709),
    "arrow": (_arrow, 0.469),
}
CLASSES = tuple(_OUTLINES)
