"""Drawn puppets with known parts: one figure of eight parts, and which of them tell two classes apart.

No photographs: every picture is computed from (seed, index). A class is a choice of outline for each part. Two classes
differ in exactly the parts whose outlines differ, one to eight of them; colours, size, place, pose, texture, light and
noise are random, and in one picture of twelve a part is missing.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from salcheck.datasets import Dataset, Item, Labels, Parts, Region
from salcheck.datasets import _drawing as drawing
from salcheck.datasets._drawing import SIZE, Array, Box, Depth, disk
from salcheck.errors import SalcheckError

COUNT = 2000
SEED_EVALUATION = 21  # the pictures of the dataset
SEED_TRAINING = 11  # the pictures that the built-in model has seen
EDITION = 1  # raise it when any pixel changes: maps cached for the older pictures then no longer count

RADIUS = (46.0, 57.0)  # of the whole figure, pixels
TILT = 25  # degrees that the figure leans to either side, at most
GROWTH = 1.1  # how much a part is larger or smaller than usual, at most
CONTRAST = 0.3  # least distance of a part's colour from the backgrounds' and the body's, in the unit cube
MISSING = 1 / 12


@dataclass(frozen=True)
class Puppet:
    """A picture and the parts in it.

    image: uint8 (SIZE, SIZE, 3). label: index into CLASSES. masks: bool (P, SIZE, SIZE) in the order of PARTS, the
    pixels that show the part; no two parts share one, and a part that is missing has none.
    """

    image: NDArray[np.uint8]
    label: int
    masks: NDArray[np.bool_]


def open_dataset(root: Path | None, labels: Labels, seed: int) -> Dataset:
    """2000 drawn figures, the exact pixels of each and of its eight parts; goes with --arch puppets.

    The pictures are the same whatever the run's `seed`: they come from SEED_EVALUATION, and those that the built-in
    model was trained on from SEED_TRAINING. Raises SalcheckError where a root is given or where the model does not know
    the classes.
    """
    if root is not None:
        raise SalcheckError(f"puppets are drawn, not read from '{root}': leave out --data")
    known = [_known(labels, name) for name in CLASSES]
    items = [_item(index, known) for index in range(COUNT)]
    return Dataset(
        "puppets", "", items, read, regions=regions, parts=Parts(PARTS, points, _differences(known, len(labels)))
    )


def read(item: Item) -> Image.Image:
    """The item's picture, RGB, SIZE x SIZE pixels."""
    return Image.fromarray(_of(item).image)


def part_masks(item: Item) -> NDArray[np.bool_]:
    """The pixels that show each part, bool (P, SIZE, SIZE) in the order of PARTS; none where it is missing."""
    return _of(item).masks


def points(item: Item) -> Array:
    """The middle of each part as `Parts.of` gives it, (P, 3): of the pixels that show the part and lie at least half
    as deep in it as any, the middle of the one nearest to their mean. Zeros where the part is missing.
    """
    found = np.zeros((len(PARTS), 3))
    for part, mask in enumerate(part_masks(item)):
        if mask.any():
            depth = ndimage.distance_transform_edt(mask)
            # Not at an edge: the body's middle is covered by the mark.
            places = np.argwhere(depth >= depth.max() / 2)[:, ::-1] + 0.5
            off = ((places - places.mean(0)) ** 2).sum(1)
            found[part] = *places[off.argmin()], 1
    return found


def regions(item: Item) -> list[Region]:
    """The whole figure, with its very pixels."""
    return [Region(item.labels[0], mask=np.logical_or.reduce(part_masks(item)))]


def draw(seed: int, index: int) -> Puppet:
    """Puppet number `index` of the stream `seed`; about 4 ms.

    Every (seed, index) has a random stream of its own: puppets can be drawn in any order.
    """
    rng = np.random.default_rng([seed, index])
    label = _class(rng)
    canvas, colours = drawing.backdrop(rng)
    light, noise = drawing.light(rng), drawing.noise(rng)
    pose, missing = _pose(rng), _missing(rng)
    masks = np.zeros((len(PARTS), SIZE, SIZE), dtype=bool)
    for part in _ORDER:
        if part == missing:
            continue
        outline = _PARTS[part].outlines[int(_CODES[CLASSES[label]][PARTS.index(part)])]
        box, cover = _cover(rng, _PARTS[part], outline, pose)
        colour = drawing.standing_out(rng, colours, CONTRAST)
        drawing.lay(rng, canvas, cover, colour, box)
        colours = np.vstack([colours, colour])
        masks[:, *box] &= cover < 0.5
        masks[PARTS.index(part), *box] = cover >= 0.5
    return Puppet(drawing.finished(canvas * light + noise), label, masks)


