"""Images of a dataset, decoded ahead of the model, in chunks that are the same in every run."""

import itertools
import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TypeVar

from torch import Tensor

from salcheck.datasets import Dataset, Item
from salcheck.errors import SalcheckError
from salcheck.network.model import Model

T = TypeVar("T")
Loaded = tuple[Tensor, tuple[int, int]]  # a transformed image, and the width and height that it had
AHEAD = 2  # chunks in memory beside the one being worked on


@dataclass(frozen=True)
class Chunk:
    """Up to `batch size` items: those that could be `read`, with their tensors (3, H, W) and the sizes (width, height)
    that they had, and why not the others.
    """

    items: Sequence[Item]
    read: list[Item]
    tensors: list[Tensor]
    sizes: list[tuple[int, int]]
    failures: dict[str, SalcheckError]

    def only(self, rows: Sequence[int]) -> "Chunk":
        """Some of the images that were read; their tensors and sizes, where these are there."""
        return replace(
            self,
            read=[self.read[row] for row in rows],
            tensors=[self.tensors[row] for row in rows if self.tensors],
            sizes=[self.sizes[row] for row in rows if self.sizes],
            failures={},
        )

    def halves(self) -> list["Chunk"]:
        """The images that were read, in two parts."""
        places = range(len(self.read))
        return [self.only(part) for part in (places[: len(places) // 2], places[len(places) // 2 :])]


def batches(model: Model, dataset: Dataset, items: Sequence[Item], size: int) -> Iterator[Chunk]:
    """`items` in order, `size` at a time. Memory does not grow with their number."""
    groups = (items[start : start + size] for start in range(0, len(items), size))
    return (chunk for _, chunk in ahead(model, dataset, ((None, group) for group in groups)))


def ahead(model: Model, dataset: Dataset, groups: Iterable[tuple[T, Sequence[Item]]]) -> Iterator[tuple[T, Chunk]]:
    """Each group's tag and its decoded images, read by threads while the caller is busy.

    Decoders let go of Python's lock, so threads are enough.
    """
    pool = ThreadPoolExecutor(min(8, os.cpu_count() or 1))
    waiting: deque[tuple[T, Sequence[Item], list[Future[Loaded]]]] = deque()
    todo = iter(groups)

    def submit(count: int) -> None:
        for tag, items in itertools.islice(todo, count):
            waiting.append((tag, items, [pool.submit(_load, model, dataset, item) for item in items]))

    try:
        submit(AHEAD)
        while waiting:
            tag, items, futures = waiting.popleft()
            submit(1)
            yield tag, _collect(items, futures)
    finally:
        pool.shutdown(cancel_futures=True)


def read_now(model: Model, dataset: Dataset, items: Sequence[Item]) -> list[Tensor]:
    """Transformed images, read here and now; raises SalcheckError at the first that cannot be."""
    return [_load(model, dataset, item)[0] for item in items]


def _load(model: Model, dataset: Dataset, item: Item) -> Loaded:
    image = dataset.read(item)
    return model.transform(image), image.size


def _collect(items: Sequence[Item], futures: list[Future[Loaded]]) -> Chunk:
    chunk = Chunk(items, [], [], [], {})
    for item, future in zip(items, futures, strict=True):
        try:
            tensor, size = future.result()
        except SalcheckError as error:
            chunk.failures[item.key] = error
            continue
        chunk.read.append(item)
        chunk.tensors.append(tensor)
        chunk.sizes.append(size)
    return chunk
