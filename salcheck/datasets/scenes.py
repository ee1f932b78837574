"""Drawn scenes with known answers: one or two objects of ten shapes, and the exact pixels of each.

No photographs: every picture is computed from (seed, index). Only the outline tells the class; colour, size,
place, rotation, texture, light and noise are random.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from salcheck.datasets import Dataset, Item, Labels, Region
from salcheck.errors import SalcheckError

SIZE = 128
COUNT = 2000
SEED_EVALUATION = 20  # the pictures of the dataset
SEED_TRAINING = 10  # the pictures that the built-in model has seen
EDITION = 1  # raise it when any pixel changes: maps cached for the older pictures then no longer count

Array = NDArray[np.float64]  # double precision, so that other machines' last bits never reach a pixel
Box = tuple[slice, slice]

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
    backdrop, colours = _backdrop(rng)
    light, noise = _light(rng), _noise(rng)
    outlines = [_OUTLINES[CLASSES[label]] for label in classes]
    radii = [SIZE * math.sqrt(area / (math.pi * fill)) for area, (_, fill) in zip(areas, outlines, strict=True)]
    centres = _centres(rng, np.array(radii) * STRETCH + MARGIN)
    covers = np.zeros((objects, SIZE, SIZE))
    for cover, (depth, _), radius, centre in zip(covers, outlines, radii, centres, strict=True):
        box = _box(centre, radius * STRETCH)
        cover[box] = _cover(rng, depth, radius, centre, box)
        _paint(rng, backdrop, cover, colours, box)
    image = (np.clip(backdrop * light + noise, 0, 1) * 255 + 0.5).astype(np.uint8)
    return Scene(np.ascontiguousarray(image.transpose(1, 2, 0)), classes, covers >= 0.5)


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


def _box(centre: Array, radius: float) -> Box:
    low, high = np.floor(centre - radius - 1), np.ceil(centre + radius + 1)
    top, left = (max(0, int(value)) for value in low)
    bottom, right = (min(SIZE, int(value)) for value in high)
    return slice(top, bottom), slice(left, right)


# Surfaces: textures, light, noise. Colours are in 0..1; planes come first, (3, h, w), which numpy is quicker with.

_PLACES = (np.arange(SIZE) + 0.5) / SIZE
_WHOLE = (slice(0, SIZE), slice(0, SIZE))


def _smooth(knots: int) -> Array:
    """Weights (SIZE, knots) that spread values at evenly spaced knots smoothly over all pixels."""
    near = np.maximum(0, 1 - np.abs(_PLACES[:, None] * (knots - 1) - np.arange(knots)))
    return near * near * (3 - 2 * near)


_OCTAVES = tuple(_smooth(knots) for knots in (4, 9, 20, 45))


def _clouds(rng: np.random.Generator, box: Box = _WHOLE) -> Array:
    """Smooth noise of several scales within the box, about -1..1."""
    persistence = rng.uniform(0.35, 0.8)
    field = np.zeros((box[0].stop - box[0].start, box[1].stop - box[1].start))
    for octave, weights in enumerate(_OCTAVES):
        knots = rng.uniform(-1, 1, (weights.shape[1], weights.shape[1]))
        field += persistence**octave * (weights[box[0]] @ knots @ weights[box[1]].T)
    return field * (1 - persistence) * 1.7


def _texture(rng: np.random.Generator, colour: Array, box: Box = _WHOLE) -> Array:
    """A surface (3, h, w) around `colour`: cloudy, veined or striped, never flat."""
    clouds = _clouds(rng, box)
    kind = rng.integers(3)
    if kind == 1:
        clouds = 1 - 3 * np.abs(clouds)
    if kind == 2:
        wave = _ramp(rng, box) * rng.uniform(6, 16) + clouds
        clouds = 2 * np.abs(wave - 2 * np.round(wave / 2)) - 1 + 0.5 * clouds
    tint = rng.uniform(0.05, 0.2) * rng.uniform(0.6, 1.2, 3)
    return colour[:, None, None] + clouds * tint[:, None, None]


def _ramp(rng: np.random.Generator, box: Box = _WHOLE) -> Array:
    """A plane that rises by about one over the picture, 0 in its middle, in a random direction."""
    angle = rng.uniform(0, 2 * math.pi)
    down, right = math.sin(angle) * (_PLACES[box[0]] - 0.5), math.cos(angle) * (_PLACES[box[1]] - 0.5)
    return down[:, None] + right[None, :]


def _backdrop(rng: np.random.Generator) -> tuple[Array, Array]:
    """Two textures (3, SIZE, SIZE) that meet along a wavy line, and their colours (2, 3)."""
    colours = rng.uniform(0.1, 0.9, (2, 3))
    height = _ramp(rng) + rng.uniform(-0.4, 0.4) + 0.1 * _clouds(rng)
    share = np.clip(height * rng.choice([4.0, 30.0, 100.0]) + 0.5, 0, 1)
    under, over = _texture(rng, colours[0]), _texture(rng, colours[1])
    return under + share * (over - under), colours


def _light(rng: np.random.Generator) -> Array:
    return rng.uniform(0.85, 1.1) + rng.uniform(0, 0.5) * _ramp(rng)


def _noise(rng: np.random.Generator) -> Array:
    grain = rng.integers(-128, 128, (3, SIZE, SIZE), dtype=np.int8)
    return grain.astype(np.float64) * (rng.uniform(0.01, 0.08) / 128)


def _paint(rng: np.random.Generator, canvas: Array, cover: Array, backs: Array, box: Box) -> None:
    """Lay an object with a colour of its own over the canvas, in place, where `cover` (SIZE, SIZE) says."""
    colours = rng.uniform(0.05, 0.95, (16, 3))
    distance = np.sqrt(((colours[:, None] - backs) ** 2).sum(-1)).min(-1)
    # The first that stands out, else the one that does most.
    chosen = colours[(distance > CONTRAST).argmax() if distance.max() > CONTRAST else distance.argmax()]
    part = canvas[:, *box]
    part += cover[box] * (_texture(rng, chosen, box) - part)


# Outlines: how deep a point lies within the shape (negative outside), in units of the circumscribed circle.


def _cover(rng: np.random.Generator, depth: "Depth", radius: float, centre: Array, box: Box) -> Array:
    """How much of each pixel in the box the object covers, 0..1: turned and slightly stretched at random."""
    angle, stretch = rng.uniform(0, 2 * math.pi), rng.uniform(1 / STRETCH, STRETCH)
    down = (np.arange(box[0].start, box[0].stop) + 0.5 - centre[0])[:, None]
    right = (np.arange(box[1].start, box[1].stop) + 0.5 - centre[1])[None, :]
    x = (math.cos(angle) * right + math.sin(angle) * down) / (radius * stretch)
    y = (math.cos(angle) * down - math.sin(angle) * right) * (stretch / radius)
    return np.clip(depth(x, y) * radius + 0.5, 0, 1)


Depth = Callable[[Array, Array], Array]


def _disk(x: Array, y: Array) -> Array:
    return 1 - np.sqrt(x * x + y * y)


def _ring(x: Array, y: Array) -> Array:
    distance = np.sqrt(x * x + y * y)
    return np.minimum(1 - distance, distance - 0.55)


def _crescent(x: Array, y: Array) -> Array:
    return np.minimum(_disk(x, y), np.sqrt((x - 0.5) ** 2 + y * y) - 0.75)


def _square(x: Array, y: Array) -> Array:
    return math.sqrt(0.5) - np.maximum(np.abs(x), np.abs(y))


def _frame(x: Array, y: Array) -> Array:
    inside = _square(x, y)
    return np.minimum(inside, 0.5 * math.sqrt(0.5) - inside)


def _cross(x: Array, y: Array) -> Array:
    x, y = np.abs(x), np.abs(y)
    return np.minimum(0.954 - np.maximum(x, y), 0.3 - np.minimum(x, y))


def _triangle(x: Array, y: Array) -> Array:
    return 0.5 - np.maximum(y, math.sqrt(0.75) * np.abs(x) - 0.5 * y)


def _star(x: Array, y: Array) -> Array:
    return np.maximum(_triangle(x, y), _triangle(x, -y))


def _heart(x: Array, y: Array) -> Array:
    x, y = np.abs(x), y + 0.1975
    lobe = 0.5586 - np.sqrt((x - 0.395) ** 2 + (y - 0.395) ** 2)
    return np.maximum((0.79 - x - np.abs(y)) * math.sqrt(0.5), lobe)


def _arrow(x: Array, y: Array) -> Array:
    y = np.abs(y)
    head = np.minimum(x, (0.85 * (1 - x) - y) / math.hypot(0.85, 1))
    shaft = np.minimum(0.33 - y, np.minimum(x + 0.94, 0.1 - x))
    return np.maximum(head, shaft)


# Each outline with the share of its circumscribed circle that it fills.
_OUTLINES: dict[str, tuple[Depth, float]] = {
    "disk": (_disk, 1.0),
    "ring": (_ring, 0.698),
    "crescent": (_crescent, 0.53),
    "square": (_square, 0.637),
    "frame": (_frame, 0.477),
    "cross": (_cross, 0.614),
    "triangle": (_triangle, 0.414),
    "star": (_star, 0.551),
    "heart": (_heart, 0.709),
    "arrow": (_arrow, 0.469),
}
CLASSES = tuple(_OUTLINES)
