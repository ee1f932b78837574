"""For the terminal: the columns that fit, the rest is in the other formats."""

import io
from collections.abc import Mapping

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from salcheck.crosscheck import CrossCheck
from salcheck.folder import one_line
from salcheck.formats._words import figure, interval, p_value, share
from salcheck.report import Report
from salcheck.section import Line, Section

# Columns of figures by the terminal's width that they need beside the method and the verdict.
NEEDS = {"N": 54, "median": 0, "mean": 0, "95 % CI": 78, "beyond": 62, "p Holm": 0}


def render(report: Report, pictures: Mapping[tuple[int, str], str]) -> str:
    """Tables no wider than the terminal, each followed by its remarks."""
    out = io.StringIO()
    console = Console(file=out, highlight=False, markup=False, emoji=False, force_terminal=False, color_system=None)
    for section in report.sections:
        _section(console, section)
    for check in report.checks:
        _check(console, check)
    for remark in report.remarks:
        console.print(one_line(remark))
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def _section(console: Console, section: Section) -> None:
    about = section.about
    console.print(one_line(f"{about['question']}: {section.question.title}"))
    console.print(one_line(f"{about['subject']}, layer {about['layer']}, run {about['run']}"))
    console.print(one_line(f"{section.metric.title}, {section.better}; {section.settings}"))
    for level in section.levels:
        console.print(_table(console.width, section, level))
    for remark in [*section.remarks, *_blanks(section)]:
        console.print(one_line(f"- {remark}"))
    if len(section.question.metrics) > 1:
        console.print("- Other metrics, every comparison and the curves: salcheck report --out report.md")
    console.print()


def _table(width: int, section: Section, level: float) -> Table:
    absent = {"mean"} if section.threshold is not None else {"median", "beyond", "p Holm"}
    shown = [name for name, needed in NEEDS.items() if width >= needed and name not in absent]
    table = Table(box=SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    many = len(section.levels) > 1
    table.add_column(f"{level:g} {section.question.level}" if many else "method", overflow="fold", min_width=8)
    for name in shown:
        side = ">" if section.metric.better > 0 else "<"
        title = f"{side}{section.threshold:g}" if name == "beyond" else name
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("verdict", overflow="fold", min_width=14)
    for line in (line for line in section.lines if line.level == level):
        figures = _figures(line, section.metric.digits)
        table.add_row(one_line(line.method), *(figures[name] for name in shown), line.verdict)
    return table


def _figures(line: Line, digits: int) -> dict[str, str]:
    s = line.summary
    return {
        "N": str(s.n),
        "median": figure(s.median, digits),
        "mean": figure(s.mean, digits),
        "95 % CI": interval(s.low, s.high, digits),
        "beyond": share(s.beyond),
        "p Holm": p_value(line.holm),
    }


def _blanks(section: Section) -> list[str]:
    many = len(section.levels) > 1
    counts = ", ".join(
        f"{line.method} {line.blank}{f' at {line.level:g}' if many else ''}" for line in section.lines if line.blank
    )
    return [f"Images without a score for a blank map: {counts}."] if counts else []


def _check(console: Console, check: CrossCheck) -> None:
    first = check.about["run"]
    console.print(
        one_line(f"{check.question.name} under other readings: tau of methods with the ranking of run {first}")
    )
    table = Table(box=SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    table.add_column("reading", overflow="fold", min_width=10)
    table.add_column("run", justify="right")
    table.add_column("tau", justify="right")
    table.add_column("the best first", overflow="fold", min_width=14)
    for reading in check.readings:
        names = ", ".join(name for name, _ in reading.ranking)
        table.add_row(one_line(reading.words), str(reading.run), figure(reading.tau, 2), one_line(names))
    console.print(table)
    console.print()
