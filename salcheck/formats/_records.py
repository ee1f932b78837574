"""A section as flat records, for spreadsheets and programs."""

import dataclasses
import math
from typing import Any

from salcheck.section import Section


def records_of(section: Section) -> list[dict[str, Any]]:
    """The lines (`table` is claim), the means of every metric at every level (mean) and the comparisons (pair)."""
    about = section.about
    where = {name: about[name] for name in ("question", "run", "arch")}
    model = {name: about[name] for name in ("model", "layer", "dtype", "dataset")}
    model |= {"tested": section.question.metric, "better": section.better}
    claims = [{"table": "claim", **line.values, **model} for line in section.lines]
    means = [{"table": "mean", **where, **mean, **model} for mean in _means(section)]
    pairs = [{"table": "pair", **where, **pair, **model} for pair in _pairs(section)]
    return [*claims, *means, *pairs]


def _means(section: Section) -> list[dict[str, Any]]:
    return [
        {
            "method": curve.method,
            "control": curve.control,
            "metric": curve.metric,
            "level": float(level),
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
            "metric": section.question.metric,
            "level": pair.level,
            "against": pair.against,
            **dataclasses.asdict(pair.comparison),
            "holm": pair.holm,
            "holm_t": pair.holm_t,
        }
        for pair in section.pairs
    ]
