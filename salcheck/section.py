"""One run's section of the report: rows by SQL, statistics of them, and a verdict in words."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from salcheck.questions import HIGHER, Metric, Question
from salcheck.remarks import remarks_of
from salcheck.stats import Comparison, Summary, alike, bands, compare, holm, summarise
from salcheck.store import Store

ALPHA = 0.05
ANCHOR = "case"  # the method that others are compared with, where it is in the run

METHODS = """
SELECT id, spec, control FROM methods
WHERE EXISTS (SELECT 1 FROM scores WHERE scores.run_id = :run AND scores.method_id = methods.id)
"""

SCORES = """
SELECT method_id, level, image_id, value, note FROM scores
WHERE run_id = :run AND metric = :metric
ORDER BY method_id, level, image_id
"""

TIED = """
SELECT method_id, level, COUNT(*) AS images FROM scores
WHERE run_id = :run AND metric = 'tied' AND value > 0
GROUP BY method_id, level
"""

SIGNATURES = """
SELECT maps.method_id, role, maps.image_id, signature
FROM maps JOIN runs ON runs.model_id = maps.model_id
JOIN run_images ON run_images.run_id = runs.id AND run_images.image_id = maps.image_id
WHERE runs.id = :run
ORDER BY maps.method_id, role, maps.image_id
"""


@dataclass(frozen=True)
class Pair:
    """Two methods of one run on the same images at one level; holm, holm_t: adjusted over all pairs of the run."""

    level: float
    method: str
    against: str
    comparison: Comparison
    holm: float | None
    holm_t: float | None

    @property
    def better(self) -> bool:
        return self.holm is not None and self.holm < ALPHA and (self.comparison.effect or 0) > 0


@dataclass(frozen=True)
class Line:
    """One method in one run at one level of the tested metric: its summary, what was left out, and the verdict.

    anchor: its pair with the method that others are compared with; hardest: the one with the control that comes
    nearest to it, or beats it most.
    """

    question: str
    run: int
    arch: str
    method: str
    control: bool
    metric: str
    level: float
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
        head = {name: rest.pop(name) for name in ("question", "run", "arch", "method", "control", "metric", "level")}
        return head | dataclasses.asdict(self.summary) | rest


@dataclass(frozen=True)
class Curve:
    """The mean of one metric over the images, (L,) over its levels, with a bootstrap interval, for one method."""

    metric: str
    method: str
    control: bool
    n: int
    levels: NDArray[np.float64]
    mean: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


@dataclass(frozen=True)
class Section:
    """One run: where its numbers come from, a line per method and level, and remarks that a reader must know."""

    question: Question
    about: Mapping[str, Any]
    lines: Sequence[Line]
    pairs: Sequence[Pair]
    curves: Sequence[Curve]
    remarks: Sequence[str]

    @cached_property
    def parameters(self) -> dict[str, Any]:
        return json.loads(self.about["parameters"])

    @property
    def metric(self) -> Metric:
        """The one that the claim is on."""
        return self.question.metrics[self.question.metric]

    @property
    def threshold(self) -> float | None:
        return self.parameters.get("threshold")

    @cached_property
    def levels(self) -> list[float]:
        """The levels of the tested metric."""
        return sorted({line.level for line in self.lines})


def make_section(store: Store, about: Mapping[str, Any], question: Question) -> Section:
    """Everything that the report says of one run."""
    parameters, run = json.loads(about["parameters"]), about["run"]
    main = store.query(SCORES, run=run, metric=question.metric)
    methods = _methods(store, run, main)
    entries = _entries(main, methods, question, parameters.get("threshold"), about["seed"])
    twins = _twins(store, run, methods)
    distinct = [m for m in methods if not m.control and (m.id not in twins or twins[m.id].control)]
    pairs = _pairs(main, methods, distinct, question, about["seed"]) if question.paired else []
    tied = store.query(TIED, run=run).set_index(["method_id", "level"])["images"].to_dict()
    lines = _lines(about, question, entries, twins, distinct, pairs, tied)
    remarks = remarks_of(
        store, about, question, main, lines, {m.id: m.name for m in methods}, len(distinct), len(pairs)
    )
    return Section(question, about, lines, pairs, _curves(store, about, question, methods, twins), remarks)


@dataclass(frozen=True)
class _Method:
    id: int
    name: str
    control: bool


@dataclass(frozen=True)
class _Entry:
    """One method's scores at one level; `notes` counts the images without a score by the kind of their note."""

    method: _Method
    level: float
    summary: Summary
    notes: Mapping[str, int]


