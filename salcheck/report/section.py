"""One run's section of the report: statistics of its scores, and a verdict in words."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from salcheck.naming.parameters import write
from salcheck.questions import HIGHER, LOWER, Metric, Question
from salcheck.report.derived import Auroc, aurocs, best_of, half_of
from salcheck.report.remarks import chosen_levels, remarks_of
from salcheck.report.stats import Comparison, Summary, bands, compare, holm, summarise
from salcheck.report.stored import ScoredMethod, Stored, load
from salcheck.report.verdicts import ALPHA, margin, verdict
from salcheck.store.results import Store

APART = ("correct_only", "images", "roles", "levels")  # parameters that are no setting, or are told elsewhere
ANCHORS = ("case", "diffcam", "libracam")  # methods that others are compared with, where they are in the run


@dataclass(frozen=True)
class Pair:
    """Two methods of one run on the same images at one level; holm, holm_t: adjusted over all pairs of the run."""

    level: float
    method: str
    against: str
    comparison: Comparison
    holm: float | None
    holm_t: float | None
    gain: float  # the mean difference, positive where the first is better

    @property
    def better(self) -> bool:
        """By ranks, and in the mean too: where these disagree, neither is a claim."""
        return self.holm is not None and self.holm < ALPHA and (self.comparison.effect or 0) > 0 and self.gain > 0


@dataclass(frozen=True)
class Line:
    """One method in one run at one level of the tested metric: its summary, what was left out, and the verdict.

    floor: it is there to be beaten, as controls are. anchor: its pair with the first of the methods that others are
    compared with; hardest: the one with the control or floor that comes nearest to it, or beats it most.
    """

    question: str
    run: int
    arch: str
    method: str
    control: bool
    floor: bool
    metric: str
    level: float
    level_name: str
    summary: Summary
    holm: float | None
    blank: int
    tied: int
    excluded: int
    failed: int
    same_as: str | None
    verdict: str
    anchor: Pair | None = None
    hardest: Pair | None = None

    @property
    def values(self) -> dict[str, Any]:
        """The line as one flat record."""
        apart = ("summary", "anchor", "hardest")
        rest = {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.name not in apart}
        order = ("question", "run", "arch", "method", "control", "floor", "metric", "level", "level_name")
        head = {name: rest.pop(name) for name in order}
        return head | dataclasses.asdict(self.summary) | rest


@dataclass(frozen=True)
class Curve:
    """The mean of one metric over the images, (L,) over its levels, with a bootstrap interval, for one method.

    n: (L,), on how many images it has a score there.
    """

    metric: str
    method: str
    control: bool
    floor: bool
    levels: NDArray[np.float64]
    n: NDArray[np.int64]
    mean: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


@dataclass(frozen=True)
class Place:
    """Where the maps lie, asked of the same model cut at the same layer in another run: the mean and its interval by
    method. chance: what a map that marks anything gets; right: the methods that beat it, every control and floor.
    """

    question: str
    title: str
    run: int
    chance: float
    means: Mapping[str, tuple[float | None, float | None, float | None]]
    right: frozenset[str]


@dataclass(frozen=True)
class Section:
    """One run: where its numbers come from, a line per method and level, and remarks that a reader must know."""

    question: Question
    about: Mapping[str, Any]
    lines: Sequence[Line]
    pairs: Sequence[Pair]
    curves: Sequence[Curve]
    remarks: Sequence[str]
    aurocs: Sequence[Auroc] = ()
    places: Sequence[Place] = ()

    @cached_property
    def parameters(self) -> dict[str, Any]:
        return json.loads(self.about["parameters"])

    @cached_property
    def copies(self) -> dict[str, str]:
        """Metrics that say of every method what one before them says, and that one."""
        return _copies(self.curves)

    @property
    def metric(self) -> Metric:
        """The one that the claim is on."""
        return self.question.metrics[self.question.metric]

    @property
    def better(self) -> str:
        """Which side of the tested metric is better, in words; nothing where neither is."""
        return {HIGHER: "higher is better", LOWER: "lower is better"}.get(self.metric.better, "")

    @property
    def asked(self) -> str:
        """What was measured, which side is better and what was set; what the remarks say of the images is left out."""
        told = {name: write(value) for name, value in self.parameters.items() if name not in APART}
        settings = ", ".join(f"{name} {value}" for name, value in told.items() if value)
        measured = ", ".join(filter(None, [self.metric.title, self.better]))
        return "; ".join(filter(None, [measured, settings]))

    @property
    def threshold(self) -> float | None:
        return self.parameters.get("threshold")

    @cached_property
    def levels(self) -> list[float]:
        """The levels of the tested metric."""
        return sorted({line.level for line in self.lines})

    @property
    def of_methods(self) -> bool:
        """Whether methods were asked, or the model itself."""
        return bool(self.question.roles)

    @property
    def names(self) -> Sequence[str]:
        """Names of the levels 1, 2, ...; none where levels are numbers."""
        return self.parameters.get("levels", ())

    @property
    def placed(self) -> bool:
        """Whether lines must say at which level they are."""
        return len(self.levels) > 1 or any(line.level_name for line in self.lines if self.names)

    def level_name(self, level: float) -> str:
        return level_name(self.names, level)

    def place(self, level: float) -> str:
        """The level with what it is: `5 % removed`, `layer layer4`."""
        axis, name = self.question.level, self.level_name(level)
        return f"{axis} {name}" if self.names else f"{name} {axis}"


def level_name(names: Sequence[str], level: float) -> str:
    """The name of a level, or its number where levels have none; level 0 of a run with names is no level."""
    if names and level == 0:
        return ""
    return names[int(level) - 1] if level in range(1, len(names) + 1) else f"{level:g}"


def make_section(store: Store, about: Mapping[str, Any], question: Question) -> Section:
    """Everything that the report says of one run."""
    stored = load(store, about, question)
    entries = _entries(stored)
    pairs = _pairs(stored) if question.paired else []
    lines = _lines(stored, entries, pairs)
    curves, chosen = _curves(stored)
    same = ", ".join(f"{name} is {other}" for name, other in _copies(curves).items())
    remarks = [*remarks_of(stored, lines, len(pairs)), *chosen, *([f"The same throughout: {same}."] if same else [])]
    return Section(stored.question, about, lines, pairs, curves, remarks, aurocs(stored))


def _copies(curves: Sequence[Curve]) -> dict[str, str]:
    """Metrics whose curves, of several levels, are another's before them, method by method; and that other."""
    told: dict[bytes, str] = {}
    found = {}
    for metric in dict.fromkeys(curve.metric for curve in curves if len(curve.levels) > 1):
        own = [curve for curve in curves if curve.metric == metric]
        content = b"".join(curve.method.encode() + curve.n.tobytes() + curve.mean.tobytes() for curve in own)
        if told.setdefault(content, metric) != metric:
            found[metric] = told[content]
    return found


