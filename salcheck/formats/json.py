"""Records for a program: claims, means, comparisons, cross-checks and more (`table`), at full precision."""

import json
from collections.abc import Mapping

from salcheck.formats._records import records_of
from salcheck.report.build import Report


def render(report: Report, pictures: Mapping[tuple[int, str], str]) -> str:
    """A JSON list of objects: `table` says whether one is a claim, a mean, a pair of methods or a cross-check."""
    records = []
    for section in report.sections:
        about = {k: section.about[k] for k in ("reference", "seed", "drawn")}
        about |= {"unit": section.metric.title, "remarks": list(section.remarks), **section.parameters}
        records += [about | record for record in records_of(section)]
    records += [
        {
            "table": "cross-check",
            "question": check.question.name,
            "model": check.about["model"],
            "run": reading.run,
            "reading": reading.words,
            "images": reading.images,
            "tau": reading.tau,
            "tau_with_controls": reading.tau_with_controls,
            "ranking": [name for name, _ in reading.ranking],
        }
        for check in report.checks
        for reading in check.readings
    ]
    return _visible(json.dumps(records, indent=2, ensure_ascii=False)) + "\n"


def _visible(text: str) -> str:
    """JSON with its own escapes for what a terminal does not print but obeys."""
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)
