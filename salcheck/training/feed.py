"""What a model is fed while it is trained: batches of pictures and targets, in an order that a seed decides."""

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from salcheck.errors import SalcheckError
from salcheck.training.lessons import AUGMENT, ORDER, Lesson

MEAN = STD = 0.5
MOVE = 16  # pictures are moved by up to this fraction of their side


class Feed:
    """Batches of a lesson's pictures; those that cannot be read are left out, and their numbers are in `unread`."""

    def __init__(self, lesson: Lesson, seed: int, batch_size: int):
        self._lesson, self._seed, self._batch_size = lesson, seed, batch_size
        self._rng = np.random.default_rng([seed, AUGMENT])
        self._numbers, self._taken = _numbers(lesson.count, seed), 0
        self.unread: set[int] = set()
        self.first_failure = ""

    def batch(self) -> tuple[Tensor, Tensor]:
        """Pictures with targets (B, N) that share 1 between a picture's classes; raises SalcheckError where no picture
        can be read.
        """
        lesson = self._lesson
        pictures = [self._next() for _ in range(self._batch_size)]
        images = [_moved(self._rng, image, lesson.flips) if lesson.moves else image for image, _ in pictures]
        targets = torch.zeros(self._batch_size, len(lesson.classes))
        for row, (_, classes) in zip(targets, pictures, strict=True):
            row[list(classes)] = 1 / len(classes)
        return to_batch(images), targets

    def _next(self) -> tuple[NDArray[np.uint8], tuple[int, ...]]:
        while True:
            number = next(self._numbers)
            self._taken += 1
            try:
                return self._lesson.read(number)
            except SalcheckError as error:
                self.first_failure = self.first_failure or str(error)
                self.unread.add(number)
                if self._lesson.count is None or len(self.unread) >= self._lesson.count:
                    raise SalcheckError(
                        f"none of the pictures to train on can be read: {self.first_failure}"
                    ) from error

    def state_dict(self) -> dict[str, Any]:
        """Where it is, as numbers and text."""
        numbers = json.dumps(self._rng.bit_generator.state)  # integers that are too long for a tensor
        return {
            "taken": self._taken,
            "random": numbers,
            "unread": sorted(self.unread),
            "first_failure": self.first_failure,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on where another one of the same lesson and seed was."""
        self._taken, self.unread, self.first_failure = state["taken"], set(state["unread"]), state["first_failure"]
        self._rng.bit_generator.state = json.loads(state["random"])
        self._numbers = itertools.islice(_numbers(self._lesson.count, self._seed), self._taken, None)


def to_batch(images: Sequence[NDArray[np.uint8]]) -> Tensor:
    """Pictures (H, W, 3) as the model wants them: (B, 3, H, W), as timm's own transform leaves them."""
    return (torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2) / 255 - MEAN) / STD


def _numbers(count: int | None, seed: int) -> Iterator[int]:
    """0, 1, 2, ... without end, or all below `count` in another order again and again."""
    if count is None:
        yield from itertools.count()
    else:
        for epoch in itertools.count():
            yield from np.random.default_rng([seed, ORDER, epoch]).permutation(count).tolist()


def _moved(rng: np.random.Generator, image: NDArray[np.uint8], flips: bool) -> NDArray[np.uint8]:
    """A little aside, the edges' pixels repeated, and mirrored or not."""
    size = len(image)
    most = size // MOVE
    top, left = rng.integers(0, 2 * most + 1, 2)
    moved = np.pad(image, ((most, most), (most, most), (0, 0)), mode="edge")[top : top + size, left : left + size]
    return moved[:, ::-1] if flips and rng.random() < 0.5 else moved
