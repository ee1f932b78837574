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

from salcheck.parameters import write
from salcheck.questions import HIGHER, Metric, Question
from salcheck.remarks import remarks_of
from salcheck.stats import Comparison, Summary, agreeing, alike, bands, compare, holm, summarise
from salcheck.store import Store
from salcheck.verdicts import ALPHA, margin, verdict

APART = ("correct_only", "images", "roles", "levels")  # parameters that are no setting, or are told elsewhere
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
WHERE runs.id = :run AND role IN :roles
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
    """The mean of one metric over the images, (L,) over its levels, with a bootstrap interval, for one method.

    n: (L,), on how many images it has a score there.
    """

    metric: str
    method: str
    control: bool
    levels: NDArray[np.float64]
    n: NDArray[np.int64]
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
    def better(self) -> str:
        """Which side of the tested metric is better, in words."""
        return "higher is better" if self.metric.better == HIGHER else "lower is better"

    @property
    def settings(self) -> str:
        """What was set, in words; what the remarks say of the images is left out."""
        told = {k: v for k, v in self.parameters.items() if k not in APART}
        return ", ".join(f"{name} {write(value)}" for name, value in told.items())

    @property
    def threshold(self) -> float | None:
        return self.parameters.get("threshold")

    @cached_property
    def levels(self) -> list[float]:
        """The levels of the tested metric."""
        return sorted({line.level for line in self.lines})


def make_section(store: Store, about: Mapping[str, Any], question: Question) -> Section:
    """Everything that the report says of one run."""
    run, seed = about["run"], about["seed"]
    question = dataclasses.replace(question, roles=tuple(json.loads(about["parameters"]).get("roles", question.roles)))
    main = store.query(SCORES, run=run, metric=question.metric)
    methods = _methods(store, run, main)
    twins = _twins(store, run, question, methods, main)
    distinct = [m for m in methods if not m.control and (m.id not in twins or twins[m.id].control)]
    entries = _entries(main, methods, question, json.loads(about["parameters"]).get("threshold"), seed)
    pairs = _pairs(main, methods, distinct, question, seed) if question.paired else []
    tied = store.query(TIED, run=run).set_index(["method_id", "level"])["images"].to_dict()
    lines = _lines(about, question, entries, twins, distinct, pairs, tied)
    curves = _curves(store, about, question, [*distinct, *(m for m in methods if m.control)], main)
    names = {method.id: method.name for method in methods}
    remarks = remarks_of(store, about, question, main, lines, names, len(distinct), len(pairs))
    return Section(question, about, lines, pairs, curves, remarks)


@dataclass(frozen=True)
class _Method:
    id: int
    name: str
    control: bool


@dataclass(frozen=True)
class Entry:
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
) -> list[Entry]:
    """One entry for each method at each level. An image that has no score at any level is noted once, at level 0."""
    higher = question.metrics[question.metric].better == HIGHER
    levels = sorted(set(main["level"]) - {0.0}) or [0.0]
    frames = dict(tuple(main.groupby("method_id")))
    entries = []
    for level in levels:
        for method in methods:
            rows = frames[method.id]
            here = rows[(rows["level"] == level) | (rows["level"] == 0.0)]
            kinds = here["note"].dropna().str.split(":").str[0].value_counts().to_dict()
            values = here["value"].dropna().to_numpy(dtype=float)
            entries.append(Entry(method, level, summarise(values, threshold, seed, above=higher), kinds))
    if threshold is not None or not main["value"].notna().any():
        return entries
    table = _wide(main).reindex(columns=pd.MultiIndex.from_tuples([(e.method.id, e.level) for e in entries]))
    _, low, high = bands(table.to_numpy(dtype=float), seed)
    return [
        dataclasses.replace(entry, summary=dataclasses.replace(entry.summary, low=_number(below), high=_number(above)))
        for entry, below, above in zip(entries, low, high, strict=True)
    ]


