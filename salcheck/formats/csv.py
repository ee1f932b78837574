"""Rows for a spreadsheet: claims, means of every metric, comparisons and more (`table`), at full precision."""

import csv
import io
from collections.abc import Mapping
from typing import Any

from salcheck.formats._records import records_of
from salcheck.naming.words import visible
from salcheck.report.build import Report
from salcheck.report.records import Section

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")  # a spreadsheet runs text that begins with one of these


def render(report: Report, pictures: Mapping[tuple[int, str], str]) -> str:
    """Comma-separated values with a header line; empty where there is no number."""
    records = [record | _settings(section, record) for section in report.sections for record in records_of(section)]
    columns = list(dict.fromkeys(name for record in records for name in record))
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _inert(value) for name, value in record.items()} for record in records)
    return out.getvalue()


def _settings(section: Section, record: Mapping[str, Any]) -> dict[str, Any]:
    """The run's parameters, without those that have the name of a column."""
    return {name: value for name, value in section.parameters.items() if name not in record}


def _inert(value: object) -> object:
    if not isinstance(value, str):
        return value
    return f"'{visible(value)}" if value.startswith(FORMULA) else visible(value)