def _methods(store: Store, run: int, main: pd.DataFrame) -> list[_Method]:
    """The methods of the run in the order in which they were added, controls last."""
    scored = set(main["method_id"])
    rows = store.query(METHODS, run=run).sort_values("id")
    found = [_Method(int(id), spec, bool(control)) for id, spec, control in rows.itertuples(index=False)]
    return sorted((method for method in found if method.id in scored), key=lambda method: method.control)


def _entries(
    main: pd.DataFrame, methods: Sequence[_Method], question: Question, threshold: float | None, seed: int
) -> list[_Entry]:
    """One entry for each method at each level. An image that has no score at any level is noted once, at level 0."""
    entries = []
    above = question.metrics[question.metric].better == HIGHER
    levels = sorted(set(main["level"]) - {0.0}) or [0.0]
    frames = dict(tuple(main.groupby("method_id")))
    for level in levels:
        for method in methods:
            rows = frames[method.id]
            here = rows[(rows["level"] == level) | (rows["level"] == 0.0)]
            kinds = here["note"].dropna().str.split(":").str[0].value_counts().to_dict()
            values = here["value"].dropna().to_numpy(dtype=float)
            entries.append(_Entry(method, level, summarise(values, threshold, seed, above=above), kinds))
    return entries


def _pairs(
    main: pd.DataFrame, methods: Sequence[_Method], distinct: Sequence[_Method], question: Question, seed: int
) -> list[Pair]:
    """Every distinct method against the anchor and against every control, on the images that both have scores of."""
    higher = question.metrics[question.metric].better == HIGHER
    opponents = [m for m in methods if m.control or m.name == ANCHOR]
    found = []
    for level, rows in main[main["value"].notna()].groupby("level"):
        table = rows.pivot(index="image_id", columns="method_id", values="value")
        there = [m for m in distinct if m.id in table]
        for method, other in ((m, o) for m in there for o in opponents if o != m and o.id in table):
            comparison = compare(table[method.id], table[other.id], higher_is_better=higher, seed=seed)
            found.append(Pair(float(str(level)), method.name, other.name, comparison, None, None))
    ranks, means = (holm([getattr(pair.comparison, test) for pair in found]) for test in ("wilcoxon", "t"))
    return [
        dataclasses.replace(pair, holm=rank, holm_t=mean) for pair, rank, mean in zip(found, ranks, means, strict=True)
    ]


def _lines(
    about: Mapping[str, Any],
    question: Question,
    entries: Sequence[_Entry],
    twins: Mapping[int, _Method],
    distinct: Sequence[_Method],
    pairs: Sequence[Pair],
    tied: Mapping[tuple[int, float], int],
) -> list[Line]:
    family = [entry for entry in entries if entry.method in distinct]
    adjusted = holm([entry.summary.wilcoxon for entry in family])
    p = {(e.method.id, e.level): value for e, value in zip(family, adjusted, strict=True)}
    controls = {entry.method.name for entry in entries if entry.method.control}
    lines = []
    for entry in entries:
        method, level = entry.method, entry.level
        subject = method if method in distinct or method.control else twins[method.id]
        own = [pair for pair in pairs if (pair.method, pair.level) == (subject.name, level)]
        beside = [pair for pair in own if pair.against in controls]
        passed = [e.method.name for e in entries if e.method.control and e.level == level and _passes(e)]
        corrected = None if method.control else p[subject.id, level]
        told = _verdict(question, entry, corrected, passed, beside)
        line = Line(
            question=about["question"],
            run=about["run"],
            arch=about["arch"],
            method=method.name,
            control=method.control,
            metric=question.metric,
            level=level,
            summary=entry.summary,
            holm=corrected,
            blank=entry.notes.get("blank", 0),
            tied=int(tied.get((method.id, level), 0)),
            excluded=entry.notes.get("excluded", 0),
            failed=sum(count for kind, count in entry.notes.items() if kind not in ("blank", "excluded")),
            same_as=twins[method.id].name if method.id in twins else None,
            verdict=told,
            anchor=next((pair for pair in own if pair.against == ANCHOR), None),
            hardest=min(beside, key=lambda pair: _margin(pair, question), default=None),
        )
        lines.append(line)
    return lines