def _wide(rows: pd.DataFrame) -> pd.DataFrame:
    """Scores by image and (method, level)."""
    scored = rows[rows["value"].notna()]
    return scored.pivot(index="image_id", columns=["method_id", "level"], values="value")


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _pairs(
    main: pd.DataFrame, methods: Sequence[_Method], distinct: Sequence[_Method], question: Question, seed: int
) -> list[Pair]:
    """Every distinct method against the anchor and against every control, on the images that both have scores of."""
    higher = question.metrics[question.metric].better == HIGHER
    opponents = [m for m in methods if m.control or m.name == ANCHOR]
    table = _wide(main)
    there = [
        (level, method, other)
        for level in sorted(set(table.columns.get_level_values("level")))
        for method in distinct
        for other in opponents
        if method != other and (method.id, level) in table and (other.id, level) in table
    ]
    if not there:
        return []
    sides = [(table[m.id, level].to_numpy(float), table[o.id, level].to_numpy(float)) for level, m, o in there]
    told = [compare(first, second, higher_is_better=higher) for first, second in sides]
    _, low, high = bands(np.stack([first - second for first, second in sides], axis=1), seed)
    ranks, means = holm([comparison.wilcoxon for comparison in told]), holm([comparison.t for comparison in told])
    return [
        Pair(
            float(level),
            method.name,
            other.name,
            dataclasses.replace(comparison, low=_number(below), high=_number(above)),
            holm=rank,
            holm_t=mean,
        )
        for (level, method, other), comparison, below, above, rank, mean in zip(
            there, told, low, high, ranks, means, strict=True
        )
    ]


def _lines(
    about: Mapping[str, Any],
    question: Question,
    entries: Sequence[Entry],
    twins: Mapping[int, _Method],
    distinct: Sequence[_Method],
    pairs: Sequence[Pair],
    tied: Mapping[tuple[int, float], int],
) -> list[Line]:
    family = [entry for entry in entries if entry.method in distinct]
    adjusted = holm([entry.summary.wilcoxon for entry in family])
    p = {(e.method.id, e.level): value for e, value in zip(family, adjusted, strict=True)}
    lines = []
    for entry in entries:
        method, level = entry.method, entry.level
        subject = method if method in distinct or method.control else twins[method.id]
        controls = [e for e in entries if e.method.control and e.level == level]
        own = [pair for pair in pairs if (pair.method, pair.level) == (subject.name, level)]
        beside = [pair for pair in own if pair.against in {control.method.name for control in controls}]
        corrected = None if method.control else p[subject.id, level]
        line = _line(
            about,
            question,
            entry,
            holm=corrected,
            tied=int(tied.get((method.id, level), 0)),
            same_as=twins[method.id].name if method.id in twins else None,
            verdict=verdict(question, entry, corrected, controls, beside),
            anchor=next((pair for pair in own if pair.against == ANCHOR), None),
            hardest=min(beside, key=lambda pair: margin(pair, question), default=None),
        )
        lines.append(line)
    return lines


def _line(about: Mapping[str, Any], question: Question, entry: Entry, **found: Any) -> Line:
    return Line(
        question=about["question"],
        run=about["run"],
        arch=about["arch"],
        method=entry.method.name,
        control=entry.method.control,
        metric=question.metric,
        level=entry.level,
        summary=entry.summary,
        blank=entry.notes.get("blank", 0),
        excluded=entry.notes.get("excluded", 0),
        failed=sum(count for kind, count in entry.notes.items() if kind not in ("blank", "excluded")),
        **found,
    )


def _twins(
    store: Store, run: int, question: Question, methods: Sequence[_Method], main: pd.DataFrame
) -> dict[int, _Method]:
    """Methods whose maps rank every pixel as another's do, by id, and that other; controls come first.

    Signatures are of the positive parts of maps. Where a diagnostic reads more than that, the scores tell.
    """
    rows = store.query(SIGNATURES, run=run, roles=list(question.roles))
    table = rows.pivot(index=["role", "image_id"], columns="method_id", values="signature")
    order = [method for method in sorted(methods, key=lambda method: not method.control) if method.id in table]
    known = {str(method.id): method for method in order}
    signatures = {name: table[method.id].to_numpy(dtype=float) for name, method in known.items()}
    found = {int(name): known[twin] for name, twin in alike(signatures).items()}
    scores = main.pivot(index=["image_id", "level"], columns="method_id", values="value")
    return {id: twin for id, twin in found.items() if agreeing(*(scores[one].to_numpy(float) for one in (id, twin.id)))}


def _curves(
    store: Store, about: Mapping[str, Any], question: Question, methods: Sequence[_Method], main: pd.DataFrame
) -> list[Curve]:
    """The mean of every metric at each of its levels, for every method that is not another one's twin."""
    curves = []
    for metric in question.metrics:
        rows = main if metric == question.metric else store.query(SCORES, run=about["run"], metric=metric)
        table = _wide(rows)
        if table.empty:
            continue
        levels, names = table.columns.get_level_values("level"), table.columns.get_level_values("method_id")
        columns = table.to_numpy(dtype=float)
        figures = (np.isfinite(columns).sum(0), *bands(columns, about["seed"]))
        for method in methods:
            own = np.flatnonzero(names == method.id)
            own = own[np.argsort(levels[own])]
            told = [figure[own] for figure in figures]
            if own.size:
                curves.append(Curve(metric, method.name, method.control, levels[own].to_numpy(dtype=float), *told))
    return curves
