"""For the terminal: the columns that fit, the rest is in the other formats."""

import io

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from salcheck.formats._words import figure, interval, p_value, share
from salcheck.report import Line, Report, Section


def render(report: Report) -> str:
    """Tables as wide as the terminal, without colours, each followed by its remarks."""
    out = io.StringIO()
    console = Console(file=out, highlight=False)
    for section in report.sections:
        _section(console, section)
    for remark in report.remarks:
        console.print(escape(remark))
    return out.getvalue()


def _section(console: Console, section: Section) -> None:
    about = section.about
    console.print(escape(f"{about['question']}: {section.question.title}"))
    console.print(escape(f"{about['subject']}, layer {about['layer']}, run {about['run']}"))
    table = Table(box=SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    table.add_column("method", overflow="fold")
    below = f"<{section.parameters['threshold']:g}"
    for name in ("N", "median", "95 % CI", below, "p Holm", "blank"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("verdict", overflow="fold")
    for line in section.lines:
        table.add_row(*_row(line), style="dim" if line.control else None)
    console.print(table)
    for remark in section.remarks:
        console.print(escape(f"- {remark}"))
    console.print()


def _row(line: Line) -> list[str]:
    s = line.summary
    numbers = [str(s.n), figure(s.median), interval(s.low, s.high), share(s.below), p_value(line.holm), str(line.blank)]
    return [escape(line.method), *numbers, line.verdict]
