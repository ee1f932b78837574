"""Scores a shard of a run's images: a run, images and stored maps in, rows out. It knows no database and no cache, so
that a worker anywhere can do it.
"""

import functools
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from salcheck.datasets import Item
from salcheck.diagnostics import GIVEN, Seen, needed
from salcheck.errors import SalcheckError
from salcheck.inputs.loader import Chunk, read_now
from salcheck.inputs.sample import image_seed
from salcheck.inputs.truth import Truth
from salcheck.maps import ranking
from salcheck.maps.drift import drift
from salcheck.maps.notes import Kind, Note
from salcheck.methods import Method, UnfitError
from salcheck.naming import registry
from salcheck.network.chunks import out_of_memory
from salcheck.network.model import Model
from salcheck.network.view import View
from salcheck.perturb.answers import Memory, clean
from salcheck.references import References
from salcheck.runs.classes import classes_of
from salcheck.runs.contract import check_method, check_scores, hooks
from salcheck.runs.failing import MethodError, calling
from salcheck.runs.rows import Made, Maps, Rows, Task, fact_rows, number
from salcheck.runs.run import Run

TOP = 5  # predictions stored per image
FEW = Note(Kind.EXCLUDED, "it has too few labels")
WRONG = Note(Kind.EXCLUDED, "not correctly classified")
NO_NUMBERS = Note(Kind.FAILED, "the model's scores are not finite")
TOO_LARGE = Note(Kind.FAILED, "out of memory with one image")


def score_shard(run: Run, task: Task, chunk: Chunk, stored: Maps) -> Rows:
    """Rows of one chunk. Out of memory, it is halved; a single image that does not fit is noted.

    chunk: the task's images, as far as they could be read. stored: maps that need not be made again.
    """
    for source in run.plugins:
        registry.add(source)
    return _Shard(run, task, stored).score(chunk)


@dataclass(frozen=True)
class _Part:
    """The scored images of a chunk: as the model sees them, what is known of them, as other subjects see them."""

    items: Sequence[Item]
    view: View
    truth: Truth
    views: Mapping[str, View]
    following: Callable[[], View | None]
    memory: Memory = field(default_factory=Memory)


