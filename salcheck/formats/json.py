"""Records for a program: one object per question, arch and method, with every figure at full precision."""

import json

from salcheck.report import Report


def render(report: Report) -> str:
    """A JSON list of objects with question, arch, method, n, mean, median, ..., and where they come from."""
    records = []
    for section in report.sections:
        about = {k: section.about[k] for k in ("model", "layer", "dtype", "dataset", "reference", "seed", "drawn")}
        about |= {
            "unit": section.question.metrics[section.question.metric].title,
            "remarks": list(section.remarks),
            **section.parameters,
        }
        records += [{**line.values, **about} for line in section.lines]
    return json.dumps(records, indent=2, ensure_ascii=False) + "\n"
