"""A section as flat records, for spreadsheets and programs."""

import dataclasses
import math
from typing import Any

from salcheck.report.reported import beside
from salcheck.report.section import Line, Section


def records_of(section: Section) -> list[dict[str, Any]]:
    """The lines (`table` is claim), the means of every metric at every level (mean), the comparisons (pair), the
    areas under the ROC (auroc) and the figures of papers beside ours (reported).
    """
    about = section.about
    where = {name: about[name] for name in ("question", "run", "arch")}
    model = {name: about[name] for name in ("model", "layer", "dtype", "dataset")}
    model |= {"tested": section.question.metric, "better": section.better}
    claims = [{"table": "claim", **line.values, **_places(section, line), **model} for line in section.lines]
    tables = {
        "mean": _means(section),
        "pair": _pairs(section),
        "auroc": _aurocs(section),
        "reported": _published(section),
    }
    rest = [{"table": name, **where, **record, **model} for name, records in tables.items() for record in records]
    return [*claims, *rest]


def _places(section: Section, line: Line) -> dict[str, Any]:
    """Where the method's maps lie, as another run says."""
    found: dict[str, Any] = {}
    for place in section.places:
        mean, low, high = place.means.get(line.method, (None, None, None))
        name = place.question
        found |= {name: mean, f"{name}_low": low, f"{name}_high": high, f"{name}_chance": place.chance}
    return found


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