def _margin(pair: Pair, question: Question) -> tuple[float, float]:
    """How clearly the method is better: by the effect, and where that is the same, by the difference."""
    better = question.metrics[question.metric].better
    return pair.comparison.effect or 0.0, better * (pair.comparison.difference or 0.0)


def _passes(entry: _Entry) -> bool:
    return entry.summary.wilcoxon is not None and entry.summary.wilcoxon < ALPHA


def _verdict(question: Question, entry: _Entry, p: float | None, passed: Sequence[str], beside: Sequence[Pair]) -> str:
    """In words: a claim that a control earns as well, or does not lose to, is no evidence for anything."""
    if entry.summary.n == 0:
        return "no scores"
    if question.threshold is not None:
        return _against_threshold(question, entry, p, passed)
    if entry.method.control:
        return "control"
    if not question.claim:
        return "no claim"
    if not beside:
        return "no control to compare with"
    unbeaten = [pair.against for pair in beside if not pair.better]
    return f"no evidence (not better than {listing(unbeaten)})" if unbeaten else question.claim


def _against_threshold(question: Question, entry: _Entry, p: float | None, passed: Sequence[str]) -> str:
    if entry.method.control:
        return "control: passes" if _passes(entry) else "control: does not pass"
    if p is None or p >= ALPHA:
        return f"not {question.claim}"
    if passed:
        return f"no evidence ({listing(passed)} {'passes' if len(passed) == 1 else 'pass'} too)"
    return question.claim


def listing(names: Sequence[str]) -> str:
    """a, b and c."""
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _twins(store: Store, run: int, methods: Sequence[_Method]) -> dict[int, _Method]:
    """Methods whose maps rank every pixel as another's do, by id, and that other; controls come first."""
    rows = store.query(SIGNATURES, run=run)
    table = rows.pivot(index=["role", "image_id"], columns="method_id", values="signature")
    order = [method for method in sorted(methods, key=lambda method: not method.control) if method.id in table]
    known = {str(method.id): method for method in order}
    signatures = {name: table[method.id].to_numpy(dtype=float) for name, method in known.items()}
    return {int(name): known[twin] for name, twin in alike(signatures).items()}


def _curves(
    store: Store, about: Mapping[str, Any], question: Question, methods: Sequence[_Method], twins: Mapping[int, _Method]
) -> list[Curve]:
    """The mean of every metric at each of its levels, for every method that is not another one's twin."""
    curves = []
    for metric in question.metrics:
        rows = store.query(SCORES, run=about["run"], metric=metric)
        frames = dict(tuple(rows[rows["value"].notna()].groupby("method_id")))
        for method in (m for m in methods if m.id in frames and (m.id not in twins or m.control)):
            table = frames[method.id].pivot(index="image_id", columns="level", values="value")
            mean, low, high = bands(table.to_numpy(dtype=float), about["seed"])
            levels = table.columns.to_numpy(dtype=float)
            curves.append(Curve(metric, method.name, method.control, len(table), levels, mean, low, high))
    return curves
