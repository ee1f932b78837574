"""For the terminal: the columns that fit, the rest is in the other formats."""

import itertools
import re
import textwrap
from collections.abc import Sequence

from rich.console import Console

from salcheck.formats._words import figure, interval, p_value, share
from salcheck.report import Line, Report, Section

NARROWEST = 40
METHOD, VERDICT = 24, 19  # these columns' least widths, where their texts are longer
COLUMNS = ("N", "median", "95 % CI", "below", "p Holm")
SACRIFICES = ("95 % CI", "below", "N")  # what a narrow terminal does without, in this order


def render(report: Report) -> str:
    """Tables as wide as the terminal allows, each followed by its remarks."""
    width = max(NARROWEST, Console().width)
    parts = [_section(section, width) for section in report.sections]
    return "\n".join([*parts, *("\n".join(_wrap(remark, width)) + "\n" for remark in report.remarks)])


def _section(section: Section, width: int) -> str:
    about = section.about
    title = f"{about['question']}: {section.question.title}"
    subject = f"{about['subject']}, layer {about['layer']}, run {about['run']}"
    remarks = [*section.remarks, *_blanks(section.lines)]
    lines = [*_wrap(title, width), *_wrap(subject, width), "", *_table(section, width), ""]
    lines += [line for remark in remarks for line in _wrap(f"- {remark}", width, indent="  ")]
    return "\n".join(lines) + "\n"


def _table(section: Section, width: int) -> list[str]:
    titles = {"below": f"<{section.parameters['threshold']:g}"}
    rows = [{name: titles.get(name, name) for name in COLUMNS}, *(_numbers(line) for line in section.lines)]
    method = max([len("method"), *(len(line.method) for line in section.lines)])
    verdict = max([len("verdict"), *(len(line.verdict) for line in section.lines)])
    columns = {name: 2 + max(len(row[name]) for row in rows) for name in COLUMNS}
    for name in SACRIFICES:
        if min(METHOD, method) + sum(columns.values()) + 2 + min(VERDICT, verdict) > width:
            del columns[name]
    spare = width - sum(columns.values()) - 2
    method = max(6, min(method, max(METHOD, spare - verdict), spare - min(VERDICT, verdict)))
    verdict = min(verdict, spare - method)
    words = [("method", "verdict"), *((line.method, line.verdict) for line in section.lines)]
    table = []
    for (left, right), row in zip(words, rows, strict=True):
        figures = "".join(f"{row[name]:>{size}}" for name, size in columns.items())
        cells = itertools.zip_longest(_break(left, method), [figures], _wrap(right, verdict), fillvalue="")
        table += [f"{name:{method}}{numbers:{len(figures)}}  {said}".rstrip() for name, numbers, said in cells]
    table.insert(1, "─" * max(len(line) for line in table))
    return table


def _numbers(line: Line) -> dict[str, str]:
    s = line.summary
    return {
        "N": str(s.n),
        "median": figure(s.median),
        "95 % CI": interval(s.low, s.high),
        "below": share(s.below),
        "p Holm": p_value(line.holm),
    }


def _blanks(lines: Sequence[Line]) -> list[str]:
    counts = ", ".join(f"{line.method} {line.blank}" for line in lines if line.blank)
    return [f"Images without a score for a blank map: {counts}."] if counts else []


def _wrap(words: str, width: int, indent: str = "") -> list[str]:
    return textwrap.wrap(words, width, subsequent_indent=indent, break_on_hyphens=False)


def _break(method: str, width: int) -> list[str]:
    """A method's name in lines of `width`, after `:` and `,` where that is possible."""
    spaced = re.sub(r"(?<=[:,])(?=.)", " ", method)
    return [line.replace(": ", ":").replace(", ", ",") for line in _wrap(spaced, width, indent=" ")]
