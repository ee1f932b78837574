"""Mosaics: several photographs in one picture, each of another class; is the map for a class in the cell of its own?

The grid pointing game of Boehle et al., CVPR 2021, and Rao et al., CVPR 2022. Photographs that the model classifies
correctly and confidently are put together in a random order, no class twice, each photograph in one mosaic. One that
shows several classes stands for the likeliest, and no other in the mosaic shows any of them. With m(cell) the positive
mass of the upsampled map for a class:

    own = m(its own cell) / m(picture),    pointing = 1 where the maximum is in its own cell, else 0

Each is the mean over the classes. A map that is the same for all classes has an `own` of exactly one cell's share.

Departure from the papers: they feed a fully convolutional network a picture of `grid` times the size. Here each
photograph, as the model sees it, is scaled into its cell, so that the mosaic has the model's own input size, which
any model takes. The model sees smaller objects for it, and may no longer see some of the classes; `seen` says how many
it does. A mosaic counts as correctly classified where the likeliest class is any of its own (`--all-images`: it counts
in any case).

No class is in a mosaic twice, so a model of few classes fills fewer rows: `grid` photographs stand in a row, and there
are as many rows, up to `grid`, as there are classes for. So two classes, or three, have mosaics of 1 x 2 cells (of
three classes each shows two), and `grid=3` has 1 x 3 of three to five classes. The photographs are no larger and no
other in shape for it: above and below them the cells are of the mean colour. Cells still fill the picture and are all
of one size. Where a mosaic shows all classes of the model, `seen` is always 1.
"""

import contextlib
import hashlib
import itertools
import json
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from torch import Tensor

from salcheck.datasets import Dataset
from salcheck.diagnostics import Scores, scored
from salcheck.diagnostics._places import blanks, lying_on, own_and_other, pointing, positive
from salcheck.errors import SalcheckError
from salcheck.inputs.loader import Chunk, batches
from salcheck.inputs.mosaics import Tile, mosaics
from salcheck.inputs.sample import draw
from salcheck.inputs.truth import Truth
from salcheck.maps.ranking import ranked, upsample
from salcheck.naming.files import read_file
from salcheck.naming.roles import Role
from salcheck.network.model import Model
from salcheck.network.view import View
from salcheck.store.cache import atomic_write
from salcheck.store.provenance import code_of

CONFIDENT = True  # it shows photographs that the model is sure of


def check(*, grid: int, confidence: float, **rest: object) -> None:
    if grid not in (2, 3):
        raise SalcheckError(f"grid={grid}: mosaics have 2 or 3 cells in a row")
    if not 0 <= confidence < 1:
        raise SalcheckError(f"confidence={confidence:g}: it is a probability, 0 or more and below 1")


def roles(*, grid: int, **rest: object) -> tuple[Role, ...]:
    return tuple(Role("label", place) for place in range(1, grid**2 + 1))


