"""Score a shard of a run's images: what is left to do, the maps by way of the cache, rows for the database."""

import dataclasses
import functools
import hashlib
import inspect
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

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
from salcheck.methods import Method
from salcheck.naming import registry
from salcheck.network.chunks import out_of_memory
from salcheck.network.model import Model
from salcheck.network.view import View
from salcheck.perturb.answers import Memory
from salcheck.questions._roles import RANDOM
from salcheck.references import References
from salcheck.runs.run import Run, register
from salcheck.store.cache import MapFile
from salcheck.store.provenance import versions
from salcheck.store.results import Store, to_json

TOP = 5  # predictions stored per image
FEW = "excluded: it has too few labels"


@dataclass(frozen=True)
class Plan:
    """What is left to do for one chunk, and what the database knows of it."""

    start: int
    items: Sequence[Item]
    todo: Sequence[Method]
    predictions: Mapping[int, list[int]]  # image id: classes by rank
    checksums: Mapping[tuple[int, str, int], int]  # method id, role, image id

    @property
    def stop(self) -> int:
        return self.start + len(self.items)


@dataclass
class Rows:
    """Rows of one chunk, by table, as the database takes them."""

    predictions: list[dict[str, Any]] = field(default_factory=list)
    maps: list[dict[str, Any]] = field(default_factory=list)
    facts: list[dict[str, Any]] = field(default_factory=list)
    scores: list[dict[str, Any]] = field(default_factory=list)

    def extend(self, other: "Rows") -> None:
        for name, rows in vars(self).items():
            rows.extend(getattr(other, name))


@dataclass(frozen=True)
class _Part:
    """The images of a chunk that count: as the model sees them, what is known of them, as other subjects see them."""

    items: Sequence[Item]
    view: View
    truth: Truth
    views: Mapping[str, View]
    memory: Memory = field(default_factory=Memory)