@dataclass(frozen=True)
class Entry:
    """One method's scores at one level; `notes` counts the images without a score by the kind of their note."""

    method: ScoredMethod
    level: float
    summary: Summary
    notes: Mapping[str, int]


def _entries(stored: Stored) -> list[Entry]:
    """One entry for each method at each level. An image that has no score at any level is noted once, at level 0."""
    main, threshold, seed = stored.main, stored.threshold, stored.seed
    higher = stored.question.metrics[stored.question.metric].better == HIGHER
    levels = sorted(set(main["level"]) - {0.0}) or [0.0]
    frames = dict(tuple(main.groupby("method_id")))
    table = stored.wide(main).reindex(
        columns=pd.MultiIndex.from_tuples([(m.id, at) for at in levels for m in stored.methods])
    )
    entries = []
    for level in levels:
        for method in stored.methods:
            rows = frames[method.id]
            here = rows[(rows["level"] == level) | (rows["level"] == 0.0)]
            kinds = here["kind"].dropna().value_counts().to_dict()
            values = table[method.id, level].to_numpy(dtype=float)
            there = np.isfinite(values)
            summary = summarise(values[there], threshold, seed, above=higher, clusters=stored.clusters[there])
            entries.append(Entry(method, level, summary, kinds))
    if threshold is not None or not len(table):
        return entries
    _, low, high = bands(table.to_numpy(dtype=float), seed, stored.clusters)
    return [
        dataclasses.replace(entry, summary=dataclasses.replace(entry.summary, low=_number(below), high=_number(above)))
        for entry, below, above in zip(entries, low, high, strict=True)
    ]


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _opponents(stored: Stored) -> list[tuple[ScoredMethod, ScoredMethod]]:
    """Every distinct method with every anchor, floor and control that is not itself; two anchors meet once."""
    order = {name: place for place, name in enumerate(ANCHORS)}
    opponents = [other for other in stored.methods if other.hurdle or other.name in order]
    return [
        (method, other)
        for method in stored.distinct
        for other in opponents
        if method not in (other, stored.twins.get(other.id))
        and not order.get(method.name, 99) < order.get(other.name, -1)
    ]


