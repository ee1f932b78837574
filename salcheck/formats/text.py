"""For the terminal: the columns that fit; the other formats have all of them."""

import io
from collections.abc import Mapping, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from salcheck.formats._verdicts import words
from salcheck.formats._words import figure, interval, p_value, share
from salcheck.naming.words import one_line
from salcheck.report.build import Report
from salcheck.report.crosscheck import CrossCheck
from salcheck.report.records import Line, Section

# The columns of figures, each with the least width of the terminal at which it is shown.
NEEDS = {"N": 54, "median": 0, "mean": 0, "95 % CI": 78, "SD": 54, "beyond": 62, "p Holm": 0}
LOCATIONS, LOCATION = 80, 13  # locations of maps: shown from this width on; the width of each such column


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
    console.print(one_line(section.asked))
    if section.of_methods:
        for level in section.levels:
            lines = [line for line in section.lines if line.level == level]
            console.print(_table(console.width, section, _head(section, level), lines))
    else:
        console.print(_table(console.width, section, section.question.level, section.lines))
    for remark in [*section.remarks, *_blanks(section)]:
        console.print(one_line(f"- {remark}"))
    if len(section.question.metrics) > 1:
        console.print("- Other metrics, every comparison and the curves: salcheck report --out report.md")
    console.print()


def _head(section: Section, level: float) -> str:
    """The title of the column of methods: the level of the table, where there are several."""
    return section.level_title(level) if section.shows_levels else "method"


def _table(width: int, section: Section, head: str, lines: Sequence[Line]) -> Table:
    """One row for each line: a method, or a level where the question was asked of the model itself."""
    shown = _shown(width, section)
    table = Table(box=SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    table.add_column(one_line(head), overflow="fold", min_width=8)
    for name in shown:
        side = ">" if section.metric.better > 0 else "<"
        title = f"{side}{section.threshold:g}" if name == "beyond" else name
        table.add_column(title, justify="right", no_wrap=True)
    if section.question.claim:
        table.add_column("verdict", overflow="fold", min_width=14)
    for line in lines:
        figures = _figures(line, section)
        verdict = [words(line.verdict)] if section.question.claim else []
        subject = line.method if section.of_methods else line.level_name
        table.add_row(one_line(subject), *(figures[name] for name in shown), *verdict)
    return table


def _shown(width: int, section: Section) -> list[str]:
    """The columns that this question has and that fit."""
    absent = {"mean", "SD"} if section.threshold is not None else {"median", "beyond", "p Holm"}
    if not section.of_methods:
        absent = {"beyond", "p Holm"}
    elif section.threshold is None:
        absent |= {"SD"}
    titles = [one.title for one in section.locations] if width >= LOCATIONS else []
    left = width - LOCATION * len(titles)
    return [*(name for name, needed in NEEDS.items() if left >= needed and name not in absent), *titles]


def _figures(line: Line, section: Section) -> dict[str, str]:
    s, digits = line.summary, section.metric.digits
    locations = {one.title: figure(one.means.get(line.method, (None,))[0], 2) for one in section.locations}
    return locations | {
        "N": str(s.n),
        "median": figure(s.median, digits),
        "mean": figure(s.mean, digits),
        "95 % CI": interval(s.low, s.high, digits),
        "SD": figure(s.sd, digits),
        "beyond": share(s.beyond),
        "p Holm": p_value(line.holm),
    }


def _blanks(section: Section) -> list[str]:
    many = len(section.levels) > 1
    counts = ", ".join(
        f"{line.method} {line.blank}{f' at {line.level_name}' if many else ''}" for line in section.lines if line.blank
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