class Shard:
    """The images of a run that one process scores, with the ids of everything in the database."""

    def __init__(self, run: Run, store: Store, cache: Path):
        self.run = run
        self._store = store
        self._cache = cache
        self._place = {item.key: row for row, item in enumerate(run.dataset.items)}
        self._files: dict[tuple[str, str], MapFile] = {}
        self._diagnostic = registry.load("diagnostics", run.question.diagnostic)
        self._given = [name for name in GIVEN if name in inspect.signature(self._diagnostic.score).parameters]
        self._knows = needed(self._diagnostic)
        self.model_id, self.run_id, self._images, self._methods = register(run, store)

    def plans(self) -> Iterator[Plan]:
        """Chunks in the run's order, always cut at the same places."""
        size = self.run.batch_size
        for start in range(0, len(self.run.items), size):
            yield self._plan(start, self.run.items[start : start + size])

    def unread(self, plan: Plan) -> Sequence[Item]:
        """The plan's images, if any of them must be read; none where nothing is to do, or where all maps are stored
        and the diagnostic reads no images.
        """
        if not plan.todo:
            return []
        if getattr(self._diagnostic, "IMAGES", True):
            return plan.items
        images = [self._images[item.key] for item in plan.items]
        maps = [(self._methods[method.key], role) for method in plan.todo for role in self.run.roles_of(method)]
        stored = all(image in plan.predictions for image in images) and all(
            (*one, image) in plan.checksums for one in maps for image in images
        )
        return [] if stored else plan.items

    def score(self, plan: Plan, chunk: Chunk) -> Rows:
        """Rows of one chunk. Out of memory, it is halved; a single image that does not fit is noted."""
        if not chunk.items:
            chunk = Chunk(plan.items, list(plan.items), [], [], {})
        try:
            return self._score(plan, chunk)
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
        if len(chunk.read) == 1:
            return self._noted(plan, {**chunk.failures, chunk.read[0].key: "out of memory with one image"})
        rows = self._noted(plan, chunk.failures)
        for part in halves(chunk):
            rows.extend(self.score(plan, part))
        return rows

    def _plan(self, start: int, items: Sequence[Item]) -> Plan:
        images = [self._images[item.key] for item in items]
        methods = list(self._methods.values())
        done = self._store.query(
            "SELECT method_id, COUNT(DISTINCT image_id) AS n FROM scores WHERE run_id = :run AND metric = :metric"
            " AND method_id IN :methods AND image_id IN :images GROUP BY method_id",
            **{"run": self.run_id, "metric": self.run.question.metric, "methods": methods, "images": images},
        )
        counts = dict(zip(done["method_id"], done["n"], strict=True))
        todo = [m for m in self.run.methods if counts.get(self._methods[m.key], 0) < len(items)]
        if not todo:
            return Plan(start, items, [], {}, {})
        classes = self._store.query(
            "SELECT image_id, class FROM predictions WHERE model_id = :model AND image_id IN :images"
            " ORDER BY image_id, rank",
            **{"model": self.model_id, "images": images},
        )
        stored = self._store.query(
            "SELECT method_id, role, image_id, checksum FROM maps WHERE model_id = :model"
            " AND method_id IN :methods AND image_id IN :images",
            **{"model": self.model_id, "methods": methods, "images": images},
        )
        checksums = {(m, r, i): c for m, r, i, c in stored.itertuples(index=False)}
        predictions = {int(image): list(rows["class"]) for image, rows in classes.groupby("image_id")}
        return Plan(start, items, todo, predictions, checksums)

    def _score(self, plan: Plan, chunk: Chunk) -> Rows:
        rows = self._noted(plan, chunk.failures)
        if not chunk.read:
            return rows
        view = self._view(chunk, self.run.model)
        ranked, rows.predictions = self._predictions(plan, chunk, view)
        classes = [self._classes(item, ranks) for item, ranks in zip(chunk.read, ranked, strict=True)]
        if None in classes:  # no map of such an image is made: in the cache it would pass for one of its classes
            rows.extend(self._noted(plan, {i.key: FEW for i, u in zip(chunk.read, classes, strict=True) if u is None}))
            rows.extend(self._score(plan, _only(chunk, [index for index, u in enumerate(classes) if u is not None])))
            return rows
        truth = Truth(self.run.dataset, chunk.read, chunk.sizes, self.run.model.transform, self.run.model.device)
        faults = truth.faults(self._knows) if self._knows else [None] * len(chunk.read)
        found = zip(chunk.read, ranked, faults, strict=True)
        notes = [self._excluded(item, ranks) or fault for item, ranks, fault in found]
        rows.extend(self._noted(plan, {i.key: note for i, note in zip(chunk.read, notes, strict=True) if note}))
        kept = [index for index, note in enumerate(notes) if note is None]
        asked = torch.tensor(classes, dtype=torch.long, device=self.run.model.device).view(len(classes), -1)
        seen = self._part(chunk, view, truth, kept)
        exact = self._view(chunk, dataclasses.replace(self.run.model, amp=None))  # runs nothing unless it is asked
        for method in plan.todo:
            maps, written = self._maps(plan, chunk, (view, exact), asked, method)
            rows.extend(written)
            if kept:
                rows.scores += self._scores(seen, asked[kept], maps[kept], method)
        return rows

    def _part(self, chunk: Chunk, view: View, truth: Truth, kept: Sequence[int]) -> "_Part":
        """What a diagnostic may ask for beside maps, of the images that count."""
        views = {}
        if "subjects" in self._given and kept:
            views = {name: self._view(chunk, model).part(kept) for name, (model, _) in self.run.subjects.items()}
        items = [chunk.read[index] for index in kept]
        return _Part(items, view.part(kept) if kept else view, truth.part(kept) if chunk.sizes else truth, views)

    def _view(self, chunk: Chunk, model: Model) -> View:
        run = self.run
        seeds = [image_seed(run.seed, item.key) for item in chunk.read]
        load = lambda: model.batch(chunk.tensors or read_now(model, run.dataset, chunk.read))  # noqa: E731
        return model.view(load, seeds, run.batch_size)

    def _predictions(self, plan: Plan, chunk: Chunk, view: View) -> tuple[list[list[int]], list[dict[str, Any]]]:
        """Classes by rank for each image that was read (none without finite scores), and rows if they are new."""
        images = [self._images[item.key] for item in chunk.read]
        if all(image in plan.predictions for image in images):
            return [plan.predictions[image] for image in images], []
        top = ranking.ranked(view.logits)[:, :TOP]
        parts = (top, view.logits.gather(1, top), view.logits.softmax(-1).gather(1, top))
        triples = torch.stack([part.cpu().double() for part in parts], -1).tolist()
        finite = view.logits.isfinite().all(-1).tolist()
        rows = [
            {"model_id": self.model_id, "image_id": image, "rank": rank, "class": int(c), "logit": s, "probability": p}
            for image, ranked, sound in zip(images, triples, finite, strict=True)
            if sound
            for rank, (c, s, p) in enumerate(ranked, start=1)
        ]
        return [c if sound else [] for c, sound in zip(top.tolist(), finite, strict=True)], rows

    def _excluded(self, item: Item, ranks: list[int]) -> str | None:
        if not ranks:
            return "the model's scores are not finite"
        if self.run.correct_only and ranks[0] not in item.labels:
            return "excluded: not correctly classified"
        return None

    def _classes(self, item: Item, ranks: list[int]) -> list[int] | None:
        """The class of every role, None where the image has not so many; 0 where no score is finite."""
        found = [self._class(role, item, ranks) if ranks else 0 for role in self.run.question.roles]
        return None if None in found else [u for u in found if u is not None]

    def _class(self, role: str, item: Item, ranks: list[int]) -> int | None:
        if role == RANDOM:
            others = sorted(set(range(len(self.run.model.labels))) - {*item.labels, *ranks[:1]})
            return others[image_seed(self.run.seed, f"class {item.key}") % len(others)] if others else None
        place = int(role.removeprefix("top").removeprefix("label")) - 1
        there = ranks if role.startswith("top") else item.labels
        return there[place] if place < len(there) else None

    def _maps(
        self, plan: Plan, chunk: Chunk, views: tuple[View, View], classes: Tensor, method: Method
    ) -> tuple[Tensor, Rows]:
        """Maps (B, M, h, w) of one method from the cache, or made and put there, with the rows that say so.

        views: as the run sees the images, and in float32, for the first chunk of a run under autocast.
        """
        run, rows, (view, exact) = self.run, Rows(), views
        images = [self._images[item.key] for item in chunk.read]
        places = [self._place[item.key] for item in chunk.read]
        method_id = self._methods[method.key]
        roles = run.roles_of(method)
        files = [self._file(method, role) for role in roles]
        stored = [
            file.read(places, [plan.checksums.get((method_id, role, image)) for image in images])
            for file, role in zip(files, roles, strict=True)
        ]
        if roles and all(maps is not None for maps in stored):
            return torch.stack([torch.from_numpy(maps) for maps in stored], dim=1).to(run.model.device), rows
        references = run.references.values
        maps, facts = method.decide(view, classes, references)
        signatures = ranking.signature(maps).cpu().tolist()
        if run.model.amp and plan.start == 0:
            facts = facts | self._drift(exact, classes, method, maps)
        for m, (file, role) in enumerate(zip(files, roles, strict=True)):
            where = [
                {"model_id": self.model_id, "method_id": method_id, "role": role, "image_id": image} for image in images
            ]
            checksums = file.write(places, maps[:, m].cpu().numpy())
            rows.maps += [
                {**w, "checksum": c, "signature": number(s[m])}
                for w, c, s in zip(where, checksums, signatures, strict=True)
            ]
            rows.facts += [
                {**w, "name": fact_name(name, values), "value": value}
                for name, values in facts.items()
                for w, value in zip(where, values[:, m].cpu().tolist(), strict=True)
                if math.isfinite(value)
            ]
        return maps, rows

    def _drift(self, exact: View, classes: Tensor, method: Method, maps: Tensor) -> dict[str, Tensor]:
        """How far autocast moved maps, as facts, each (B, M); references are the same on both sides."""
        drifts = drift(maps, method.saliency(exact, classes, self.run.references.values), exact.size)
        errors = [[d.error if d else math.nan for d in row] for row in drifts]
        shared = [[d.shared if d else math.nan for d in row] for row in drifts]
        return {
            "error_against_float32": torch.tensor(errors),
            "percent_shared_with_float32": torch.tensor(shared),
        }

    def _scores(self, part: "_Part", classes: Tensor, maps: Tensor, method: Method) -> list[dict[str, Any]]:
        """Rows of one method: one for each metric and level, or one with a note for an image that has no score."""
        scores = self._diagnostic.score(part.view, classes, maps, **self._arguments(part, method))
        rows = [
            self._row(method, self.run.question.metric, 0.0, item, None, note)
            for item, note in zip(part.items, scores.notes, strict=True)
            if note
        ]
        for metric, values in scores.values.items():
            table = values.cpu().double().reshape(len(part.items), -1).tolist()
            levels = scores.levels if values.dim() > 1 else [0.0]
            for item, note, found in zip(part.items, scores.notes, table, strict=True):
                pairs = [] if note else zip(levels, found, strict=True)
                rows += [self._row(method, metric, level, item, *_told(value, scores.gap)) for level, value in pairs]
        return rows

    def _arguments(self, part: "_Part", method: Method) -> dict[str, Any]:
        """What the diagnostic takes beside the maps: its parameters, and what it asks for by the names of `GIVEN`."""

        def explain(references: References) -> Callable[[View, Tensor], Tensor]:
            return functools.partial(method.saliency, references=references.values)

        own = explain(self.run.references)
        given: dict[str, Any] = {
            "explain": own,
            "told": functools.partial(method.told, references=self.run.references.values),
            "truth": part.truth,
            "example": self._example,
            "memory": part.memory,
            "subjects": [
                Seen(name, view, explain(self.run.subjects[name][1]) if method.needs else own, own)
                for name, view in part.views.items()
            ],
        }
        return dict(self.run.question.parameters) | {name: given[name] for name in self._given}

    def _example(self, u: int) -> tuple[Tensor, Truth] | None:
        """The first image of the dataset that shows class u and can be read, as the model is fed it, and what is known
        of it.
        """
        run = self.run
        for item in (item for item in run.dataset.items if u in item.labels):
            try:
                image = run.dataset.read(item)
            except SalcheckError:
                continue
            truth = Truth(run.dataset, [item], [image.size], run.model.transform, run.model.device)
            if not self._knows or truth.faults(self._knows) == [None]:
                return run.model.batch([run.model.transform(image)])[0], truth
        return None

    def _noted(self, plan: Plan, notes: Mapping[str, str]) -> Rows:
        """A row without a number for every method and every image that has a note, by its key."""
        items = [item for item in plan.items if item.key in notes]
        metric = self.run.question.metric
        return Rows(scores=[self._row(m, metric, 0.0, i, None, notes[i.key]) for m in plan.todo for i in items])

    def _row(
        self, method: Method, metric: str, level: float, item: Item, value: float | None, note: str | None
    ) -> dict[str, Any]:
        ids = {"run_id": self.run_id, "method_id": self._methods[method.key], "image_id": self._images[item.key]}
        return {**ids, "metric": metric, "level": level, "value": value, "note": note}

    def _file(self, method: Method, role: str) -> MapFile:
        if (method.key, role) not in self._files:
            identity = to_json([versions(), method.key, self.run.inputs(method)])
            name = (
                f"{method.file_name}-{role.replace(' ', '-')}-{hashlib.sha256(identity.encode()).hexdigest()[:16]}.npy"
            )
            place = self._cache / "maps" / self.run.model.key[:16] / self.run.dataset.digest[:16]
            self._files[method.key, role] = MapFile(place / name, len(self.run.dataset))
        return self._files[method.key, role]


def number(value: float) -> float | None:
    """NaN is no number: the database says NULL."""
    return None if math.isnan(value) else value


def _told(value: float, gap: str) -> tuple[float | None, str | None]:
    """A score and its note: no number is without words."""
    return (value, None) if math.isfinite(value) else (None, gap)


def fact_name(name: str, values: Tensor) -> str:
    """A fact's name in the database: what is true or false is to be counted, a number ends in ` =`."""
    return name if values.dtype == torch.bool else f"{name} ="


def _only(chunk: Chunk, rows: Sequence[int]) -> Chunk:
    """Some of the images that were read; their tensors and sizes, where these are there."""
    return replace(
        chunk,
        read=[chunk.read[row] for row in rows],
        tensors=[chunk.tensors[row] for row in rows if chunk.tensors],
        sizes=[chunk.sizes[row] for row in rows if chunk.sizes],
        failures={},
    )


def halves(chunk: Chunk) -> list[Chunk]:
    """The images that were read, in two parts."""
    middle = len(chunk.read) // 2
    return [
        replace(chunk, read=chunk.read[part], tensors=chunk.tensors[part], sizes=chunk.sizes[part], failures={})
        for part in (slice(0, middle), slice(middle, None))
    ]
