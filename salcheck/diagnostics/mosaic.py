"""Mosaics: several photographs in one picture, each of another class; is the map for a class in the cell of its own?

The grid pointing game of Boehle et al., CVPR 2021, and Rao et al., CVPR 2022. Photographs that the model classifies
correctly and confidently are put together at random, no class twice; a photograph may be in several mosaics. One that
shows several classes stands for the likeliest, and no other in the mosaic shows any of them. With m(cell) the positive
mass of the upsampled map for a class:

    own = m(its own cell) / m(picture),    pointing = 1 where the maximum is in its own cell, else 0

Each is the mean over the classes. A map that is the same for all classes has an `own` of exactly one cell's share.

Departure from the papers: they feed a fully convolutional network a picture of `grid` times the size. Here each
photograph, as the model sees it, is scaled into its cell, so that the mosaic has the model's own input size, which
any model takes. The model sees smaller objects for it, and may no longer see some of the classes; `seen` says how many
it does. A mosaic counts as correctly classified where the likeliest class is any of its own (`--all-images`: it counts
in any case).
"""

import contextlib
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from salcheck.datasets import Dataset
from salcheck.datasets._mosaic import Tile, mosaics
from salcheck.diagnostics import Scores, scored
from salcheck.diagnostics._places import blanks, lying_on, own_and_other, pointing, positive
from salcheck.errors import SalcheckError
from salcheck.inputs.loader import batches
from salcheck.inputs.sample import draw, image_seed
from salcheck.inputs.truth import Truth
from salcheck.maps.ranking import ranked, upsample
from salcheck.network.model import Model
from salcheck.network.view import View
from salcheck.store.cache import atomic_write
from salcheck.store.provenance import versions

SPARE = 2  # times as many photographs as mosaics have cells: some share a class with all that are left
TRIES = 4  # draws for each mosaic that is asked for


def check(*, grid: int, confidence: float, **rest: object) -> None:
    if grid not in (2, 3):
        raise SalcheckError(f"grid={grid}: mosaics have 2 or 3 cells in a row")
    if not 0 <= confidence < 1:
        raise SalcheckError(f"confidence={confidence:g}: it is a probability, 0 or more and below 1")


def roles(*, grid: int, **rest: object) -> tuple[str, ...]:
    return tuple(f"label{i}" for i in range(1, grid**2 + 1))


def prepare(
    dataset: Dataset,
    model: Model,
    n: int,
    seed: int,
    batch_size: int,
    cache: Path,
    progress: Callable[[int, int], None],
    *,
    grid: int,
    confidence: float,
) -> Dataset:
    """At most n mosaics of the dataset's photographs, of which no more are shown to the model than it takes, and those
    once: which of them it is sure of is kept in the cache.

    Raises SalcheckError where too few are classified correctly with a probability of `confidence` or more.
    """
    wanted = SPARE * n * grid**2
    identity = json.dumps([versions(), model.identity, dataset.digest, wanted, seed, batch_size, confidence])
    place = cache / "mosaics" / f"{hashlib.sha256(identity.encode()).hexdigest()[:24]}.json"
    tiles = _kept(place, dataset)
    if tiles is None:
        tiles = _confident(dataset, model, wanted, seed, batch_size, progress, confidence)
        found = json.dumps([[tile.item.key, tile.label] for tile in tiles])
        with contextlib.suppress(OSError):  # then they are shown again the next time
            place.parent.mkdir(parents=True, exist_ok=True)
            atomic_write(place, lambda file: file.write(found.encode()))
    drawn = _draw(tiles, grid**2, n, seed)
    if not drawn:
        classes = len({tile.label for tile in tiles})
        raise SalcheckError(
            f"a mosaic takes {grid**2} photographs of as many classes, and of the {len(dataset)} there are only "
            f"{len(tiles)}, of {classes} classes, are classified correctly with a probability of {confidence:g} or "
            "more: give more photographs, or ask mosaic:confidence= for less"
        )
    return mosaics(dataset, drawn, model, grid)


def score(view: View, classes: Tensor, maps: Tensor, *, truth: Truth, grid: int = 2, confidence: float = 0.5) -> Scores:
    """`own`, `pointing`, `most`, `seen` and `chance`, each (B,) in 0...1; maps (B, grid * grid, h, w)."""
    cells = truth.masks(classes)
    own, other = own_and_other(lying_on(positive(maps, view.size), cells))
    likeliest = ranked(view.logits)[:, : classes.shape[1]]
    values = {
        "own": own,
        "pointing": pointing(upsample(maps, view.size), cells),
        "most": (own > other).float(),
        "seen": (classes[..., None] == likeliest[:, None]).any(-1).float(),
        "chance": cells.float().mean((-2, -1)),
    }
    return scored({name: value.mean(-1) for name, value in values.items()}, blanks(maps, view.size))


def _kept(place: Path, dataset: Dataset) -> list[Tile] | None:
    """What `_confident` found before, None where it is not there or no longer sound."""
    items = {item.key: item for item in dataset.items}
    try:
        kept = json.loads(place.read_text())
        return [Tile(items[key], int(label)) for key, label in kept] if isinstance(kept, list) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _confident(
    dataset: Dataset,
    model: Model,
    wanted: int,
    seed: int,
    batch_size: int,
    progress: Callable[[int, int], None],
    confidence: float,
) -> list[Tile]:
    """Photographs whose likeliest class is one of their labels, with that class, in the seed's order, until there are
    as many as are wanted. Those that cannot be read are passed over.
    """
    found: list[Tile] = []
    done, items = 0, draw([item for item in dataset.items if item.labels], len(dataset), seed)
    for chunk in batches(model, dataset, items, batch_size):
        if chunk.read:
            probable, top = model.logits(model.batch(chunk.tensors)).softmax(-1).max(-1)
            seen = zip(chunk.read, probable.tolist(), top.tolist(), strict=True)
            found += [Tile(item, u) for item, p, u in seen if u in item.labels and p >= confidence]
        done += len(chunk.items)
        progress(done, len(items))
        if len(found) >= wanted:
            break
    return found


def _draw(tiles: Sequence[Tile], cells: int, n: int, seed: int) -> list[tuple[Tile, ...]]:
    """At most n mosaics of `cells` photographs that have no label in common, each photograph in one mosaic at most."""
    left, found = list(tiles), list[tuple[Tile, ...]]()
    for i in range(TRIES * min(n, len(tiles))):
        order = np.random.default_rng(image_seed(seed, f"mosaic {i}")).permutation(len(left))
        mosaic = _apart([left[place] for place in order], cells)
        if len(mosaic) == cells:
            found.append(tuple(mosaic))
            left = [tile for tile in left if tile not in mosaic]
        if len(found) == n or len(left) < cells:
            break
    return found


def _apart(tiles: Sequence[Tile], count: int) -> list[Tile]:
    """The first `count` of these that share no label, or as many as there are."""
    kept: list[Tile] = []
    taken: set[int] = set()
    for tile in tiles:
        if not taken & set(tile.item.labels):
            kept.append(tile)
            taken |= set(tile.item.labels)
        if len(kept) == count:
            break
    return kept