class _Shard:
    def __init__(self, run: Run, task: Task, stored: Maps):
        self._run = run
        self._task = task
        self._stored = stored
        self._diagnostic = run.diagnostic
        self._given = [name for name in GIVEN if name in inspect.signature(self._diagnostic.score).parameters]
        self._knows = needed(self._diagnostic)

    def score(self, chunk: Chunk) -> Rows:
        try:
            return self._score(chunk)
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
        rows = self._failed(chunk)
        if len(chunk.read) == 1:
            rows.extend(self._noted({chunk.read[0].key: TOO_LARGE}))
            return rows
        for part in chunk.halves():
            rows.extend(self.score(part))
        return rows

    def _score(self, chunk: Chunk) -> Rows:
        rows = self._failed(chunk)
        if not chunk.read:
            return rows
        run = self._run
        view = self._view(chunk, run.model)
        ranked, rows.predictions = self._predictions(chunk, view)
        N = len(run.model.labels)
        classes = [
            classes_of(run.question.roles, item, ranks, N, run.seed)
            for item, ranks in zip(chunk.read, ranked, strict=True)
        ]
        if None in classes:  # no map of such an image is made: in the cache it would pass for one of its classes
            rows.extend(self._noted({i.key: FEW for i, u in zip(chunk.read, classes, strict=True) if u is None}))
            rows.extend(self._score(chunk.only([index for index, u in enumerate(classes) if u is not None])))
            return rows
        truth = Truth(run.dataset, chunk.read, chunk.sizes, run.model.transform, run.model.device)
        notes = self._notes(chunk, ranked, truth)
        rows.extend(self._noted({i.key: note for i, note in zip(chunk.read, notes, strict=True) if note}))
        kept = [index for index, note in enumerate(notes) if note is None]
        asked = torch.tensor(classes, dtype=torch.long, device=run.model.device).view(len(classes), -1)
        seen = self._part(chunk, view, truth, kept)
        exact = self._view(chunk, replace(run.model, amp=None))  # runs nothing unless it is asked
        for method in self._task.todo:
            try:
                maps, made = self._maps(chunk, (view, exact), asked, method)
                scores = self._scores(seen, asked[kept], maps[kept], method) if kept else []
            except MethodError as error:
                rows.extend(self._one_by_one(chunk, method, error))
                continue
            rows.extend(made)
            rows.scores += scores
        return rows

    def _one_by_one(self, chunk: Chunk, method: Method, error: MethodError) -> Rows:
        """Rows of a method that failed on the chunk: images on which it fails alone have a note that says how.

        Raises UnfitError where it fails on every one of the run's first images.
        """
        alone = _Shard(self._run, replace(self._task, todo=[method], first=False), self._stored)
        if len(chunk.read) == 1:
            rows = alone._noted({chunk.read[0].key: Note(Kind.FAILED, str(error))})
        else:
            rows = Rows()
            for part in chunk.halves():
                rows.extend(alone.score(part))
        if self._task.first and not rows.maps:
            raise method.cannot(str(error)) from error
        return rows

    def _notes(self, chunk: Chunk, ranked: Sequence[list[int]], truth: Truth) -> list[Note | None]:
        """Why an image is not scored whatever its maps are, or None."""
        faults = truth.faults(self._knows) if self._knows else [None] * len(chunk.read)
        return [
            self._excluded(item, ranks) or (Note(Kind.FAILED, fault) if fault else None)
            for item, ranks, fault in zip(chunk.read, ranked, faults, strict=True)
        ]

    def _excluded(self, item: Item, ranks: list[int]) -> Note | None:
        if not ranks:
            return NO_NUMBERS
        return WRONG if self._run.correct_only and ranks[0] not in item.labels else None

    def _part(self, chunk: Chunk, view: View, truth: Truth, kept: Sequence[int]) -> _Part:
        """What a diagnostic may ask for beside maps, of the images that are scored."""
        views = {}
        if "subjects" in self._given and kept:
            subjects = self._run.subjects.items()
            views = {name: self._view(chunk, model).part(kept) for name, (model, _) in subjects}
        items = [chunk.read[index] for index in kept]
        following = functools.cache(functools.partial(self._following, items, chunk))
        part = truth.part(kept) if chunk.sizes else truth
        return _Part(items, view.part(kept) if kept else view, part, views, following)

    def _following(self, items: Sequence[Item], chunk: Chunk) -> View | None:
        """The next image of the run's order for each of these that can be read."""
        run = self._run
        order = [*run.items, *run.rest]
        if len(order) < 2:
            return None
        place = {item.key: row for row, item in enumerate(order)}
        tensors = dict(zip([item.key for item in chunk.read], chunk.tensors, strict=False))
        found = [self._next(order, place[item.key], tensors) for item in items]
        seeds = [image_seed(run.seed, key) for key, _ in found]
        images = [tensor for _, tensor in found]
        return run.model.view(lambda: run.model.batch(images), seeds, run.batch_size)

    def _next(self, order: Sequence[Item], place: int, tensors: dict[str, Tensor]) -> tuple[str, Tensor]:
        """Key and tensor of the first image after this place that can be read, behind the last one the first again; NaN
        where no other can.
        """
        for item in (*order[place + 1 :], *order[:place]):
            if item.key not in tensors:
                try:
                    (tensors[item.key],) = read_now(self._run.model, self._run.dataset, [item])
                except SalcheckError:
                    continue
            return item.key, tensors[item.key]
        return order[place].key, torch.full((self._run.model.channels, *self._run.model.size), torch.nan)

    def _view(self, chunk: Chunk, model: Model) -> View:
        run = self._run
        seeds = [image_seed(run.seed, item.key) for item in chunk.read]
        load = lambda: model.batch(chunk.tensors or read_now(model, run.dataset, chunk.read))  # noqa: E731
        return model.view(load, seeds, run.batch_size)

    def _predictions(self, chunk: Chunk, view: View) -> tuple[list[list[int]], list[dict[str, Any]]]:
        """Classes by rank for each image that was read (none without finite scores), and rows if they are new."""
        known = self._task.ranks
        if all(item.key in known for item in chunk.read):
            return [known[item.key] for item in chunk.read], []
        finite = view.logits.isfinite().all(-1).tolist()
        top = ranking.ranked(view.logits)[:, :TOP]
        answers = clean(view, top)
        parts = (top, answers.logits, answers.softmax)
        triples = torch.stack([part.cpu().double() for part in parts], -1).tolist()
        rows = [
            {"image": item.key, "rank": rank, "class": int(c), "logit": s, "probability": number(p)}
            for item, ranked, sound in zip(chunk.read, triples, finite, strict=True)
            if sound and item.key not in known
            for rank, (c, s, p) in enumerate(ranked, start=1)
        ]
        new = [c if sound else [] for c, sound in zip(top.tolist(), finite, strict=True)]
        return [known.get(item.key, ranks) for item, ranks in zip(chunk.read, new, strict=True)], rows

    def _maps(self, chunk: Chunk, views: tuple[View, View], classes: Tensor, method: Method) -> tuple[Tensor, Rows]:
        """Maps (B, M, h, w) of one method, stored ones or new ones, with what is to be stored of new ones.

        views: as the run sees the images, and in float32, for the first chunk of a run under autocast.
        """
        run, (view, exact), images = self._run, views, [item.key for item in chunk.read]
        stored = [self._stored.get((method.key, image)) for image in images]
        if all(maps is not None for maps in stored):
            known = np.stack([maps for maps in stored if maps is not None])
            return torch.from_numpy(known).to(run.model.device), Rows()
        references = run.references.values
        checked = method.outside and self._task.first
        before = hooks(view.net) if checked else 0
        try:
            with calling():
                maps, facts = method.decide(view, classes, references)
                if checked:
                    check_method(method, view, classes, maps, references, before)
        except SalcheckError as error:  # its parameters do not fit, or it breaks the contract
            raise UnfitError(str(error), method.key, str(error)) from error
        if run.model.amp and self._task.first:
            facts = facts | self._drift(exact, classes, method, maps)
        signatures = [[number(one) for one in row] for row in ranking.signature(maps).cpu().tolist()]
        made = Made(method, images, maps.cpu().numpy(), signatures)
        return maps, Rows(maps=[made], facts=list(fact_rows(method, run.roles_of(method), images, facts)))

    def _drift(self, exact: View, classes: Tensor, method: Method, maps: Tensor) -> dict[str, Tensor]:
        """How far autocast moved maps, as facts, each (B, M); references are the same on both sides."""
        drifts = drift(maps, method.saliency(exact, classes, self._run.references.values), exact.size)
        errors = [[d.error if d else math.nan for d in row] for row in drifts]
        shared = [[d.shared if d else math.nan for d in row] for row in drifts]
        return {
            "error_against_float32": torch.tensor(errors),
            "percent_shared_with_float32": torch.tensor(shared),
        }

    def _scores(self, part: _Part, classes: Tensor, maps: Tensor, method: Method) -> list[dict[str, Any]]:
        """Rows of one method: one for each metric and level, or one with a note for an image that has no score."""
        scores = self._diagnostic.score(part.view, classes, maps, **self._arguments(part, method))
        if self._run.question.outside:
            check_scores(self._run.question, scores, len(part.items))
        rows = [
            self._row(method, self._run.question.metric, 0.0, item, None, note)
            for item, note in zip(part.items, scores.notes, strict=True)
            if note
        ]
        for metric, values in scores.values.items():
            table = values.cpu().double().reshape(len(part.items), -1).tolist()
            levels = scores.levels if values.dim() > 1 else [0.0]
            for item, note, found in zip(part.items, scores.notes, table, strict=True):
                pairs = [] if note else zip(levels, found, strict=True)
                rows += [self._row(method, metric, level, item, *_or_note(value, scores.gap)) for level, value in pairs]
        return rows

    def _arguments(self, part: _Part, method: Method) -> dict[str, Any]:
        """What the diagnostic takes beside the maps: its parameters, and what it asks for by the names of `GIVEN`."""

        def explain(references: References) -> Callable[[View, Tensor], Tensor]:
            return calling()(functools.partial(method.saliency, references=references.values))

        own = explain(self._run.references)
        given: dict[str, Any] = {
            "explain": own,
            "told": calling()(functools.partial(method.told, references=self._run.references.values)),
            "truth": part.truth,
            "following": part.following,
            "example": self._example,
            "memory": part.memory,
            "subjects": [
                Seen(name, view, explain(self._run.subjects[name][1]) if method.needs else own, own)
                for name, view in part.views.items()
            ],
        }
        return dict(self._run.question.parameters) | {name: given[name] for name in self._given}

    def _example(self, u: int) -> tuple[Tensor, Truth] | None:
        """The first image of the dataset that shows class u and can be read, as the model is fed it, and what is known
        of it.
        """
        run = self._run
        for item in (item for item in run.dataset.items if u in item.labels):
            try:
                image = run.dataset.read(item)
            except SalcheckError:
                continue
            truth = Truth(run.dataset, [item], [image.size], run.model.transform, run.model.device)
            if not self._knows or truth.faults(self._knows) == [None]:
                return run.model.batch([run.model.transform(image)])[0], truth
        return None

    def _failed(self, chunk: Chunk) -> Rows:
        return self._noted({key: Note(Kind.FAILED, one.reason) for key, one in chunk.failures.items()})

    def _noted(self, notes: Mapping[str, Note]) -> Rows:
        """A row without a number for every method and every image that has a note, by its key."""
        items = [item for item in self._task.items if item.key in notes]
        metric = self._run.question.metric
        return Rows(scores=[self._row(m, metric, 0.0, i, None, notes[i.key]) for m in self._task.todo for i in items])

    def _row(
        self, method: Method, metric: str, level: float, item: Item, value: float | None, note: Note | None
    ) -> dict[str, Any]:
        words = {"kind": str(note.kind) if note else None, "note": note.why if note else None}
        return {"method": method.key, "image": item.key, "metric": metric, "level": level, "value": value, **words}


def _or_note(value: float, gap: Note) -> tuple[float | None, Note | None]:
    """A score and its note: no number is without words."""
    return (value, None) if math.isfinite(value) else (None, gap)
