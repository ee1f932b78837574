"""The curves of a report as pictures beside its text: methods and controls in one, with their bootstrap bands."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from salcheck.figures import save, shorten
from salcheck.report import Report
from salcheck.section import Curve, Section

CONTROLS = ("--", ":", "-.", (0, (1, 4)), (0, (5, 5)))  # line styles: controls are grey


def draw_pictures(report: Report, text: Path) -> dict[tuple[int, str], str]:
    """Writes `<text>-run<run>-<metric>.png` for every curve of the report; their names by (run, metric)."""
    names = {}
    for section in report.sections:
        for metric, shown in section.question.metrics.items():
            curves = [curve for curve in section.curves if curve.metric == metric and len(curve.levels) > 1]
            if shown.curve and curves:
                name = f"{text.stem}-run{section.about['run']}-{metric}.png"
                _draw(text.with_name(name), section, metric, curves)
                names[section.about["run"], metric] = name
    return names


def _draw(file: Path, section: Section, metric: str, curves: Sequence[Curve]) -> None:
    figure = Figure(figsize=(7.2, 4.2), layout="constrained")
    axis = figure.subplots()
    colours = [*matplotlib.color_sequences["tab10"], *matplotlib.color_sequences["Dark2"]]
    methods = [curve for curve in curves if not curve.control]
    for place, curve in enumerate(methods):
        _line(axis, curve, colours[place % len(colours)], "-")
    for place, curve in enumerate(curve for curve in curves if curve.control):
        _line(axis, curve, "0.45", CONTROLS[place % len(CONTROLS)])
    about = section.about
    axis.set_title(f"{about['question']}, {about['subject']}, {about['dataset']}", fontsize=9, parse_math=False)
    axis.set_xlabel(section.question.level)
    axis.set_ylabel(section.question.metrics[metric].title, fontsize=8)
    axis.margins(x=0.02)
    axis.grid(alpha=0.3, linewidth=0.5)
    figure.legend(loc="outside right upper", fontsize=8, frameon=False, title="mean, 95 % band", title_fontsize=7)
    save(figure, file)


def _counts(curve: Curve) -> str:
    few, many = int(curve.n.min()), int(curve.n.max())
    return f"{many}" if few == many else f"{few} to {many}"


def _line(axis: Axes, curve: Curve, colour: object, style: object) -> None:
    (line,) = axis.plot(
        curve.levels, curve.mean, color=colour, linestyle=style, linewidth=1.4, marker=".", markersize=4
    )
    line.set_label(shorten(curve.method, 30).replace("$", "\\$") + f" (N {_counts(curve)})")
    axis.fill_between(curve.levels, curve.low, curve.high, color=colour, alpha=0.12, linewidth=0)
