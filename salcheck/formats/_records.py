"""A section as flat records, for spreadsheets and programs."""

import dataclasses
import math
from typing import Any

from salcheck.formats._verdicts import words
from salcheck.report.records import Line, Section
from salcheck.report.reported import beside


def records_of(section: Section) -> list[dict[str, Any]]:
    """Records of five kinds, told apart by `table`: the lines (claim), the means of every metric at every level (mean),
    the comparisons (pair), the areas under the ROC curve (auroc) and published figures beside ours (reported).
    """
    about = section.about
    where = {name: about[name] for name in ("question", "run", "arch")}
    model = {name: about[name] for name in ("model", "layer", "dtype", "dataset")}
    model |= {"tested": section.question.metric, "better": section.better}
    claims = [{"table": "claim", **_claim(line), **_locations(section, line), **model} for line in section.lines]
    tables = {
        "mean": _means(section),
        "pair": _pairs(section),
        "auroc": _aurocs(section),
        "reported": _published(section),
    }
    rest = [{"table": name, **where, **record, **model} for name, records in tables.items() for record in records]
    return [*claims, *rest]


def _claim(line: Line) -> dict[str, Any]:
    """One line: its figures, and its verdict in words and as a kind."""
    return {
        "question": line.question,
        "run": line.run,
        "arch": line.arch,
        "method": line.method,
        "control": line.control,
        "floor": line.floor,
        "metric": line.metric,
        "level": line.level,
        "level_name": line.level_name,
        **dataclasses.asdict(line.summary),
        "holm": line.holm,
        "blank": line.blank,
        "tied": line.tied,
        "excluded": line.excluded,
        "failed": line.failed,
        "same_as": line.same_as,
        "verdict": words(line.verdict),
        "verdict_kind": line.verdict.kind.value,
    }


def _locations(section: Section, line: Line) -> dict[str, Any]:
    """Where the method's maps lie, by the other questions that measured it."""
    columns: dict[str, Any] = {}
    for one in section.locations:
        mean, low, high = one.means.get(line.method, (None, None, None))
        name = one.question
        columns |= {name: mean, f"{name}_low": low, f"{name}_high": high, f"{name}_chance": one.chance}
    return columns


def _means(section: Section) -> list[dict[str, Any]]:
    return [
        {
            "method": curve.method,
            "control": curve.control,
            "floor": curve.floor,
            "metric": curve.metric,
            "level": float(level),
            "level_name": section.level_name(float(level)),
            "n": int(n),
            "mean": float(mean),
            "low": float(low),
            "high": float(high),
        }
        for curve in section.curves
        for level, n, mean, low, high in zip(curve.levels, curve.n, curve.mean, curve.low, curve.high, strict=True)
        if math.isfinite(mean)
    ]


def _pairs(section: Section) -> list[dict[str, Any]]:
    return [
        {
            "method": pair.method,
            "control": False,
            "floor": False,
            "metric": section.question.metric,
            "level": pair.level,
            "level_name": section.level_name(pair.level),
            "against": pair.against,
            **dataclasses.asdict(pair.comparison),
            "holm": pair.holm,
            "holm_t": pair.holm_t,
        }
        for pair in section.pairs
    ]


def _aurocs(section: Section) -> list[dict[str, Any]]:
    return [dataclasses.asdict(one) for one in section.aurocs]


def _published(section: Section) -> list[dict[str, Any]]:
    records = []
    for one in beside(section):
        record = dataclasses.asdict(one)
        ends = record.pop("range") or (None, None)
        records.append(record | {"lowest": ends[0], "highest": ends[1]})
    return records
