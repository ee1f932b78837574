"""Rows for a spreadsheet: claims, means of every metric, and comparisons (`table`), at full precision."""

import csv
import io
from collections.abc import Mapping

from salcheck.formats._records import records_of
from salcheck.report import Report

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")  # a spreadsheet would run text that begins so


def render(report: Report, pictures: Mapping[tuple[int, str], str]) -> str:
    """Comma-separated values with a header line; empty where there is no number."""
    records = [{**record, **section.parameters} for section in report.sections for record in records_of(section)]
    columns = list(dict.fromkeys(name for record in records for name in record))
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _inert(value) for name, value in record.items()} for record in records)
    return out.getvalue()


def _inert(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value
