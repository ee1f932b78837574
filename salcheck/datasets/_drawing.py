"""What drawn datasets share: surfaces, light, noise, and outlines laid over them.

Pictures are SIZE x SIZE. Colours are in 0..1; planes come first, (3, h, w), which numpy is quicker with. Every random
number comes from the generator that is given, in a fixed order: another order is another picture.
"""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

SIZE = 128

Array = NDArray[np.float64]  # double precision, so that other machines' last bits never reach a pixel
Box = tuple[slice, slice]
Depth = Callable[[Array, Array], Array]  # how deep points x, y lie within an outline, negative outside

_PLACES = (np.arange(SIZE) + 0.5) / SIZE
_WHOLE = (slice(0, SIZE), slice(0, SIZE))


def box_around(centre: Array, radius: float) -> Box:
    """Rows and columns of the picture that a circle around (y, x) may touch."""
    low, high = np.floor(centre - radius - 1), np.ceil(centre + radius + 1)
    top, left = (max(0, int(value)) for value in low)
    bottom, right = (min(SIZE, int(value)) for value in high)
    return slice(top, bottom), slice(left, right)


def pixels(box: Box, centre: Array) -> tuple[Array, Array]:
    """How far the middles of the box's pixels lie down (h, 1) and right (1, w) of a place (y, x)."""
    down = (np.arange(box[0].start, box[0].stop) + 0.5 - centre[0])[:, None]
    right = (np.arange(box[1].start, box[1].stop) + 0.5 - centre[1])[None, :]
    return down, right


# Surfaces


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


def _ramp(rng: np.random.Generator, box: Box = _WHOLE) -> Array:
    """A plane that rises by about one over the picture, 0 in its middle, in a random direction."""
    angle = rng.uniform(0, 2 * math.pi)
    down, right = math.sin(angle) * (_PLACES[box[0]] - 0.5), math.cos(angle) * (_PLACES[box[1]] - 0.5)
    return down[:, None] + right[None, :]


def texture(rng: np.random.Generator, colour: Array, box: Box = _WHOLE) -> Array:
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


def backdrop(rng: np.random.Generator) -> tuple[Array, Array]:
    """Two textures (3, SIZE, SIZE) that meet along a wavy line, and their colours (2, 3)."""
    colours = rng.uniform(0.1, 0.9, (2, 3))
    height = _ramp(rng) + rng.uniform(-0.4, 0.4) + 0.1 * _clouds(rng)
    share = np.clip(height * rng.choice([4.0, 30.0, 100.0]) + 0.5, 0, 1)
    under, over = texture(rng, colours[0]), texture(rng, colours[1])
    return under + share * (over - under), colours


def standing_out(rng: np.random.Generator, backs: Array, contrast: float) -> Array:
    """A random colour (3,) at least `contrast` away from all of `backs` (n, 3), in the unit cube, if one is found."""
    colours = rng.uniform(0.05, 0.95, (16, 3))
    distance = np.sqrt(((colours[:, None] - backs) ** 2).sum(-1)).min(-1)
    # The first that stands out, else the one that does most.
    return colours[(distance > contrast).argmax() if distance.max() > contrast else distance.argmax()]


def lay(rng: np.random.Generator, canvas: Array, cover: Array, colour: Array, box: Box) -> None:
    """Paint a surface of this colour over the canvas, in place, as far as `cover` (h, w) covers the box's pixels."""
    part = canvas[:, *box]
    part += cover * (texture(rng, colour, box) - part)


def light(rng: np.random.Generator) -> Array:
    """What to multiply a picture by, (SIZE, SIZE)."""
    return rng.uniform(0.85, 1.1) + rng.uniform(0, 0.5) * _ramp(rng)


def noise(rng: np.random.Generator) -> Array:
    """What to add to a picture, (3, SIZE, SIZE)."""
    grain = rng.integers(-128, 128, (3, SIZE, SIZE), dtype=np.int8)
    return grain.astype(np.float64) * (rng.uniform(0.01, 0.08) / 128)


def finished(canvas: Array) -> NDArray[np.uint8]:
    """The canvas (3, SIZE, SIZE) as a picture (SIZE, SIZE, 3)."""
    image = (np.clip(canvas, 0, 1) * 255 + 0.5).astype(np.uint8)
    return np.ascontiguousarray(image.transpose(1, 2, 0))


# Outlines: how deep a point lies within, in units of the circumscribed circle.


def disk(x: Array, y: Array) -> Array:
    return 1 - np.sqrt(x * x + y * y)


def ring(x: Array, y: Array) -> Array:
    distance = np.sqrt(x * x + y * y)
    return np.minimum(1 - distance, distance - 0.55)


def crescent(x: Array, y: Array) -> Array:
    return np.minimum(disk(x, y), np.sqrt((x - 0.5) ** 2 + y * y) - 0.75)


def square(x: Array, y: Array) -> Array:
    return math.sqrt(0.5) - np.maximum(np.abs(x), np.abs(y))


def cross(x: Array, y: Array) -> Array:
    x, y = np.abs(x), np.abs(y)
    return np.minimum(0.954 - np.maximum(x, y), 0.3 - np.minimum(x, y))


def triangle(x: Array, y: Array) -> Array:
    return 0.5 - np.maximum(y, math.sqrt(0.75) * np.abs(x) - 0.5 * y)


def star(x: Array, y: Array) -> Array:
    return np.maximum(triangle(x, y), triangle(x, -y))


def heart(x: Array, y: Array) -> Array:
    x, y = np.abs(x), y + 0.1975
    lobe = 0.5586 - np.sqrt((x - 0.395) ** 2 + (y - 0.395) ** 2)
    return np.maximum((0.79 - x - np.abs(y)) * math.sqrt(0.5), lobe)