def roles_for(N: int, *, grid: int, **rest: object) -> tuple[Role, ...]:
    """As many as a model of N classes has cells for; raises SalcheckError where it does not fill a row."""
    rows = min(grid, N // grid)
    if rows < 1:
        few = "a mosaic shows two classes or more" if N < 2 else f"grid={grid} shows {grid} or more: take grid={N}"
        raise SalcheckError(f"mosaic cannot be asked of a model of {N} class(es): {few}")
    return roles(grid=grid)[: rows * grid]


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
    """At most n mosaics of the dataset's photographs. These are shown to the model until there are enough, each only
    once: the cache keeps those that it is sure of.

    Raises SalcheckError where too few are classified correctly with a probability of `confidence` or more.
    """
    if not any(item.labels for item in dataset.items):
        why = dataset.notes[0] if dataset.notes else "give class folders"
        raise SalcheckError(f"a mosaic is made of photographs with known classes: {why}")
    sure = _Sure(dataset, model, seed, batch_size, confidence, cache, progress)
    cells = len(roles_for(len(model.labels), grid=grid))
    drawn = list(itertools.islice(_draw(sure, cells), n))
    sure.keep()
    if not drawn:
        count, classes = len(sure.found), len({tile.label for tile in sure.found})
        less = ", or ask mosaic:confidence= for less" if confidence > 1 / len(model.labels) else ""
        raise SalcheckError(
            f"a mosaic takes {cells} photographs of as many classes, and of the {len(dataset)} there are only "
            f"{count}, of {classes} classes, are classified correctly with a probability of {confidence:g} or "
            f"more: give more photographs{less}"
        )
    return mosaics(dataset, drawn, model, grid, f"{model.identity} {seed} {confidence:g} {code_of(Path(__file__))}")


def score(view: View, classes: Tensor, maps: Tensor, *, truth: Truth, grid: int = 2, confidence: float = 0.5) -> Scores:
    """`own`, `pointing`, `most`, `seen` and `chance`, each (B,) in 0...1; maps (B, cells, h, w)."""
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


class _Sure:
    """Photographs whose likeliest class is one of their labels, with that class, in the seed's order.

    They are shown to the model as far as they are asked for, and those once: how far that was, and what was `found`, is
    kept in the cache. Those that cannot be read are passed over.
    """

    def __init__(
        self,
        dataset: Dataset,
        model: Model,
        seed: int,
        batch_size: int,
        confidence: float,
        cache: Path,
        progress: Callable[[int, int], None],
    ):
        self._items = draw([item for item in dataset.items if item.labels], len(dataset), seed)
        self._dataset, self._model, self._batch_size = dataset, model, batch_size
        self._confidence, self._progress = confidence, progress
        identity = json.dumps([code_of(Path(__file__)), model.identity, dataset.digest, seed, confidence])
        self._place = cache / "mosaics" / f"{hashlib.sha256(identity.encode()).hexdigest()[:24]}.json"
        self._shown, self.found = self._kept()

    def __iter__(self) -> Iterator[Tile]:
        yield from list(self.found)
        for chunk in batches(self._model, self._dataset, self._items[self._shown :], self._batch_size):
            new = self._of(chunk)
            self.found += new
            self._shown += len(chunk.items)
            self._progress(self._shown, len(self._items))
            yield from new

    def _of(self, chunk: Chunk) -> list[Tile]:
        if not chunk.read:
            return []
        scores = self._model.logits(self._model.batch(chunk.tensors))
        probable, top = self._model.outputs.confidences(scores).max(-1)
        seen = zip(chunk.read, probable.tolist(), top.tolist(), strict=True)
        return [Tile(item, u) for item, p, u in seen if u in item.labels and p >= self._confidence]

    def keep(self) -> None:
        """For the next time."""
        found = self._signed([self._shown, [[tile.item.key, tile.label] for tile in self.found]])
        with contextlib.suppress(OSError):  # then they are shown again the next time
            self._place.parent.mkdir(parents=True, exist_ok=True)
            atomic_write(self._place, lambda file: file.write(found.encode()))

    def _kept(self) -> tuple[int, list[Tile]]:
        """What was found before; nothing where it is not there or no longer sound."""
        items = {item.key: item for item in self._dataset.items}
        try:
            text = read_file(self._place).decode()
            shown, kept = json.loads(text)[1]
            if text != self._signed([shown, kept]):
                return 0, []
            return int(shown), [Tile(items[key], int(label)) for key, label in kept]
        except (OSError, ValueError, LookupError, TypeError):
            return 0, []

    def _signed(self, content: list[Any]) -> str:
        """The content with a checksum of it and of whose it is."""
        text = json.dumps(content)
        return json.dumps([zlib.crc32(f"{self._place.name} {text}".encode()), content])


def _draw(sure: Iterable[Tile], cells: int) -> Iterator[tuple[Tile, ...]]:
    """Mosaics of `cells` photographs that have no label in common, each photograph in one mosaic at most.

    A photograph goes into the first mosaic that has room for it and shows none of its classes; so how many mosaics are
    asked for decides none of them.
    """
    begun: list[list[Tile]] = []
    for tile in sure:
        fitting = (mosaic for mosaic in begun if not any(set(tile.item.labels) & set(t.item.labels) for t in mosaic))
        mosaic = next(fitting, None)
        if mosaic is None:
            begun.append(mosaic := [])
        mosaic.append(tile)
        if len(mosaic) == cells:
            begun = [one for one in begun if one is not mosaic]
            yield tuple(mosaic)