def _pairs(stored: Stored) -> list[Pair]:
    """Pairs on the images that both have scores of."""
    higher = stored.question.metrics[stored.question.metric].better == HIGHER
    table = stored.wide(stored.main)
    there = [
        (level, method, other)
        for level in sorted(set(table.columns.get_level_values("level")))
        for method, other in _opponents(stored)
        if (method.id, level) in table and (other.id, level) in table
    ]
    if not there:
        return []
    sides = [(table[m.id, level].to_numpy(float), table[o.id, level].to_numpy(float)) for level, m, o in there]
    told = [compare(first, second, higher_is_better=higher, clusters=stored.clusters) for first, second in sides]
    differences = np.stack([first - second for first, second in sides], axis=1)
    _, low, high = bands(differences, stored.seed, stored.clusters)
    ranks, means = holm([comparison.wilcoxon for comparison in told]), holm([comparison.t for comparison in told])
    return [
        Pair(
            float(level),
            method.name,
            other.name,
            dataclasses.replace(comparison, low=_number(below), high=_number(above)),
            holm=rank,
            holm_t=mean,
            gain=(1 if higher else -1) * (comparison.difference or 0.0),
        )
        for (level, method, other), comparison, below, above, rank, mean in zip(
            there, told, low, high, ranks, means, strict=True
        )
    ]


def _lines(stored: Stored, entries: Sequence[Entry], pairs: Sequence[Pair]) -> list[Line]:
    family = [entry for entry in entries if entry.method in stored.distinct]
    adjusted = holm([entry.summary.wilcoxon for entry in family])
    p = {(e.method.id, e.level): value for e, value in zip(family, adjusted, strict=True)}
    anchor = next((name for name in ANCHORS if name in {method.name for method in stored.methods}), None)
    lines = []
    for entry in entries:
        method, level = entry.method, entry.level
        subject = method if method in stored.distinct or method.hurdle else stored.twins[method.id]
        hurdles = [e for e in entries if e.method.hurdle and e.level == level]
        own = [pair for pair in pairs if (pair.method, pair.level) == (subject.name, level)]
        beside = [pair for pair in own if pair.against in {e.method.name for e in hurdles}]
        corrected = None if method.hurdle else p[subject.id, level]
        line = _line(
            stored,
            entry,
            holm=corrected,
            tied=int(stored.tied.get((method.id, level), 0)),
            same_as=stored.twins[method.id].name if method.id in stored.twins else None,
            verdict=verdict(stored.question, entry, corrected, hurdles, beside),
            anchor=next((pair for pair in own if pair.against == anchor), None),
            hardest=min(beside, key=lambda pair: margin(pair, stored.question), default=None),
        )
        lines.append(line)
    return lines


def _line(stored: Stored, entry: Entry, **found: Any) -> Line:
    about, method = stored.about, entry.method
    return Line(
        question=about["question"],
        run=about["run"],
        arch=about["arch"],
        method=method.name,
        control=method.control,
        floor=method.floor,
        metric=stored.question.metric,
        level=entry.level,
        level_name=level_name(json.loads(about["parameters"]).get("levels", ()), entry.level),
        summary=entry.summary,
        blank=entry.notes.get("blank", 0),
        excluded=entry.notes.get("excluded", 0),
        failed=sum(count for kind, count in entry.notes.items() if kind not in ("blank", "excluded")),
        **found,
    )


def _curves(stored: Stored) -> tuple[list[Curve], list[str]]:
    """The mean of every metric at each of its levels, for every method that is not another one's twin; and a remark on
    every metric that is read off another one's curve.
    """
    curves, remarks = [], []
    methods = [*stored.distinct, *(method for method in stored.methods if method.hurdle)]
    halves = {int(id): half_of(stored.seed, key) for id, key in stored.images["key"].items()}
    for metric, told in stored.question.metrics.items():
        rows = stored.rows(told.best_of or metric)
        if told.best_of:
            rows, levels = best_of(rows, halves, told.better)
            remarks += chosen_levels(metric, told, {m.name: levels[m.id] for m in methods if m.id in levels})
        table = stored.wide(rows)
        if table.empty:
            continue
        at, names = table.columns.get_level_values("level"), table.columns.get_level_values("method_id")
        columns = table.to_numpy(dtype=float)
        figures = (np.isfinite(columns).sum(0), *bands(columns, stored.seed, stored.clusters))
        for method in methods:
            own = np.flatnonzero(names == method.id)
            own = own[np.argsort(at[own])]
            found = [figure[own] for figure in figures]
            if own.size:
                axis = at[own].to_numpy(dtype=float)
                curves.append(Curve(metric, method.name, method.control, method.floor, axis, *found))
    return curves, remarks
