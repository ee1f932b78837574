"""For the terminal: the columns that fit, the rest is in the other formats."""

import io

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from salcheck.formats._words import figure, interval, p_value, share
from salcheck.report import Line, Report, Section

# Columns of figures by the terminal's width that they need beside the method and the verdict.
NEEDS = {"N": 54, "median": 0, "95 % CI": 78, "below": 62, "p Holm": 0}


def render(report: Report) -> str:
    """Tables no wider than the terminal, each followed by its remarks."""
    out = io.StringIO()
    console = Console(file=out, highlight=False, force_terminal=False, color_system=None)
    for section in report.sections:
        _section(console, section)
    for remark in report.remarks:
        console.print(escape(remark))
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def _section(console: Console, section: Section) -> None:
    about = section.about
    console.print(escape(f"{about['question']}: {section.question.title}"))
    console.print(escape(f"{about['subject']}, layer {about['layer']}, run {about['run']}"))
    shown = [name for name, width in NEEDS.items() if console.width >= width]
    table = Table(box=SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    table.add_column("method", overflow="fold", min_width=8)
    for name in shown:
        title = f"<{section.parameters['threshold']:g}" if name == "below" else name
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("verdict", overflow="fold", min_width=14)
    for line in section.lines:
        figures = _figures(line)
        table.add_row(escape(line.method), *(figures[name] for name in shown), line.verdict)
    console.print(table)
    for remark in [*section.remarks, *_blanks(section)]:
        console.print(escape(f"- {remark}"))
    console.print()


def _figures(line: Line) -> dict[str, str]:
    s = line.summary
    return {
        "N": str(s.n),
        "median": figure(s.median),
        "95 % CI": interval(s.low, s.high),
        "below": share(s.below),
        "p Holm": p_value(line.holm),
    }


def _blanks(section: Section) -> list[str]:
    counts = ", ".join(f"{line.method} {line.blank}" for line in section.lines if line.blank)
    return [f"Images without a score for a blank map: {counts}."] if counts else []
