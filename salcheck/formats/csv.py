"""One row per question, arch and method for a spreadsheet, with every figure at full precision."""

import csv
import io

from salcheck.report import Report

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")  # a spreadsheet would run text that begins so


def render(report: Report) -> str:
    """Comma-separated values with a header line; empty where there is no number."""
    records = [
        {
            **line.values,
            "model": s.about["model"],
            "layer": s.about["layer"],
            "dtype": s.about["dtype"],
            "dataset": s.about["dataset"],
            **s.parameters,
        }
        for s in report.sections
        for line in s.lines
    ]
    columns = list(dict.fromkeys(name for record in records for name in record))
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _inert(value) for name, value in record.items()} for record in records)
    return out.getvalue()


def _inert(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value