def _known(labels: Labels, name: str) -> int:
    index = labels.index(name)
    if index is None:
        raise SalcheckError(f"the model has no class '{name}': puppets go with --arch puppets (or give --data)")
    return index


def _item(index: int, known: Sequence[int]) -> Item:
    label = _class(np.random.default_rng([SEED_EVALUATION, index]))
    return Item(f"puppet-{index:05d}", (known[label],), f"edition-{EDITION}")


def _of(item: Item) -> Puppet:
    prefix, _, number = item.key.partition("-")
    if prefix != "puppet" or not number.isdecimal():
        raise SalcheckError(f"no puppet is called '{item.key}': they are puppet-00000 to puppet-{COUNT - 1:05d}")
    return draw(SEED_EVALUATION, int(number))


def _differences(known: Sequence[int], count: int) -> Array:
    """(N, N, P) for N = `count`: 1 where two classes have other outlines, else 0; NaN for other classes of the model.
    known: the model's index of each of CLASSES.
    """
    codes = np.array([list(_CODES[name]) for name in CLASSES])
    differences = np.full((count, count, len(PARTS)), np.nan)
    differences[np.ix_(known, known)] = codes[:, None] != codes
    return differences


# Random choices


@dataclass(frozen=True)
class _Pose:
    """Of the whole figure: its radius and middle (y, x) in pixels, how far it leans in radians."""

    radius: float
    centre: Array
    angle: float


def _class(rng: np.random.Generator) -> int:
    """The first thing in every stream: cheap without drawing."""
    return int(rng.integers(len(CLASSES)))


def _pose(rng: np.random.Generator) -> _Pose:
    radius = rng.uniform(*RADIUS)
    return _Pose(radius, radius + (SIZE - 2 * radius) * rng.random(2), math.radians(rng.uniform(-TILT, TILT)))


def _missing(rng: np.random.Generator) -> str | None:
    """The part that is left out, rarely one; never the body, which holds the others together."""
    part = rng.choice([part for part in PARTS if part != "body"])
    return str(part) if rng.random() < MISSING else None


def _cover(rng: np.random.Generator, part: "_Part", outline: Depth, pose: _Pose) -> tuple[Box, Array]:
    """The smallest box around the part, and how much of each of its pixels it covers, 0..1."""
    scale = pose.radius * rng.uniform(1 / GROWTH, GROWTH)
    angle = pose.angle + math.radians(part.angle + rng.uniform(-part.swing, part.swing))
    cos, sin = math.cos(pose.angle), math.sin(pose.angle)
    x, y = part.joint
    joint = pose.centre + pose.radius * np.array([sin * x + cos * y, cos * x - sin * y])
    box = drawing.box_around(joint, REACH * scale)
    down, right = drawing.pixels(box, joint)
    along = (math.cos(angle) * right + math.sin(angle) * down) / scale
    across = (math.cos(angle) * down - math.sin(angle) * right) / scale
    cover = np.clip(outline(along, across) * scale + 0.5, 0, 1)
    rows, columns = (np.flatnonzero(cover.any(axis)) for axis in (1, 0))
    inner = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    top, left = box[0].start, box[1].start
    return (slice(top + rows[0], top + rows[-1] + 1), slice(left + columns[0], left + columns[-1] + 1)), cover[inner]


# Outlines, in units of the figure's radius: every part grows along its own x from its joint, which lies at 0, 0.


def _at(outline: Depth, x: float, y: float, radius: float) -> Depth:
    return lambda along, across: outline((along - x) / radius, (across - y) / radius) * radius


def _line(half: float, *corners: tuple[float, float]) -> Depth:
    """A line of this half width through the corners, with round ends."""

    def depth(x: Array, y: Array) -> Array:
        nearest: Array = np.full(np.broadcast_shapes(x.shape, y.shape), np.inf)
        for (x0, y0), (x1, y1) in itertools.pairwise(corners):
            share = ((x - x0) * (x1 - x0) + (y - y0) * (y1 - y0)) / ((x1 - x0) ** 2 + (y1 - y0) ** 2)
            share = np.clip(share, 0, 1)
            nearest = np.minimum(nearest, np.hypot(x - x0 - share * (x1 - x0), y - y0 - share * (y1 - y0)))
        return half - nearest

    return depth


