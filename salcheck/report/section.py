"""Makes a section of the report: the statistics of one run, and the verdicts on its methods."""

import dataclasses
import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from salcheck.naming.registry import flagged
from salcheck.questions import HIGHER, Question
from salcheck.report.derived import aurocs, best_of, half_of
from salcheck.report.records import Curve, Entry, Line, Pair, Section, copies_of, level_name
from salcheck.report.remarks import chosen_levels, remarks_of
from salcheck.report.stats import bands, compare, holm, summarise
from salcheck.report.stored import ScoredMethod, Stored, load
from salcheck.report.verdicts import margin, verdict
from salcheck.store.results import Store

# Methods with which every other method of a run is compared, where they are in it: those whose papers claim to be
# better than the rest. The first that is in the run has columns of its own in the tables. A choice, not derivable.
ANCHORS = ("case", "diffcam", "libracam")


def make_section(store: Store, about: Mapping[str, Any], question: Question) -> Section:
    """Everything that the report says of one run."""
    stored = load(store, about, question)
    entries = _entries(stored)
    pairs = _pairs(stored) if question.paired else []
    lines = _lines(stored, entries, pairs, flagged("methods", "ALWAYS"))
    curves, chosen = _curves(stored)
    same = ", ".join(f"{metric} is {other}" for metric, other in copies_of(curves).items())
    remarks = [*remarks_of(stored, lines, len(pairs)), *chosen, *([f"The same throughout: {same}."] if same else [])]
    return Section(stored.question, about, lines, pairs, curves, remarks, aurocs(stored))


def _entries(stored: Stored) -> list[Entry]:
    """One entry for each method at each level. An image that has no score at any level is noted once, at level 0."""
    main, threshold, seed = stored.main, stored.threshold, stored.seed
    higher = stored.question.metrics[stored.question.metric].better == HIGHER
    levels = sorted(set(main["level"]) - {0.0}) or [0.0]
    frames = dict(tuple(main.groupby("method_id")))
    table = stored.wide(main).reindex(
        columns=pd.MultiIndex.from_tuples([(m.id, level) for level in levels for m in stored.methods])
    )
    entries = []
    for level in levels:
        for method in stored.methods:
            rows = frames[method.id]
            here = rows[(rows["level"] == level) | (rows["level"] == 0.0)]
            kinds = here["kind"].dropna().value_counts().to_dict()
            values = table[method.id, level].to_numpy(dtype=float)
            scored = np.isfinite(values)
            summary = summarise(values[scored], threshold, seed, above=higher, clusters=stored.clusters[scored])
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
    """Every distinct method with every anchor, floor and control but itself; two anchors are compared once."""
    order = {spec: position for position, spec in enumerate(ANCHORS)}
    opponents = [other for other in stored.methods if other.hurdle or other.spec in order]
    return [
        (method, other)
        for method in stored.distinct
        for other in opponents
        if method not in (other, stored.twins.get(other.id))
        and not order.get(method.spec, 99) < order.get(other.spec, -1)
    ]


def _pairs(stored: Stored) -> list[Pair]:
    """Every comparison, on the images that have scores of both methods."""
    higher = stored.question.metrics[stored.question.metric].better == HIGHER
    table = stored.wide(stored.main)
    asked = [
        (level, method, other)
        for level in sorted(set(table.columns.get_level_values("level")))
        for method, other in _opponents(stored)
        if (method.id, level) in table and (other.id, level) in table
    ]
    if not asked:
        return []
    sides = [(table[m.id, level].to_numpy(float), table[o.id, level].to_numpy(float)) for level, m, o in asked]
    comparisons = [compare(first, second, higher_is_better=higher, clusters=stored.clusters) for first, second in sides]
    differences = np.stack([first - second for first, second in sides], axis=1)
    _, low, high = bands(differences, stored.seed, stored.clusters)
    ranks, means = holm([one.wilcoxon for one in comparisons]), holm([one.t for one in comparisons])
    return [
        Pair(
            float(level),
            method.spec,
            other.spec,
            dataclasses.replace(comparison, low=_number(below), high=_number(above)),
            holm=rank,
            holm_t=mean,
            gain=(1 if higher else -1) * (comparison.difference or 0.0),
        )
        for (level, method, other), comparison, below, above, rank, mean in zip(
            asked, comparisons, low, high, ranks, means, strict=True
        )
    ]


