"""What the model answers to changed images: each distinct one is forwarded once, a chunk in memory at a time."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import Tensor

from salcheck.network.chunks import in_chunks
from salcheck.network.view import View

Masks = Callable[[Tensor], Tensor]
Paint = Callable[[Tensor, Tensor], Tensor]
T = TypeVar("T")


@dataclass(frozen=True)
class Memory:
    """What a diagnostic keeps from one method to the next. It belongs to one view: who makes the view makes it, and
    hands it over for every method.

    scores: what the model answered, by fill and classes, image and mask (`ask`).
    """

    scores: dict[tuple[str, int, int], list[float]] = field(default_factory=dict)
    _made: dict[str, object] = field(default_factory=dict)

    def once(self, key: str, make: Callable[[], T]) -> T:
        """What `make` gives: made when first asked for, then kept under the key."""
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]  # type: ignore[return-value]  # a key has one maker


@dataclass(frozen=True)
class Answers:
    """Scores (J, M) of J changed images for the classes of the images they come from.

    softmax: the model's confidences, by a sigmoid where it is read so, NaN where its outputs are values.
    """

    logits: Tensor
    softmax: Tensor

    def output(self, name: str) -> Tensor:
        """`softmax` or `logit`, (J, M)."""
        return self.softmax if name == "softmax" else self.logits


def clean(view: View, classes: Tensor) -> Answers:
    """The scores (B, M) of the images as they are, from the forward that all share."""
    return Answers(*_both(view, view.logits, classes).chunk(2, dim=1))


def ask(view: View, memory: Memory, classes: Tensor, of: Tensor, masks: Masks, paint: Paint, how: str) -> Answers:
    """The answers to jobs, each one image of the batch changed under a mask.

    classes: (B, M). of: (J,), whose image each job changes. masks(jobs) makes the masks (j, ...) of some jobs (j,),
    paint(of, masks) the images (j, 3, H, W) as the model is fed them: the same for the same image and mask, and so
    named by `how`. All jobs are one list, run `batch_size` at a time; those whose image and mask are in the memory of
    this view, from this method or another one, are not run again.
    """
    jobs = torch.arange(len(of), device=classes.device)
    of = of.to(classes.device)
    marks = in_chunks(len(of), max(view.batch_size, 64), lambda rows: _fingerprint(masks(jobs[rows])))
    named = f"{how} {classes.tolist()}"
    keys = [(named, image, mark) for image, mark in zip(of.tolist(), marks.tolist(), strict=True)]
    fresh = list({key: job for job, key in enumerate(keys) if key not in memory.scores}.values())
    if fresh:
        new = jobs[torch.tensor(fresh, device=jobs.device)]

        def work(rows: slice) -> Tensor:
            some = new[rows]
            return _both(view, view.forward(paint(of[some], masks(some))), classes[of[some]])

        rows = view.chunks(len(new), work).tolist()
        memory.scores.update((keys[job], row) for job, row in zip(fresh, rows, strict=True))
    found = torch.tensor([memory.scores[key] for key in keys], device=classes.device)
    return Answers(*found.chunk(2, dim=1))


def _both(view: View, logits: Tensor, classes: Tensor) -> Tensor:
    """Logits and confidences (J, 2 M) of classes (J, M), of logits (J, N); NaN for confidences that there are not."""
    own = logits.gather(1, classes)
    if view.outputs.kind == "value":
        return torch.cat([own, torch.full_like(own, torch.nan)], dim=1)
    return torch.cat([own, view.outputs.confidences(logits).gather(1, classes)], dim=1)


def _fingerprint(masks: Tensor) -> Tensor:
    """A 64-bit number (j,) for masks (j, ...): the same for equal masks and, but for a tiny chance, for no others."""
    flat = masks.flatten(1).contiguous()
    words = flat.to(torch.int64) if flat.dtype == torch.bool else flat.float().view(torch.int32).to(torch.int64)
    generator = torch.Generator().manual_seed(0)
    factors = torch.randint(-(2**63), 2**63 - 1, (flat.shape[1],), generator=generator).to(flat.device)
    return (words * factors).sum(-1)