def _spike(base: float, tip: float, half: float, y: float = 0) -> Depth:
    """A triangle from its base, at x = `base` and `half` to either side of `y`, to its tip at x = `tip`."""
    length = tip - base

    def depth(along: Array, across: Array) -> Array:
        side = (half * (tip - along) / length - np.abs(across - y)) * length / math.hypot(length, half)
        return np.minimum(along - base, side)

    return depth


def _oval(x: float, length: float, width: float) -> Depth:
    """Half axes `length` along and `width` across."""
    return lambda along, across: disk((along - x) / length, across / width) * min(length, width)


def _any(*outlines: Depth) -> Depth:
    return lambda x, y: np.maximum.reduce([outline(x, y) for outline in outlines])


def _all(*outlines: Depth) -> Depth:
    return lambda x, y: np.minimum.reduce([outline(x, y) for outline in outlines])


@dataclass(frozen=True)
class _Part:
    """Where it is fixed to the figure (x to the right, y down), in which direction it grows (degrees from there to the
    right, clockwise), how far it swings to either side, and the outlines that it may have.
    """

    joint: tuple[float, float]
    angle: float
    swing: float
    outlines: Sequence[Depth]


_ARM = _line(0.06, (0, 0), (0.35, 0))
_PARTS = {
    "crest": _Part(
        (0, -0.6),
        -90,
        12,
        (
            _spike(-0.05, 0.4, 0.16),
            _any(_line(0.06, (0, -0.17), (0, 0.17)), *(_spike(0, 0.27, 0.09, y) for y in (-0.17, 0, 0.17))),
            _any(_line(0.04, (-0.05, 0), (0.2, 0)), _at(disk, 0.27, 0, 0.13)),
        ),
    ),
    "head": _Part((0, -0.2), -90, 12, (_oval(0.2, 0.23, 0.23), _line(0.13, (0.22, -0.2), (0.22, 0.2)))),
    "mark": _Part(
        (0, 0.17),
        -90,
        20,
        (_at(drawing.star, 0, 0, 0.19), _at(drawing.heart, 0, 0, 0.18), _at(drawing.cross, 0, 0, 0.19)),
    ),
    "body": _Part((0, 0.12), -90, 6, (_oval(0, 0.36, 0.34), _spike(-0.34, 0.5, 0.48))),
    "left arm": _Part(
        (-0.28, 0),
        190,
        20,
        (
            _any(_ARM, _at(disk, 0.42, 0, 0.16)),
            _any(_ARM, _line(0.045, (0.56, -0.19), (0.33, 0), (0.56, 0.19))),
            _any(_ARM, _line(0.08, (0.42, -0.2), (0.42, 0.2))),
        ),
    ),
    "right arm": _Part(
        (0.28, 0),
        -10,
        20,
        (_any(_ARM, _spike(0.28, 0.6, 0.17)), _any(_ARM, _at(drawing.crescent, 0.45, 0, 0.2))),
    ),
    "foot": _Part(
        (0, 0.42),
        90,
        8,
        (
            _at(drawing.ring, 0.28, 0, 0.25),
            _any(_line(0.06, (0, -0.1), (0.48, -0.18)), _line(0.06, (0, 0.1), (0.48, 0.18))),
            _any(_line(0.06, (0, 0), (0.3, 0)), _all(_at(disk, 0.2, 0, 0.3), lambda x, y: x - 0.28)),
        ),
    ),
    "tail": _Part(
        (0.24, 0.34),
        35,
        12,
        (
            _line(0.05, (0, 0), (0.2, 0.13), (0.32, -0.12), (0.56, 0.05)),
            _all(_at(disk, 0.3, 0.2, 0.34), _at(disk, 0.3, -0.2, 0.34)),
        ),
    ),
}
REACH = 0.75  # from its joint no part is longer
PARTS = tuple(_PARTS)
_ORDER = ("body", "tail", "left arm", "right arm", "foot", "mark", "crest", "head")  # each over those before it

# Which of its outlines each class has of each of PARTS. Neighbours from alf to eli, and from fay to jed, differ in one
# part, each pair in another; the two families in four and more.
_CODES = {
    "alf": "00000000",
    "bea": "10000000",
    "cid": "10100000",
    "dot": "10101000",
    "eli": "10101010",
    "fay": "20202020",
    "gus": "21202020",
    "hal": "21212020",
    "ivy": "21212120",
    "jed": "21212121",
}
CLASSES = tuple(_CODES)