def _lines(stored: Stored, entries: Sequence[Entry], pairs: Sequence[Pair], standing: Collection[str]) -> list[Line]:
    family = [entry for entry in entries if entry.method in stored.distinct]
    adjusted = holm([entry.summary.wilcoxon for entry in family])
    p = {(e.method.id, e.level): value for e, value in zip(family, adjusted, strict=True)}
    anchor = next((spec for spec in ANCHORS if spec in {method.spec for method in stored.methods}), None)
    lines = []
    for entry in entries:
        method, level = entry.method, entry.level
        subject = method if method in stored.distinct or method.hurdle else stored.twins[method.id]
        hurdles = [e for e in entries if e.method.hurdle and e.level == level]
        own = [pair for pair in pairs if (pair.method, pair.level) == (subject.spec, level)]
        beside = [pair for pair in own if pair.against in {e.method.spec for e in hurdles}]
        corrected = None if method.hurdle else p[subject.id, level]
        line = _line(
            stored,
            entry,
            holm=corrected,
            tied=int(stored.tied.get((method.id, level), 0)),
            same_as=stored.twins[method.id].spec if method.id in stored.twins else None,
            verdict=verdict(stored.question, entry, corrected, hurdles, beside, standing),
            anchor=next((pair for pair in own if pair.against == anchor), None),
            hardest=min(beside, key=lambda pair: margin(pair, stored.question), default=None),
        )
        lines.append(line)
    return lines


def _line(stored: Stored, entry: Entry, **rest: Any) -> Line:
    about, method = stored.about, entry.method
    return Line(
        question=about["question"],
        run=about["run"],
        arch=about["arch"],
        method=method.spec,
        control=method.control,
        floor=method.floor,
        metric=stored.question.metric,
        level=entry.level,
        level_name=level_name(json.loads(about["parameters"]).get("levels", ()), entry.level),
        summary=entry.summary,
        blank=entry.notes.get("blank", 0),
        excluded=entry.notes.get("excluded", 0),
        failed=sum(count for kind, count in entry.notes.items() if kind not in ("blank", "excluded")),
        **rest,
    )


def _curves(stored: Stored) -> tuple[list[Curve], list[str]]:
    """The mean of every metric at each of its levels, for every method that duplicates no other; and a remark on every
    metric that is computed from another metric's curve.
    """
    curves, remarks = [], []
    methods = [*stored.distinct, *(method for method in stored.methods if method.hurdle)]
    halves = {int(id): half_of(stored.seed, key) for id, key in stored.images["key"].items()}
    for metric, row in stored.question.metrics.items():
        rows = stored.rows(row.best_of or metric)
        if row.best_of:
            rows, levels = best_of(rows, halves, row.better)
            remarks += chosen_levels(metric, row, {m.spec: levels[m.id] for m in methods if m.id in levels})
        table = stored.wide(rows)
        if table.empty:
            continue
        level_of, id_of = table.columns.get_level_values("level"), table.columns.get_level_values("method_id")
        columns = table.to_numpy(dtype=float)
        figures = (np.isfinite(columns).sum(0), *bands(columns, stored.seed, stored.clusters))
        for method in methods:
            own = np.flatnonzero(id_of == method.id)
            own = own[np.argsort(level_of[own])]
            if own.size:
                axis = level_of[own].to_numpy(dtype=float)
                values = [figure[own] for figure in figures]
                curves.append(Curve(metric, method.spec, method.control, method.floor, axis, *values))
    return curves, remarks
