"""The curves of a report as pictures beside its text: methods and controls in one, with their bootstrap bands."""

import textwrap
from collections.abc import Sequence
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from salcheck.naming.words import one_line, shorten
from salcheck.report.build import Report
from salcheck.report.records import Curve, Section
from salcheck.screen.figures import save

STYLES = ("-", (0, (6, 1)), (0, (3, 1, 1, 1)))  # of methods, one after another when the colours are used up
CONTROLS = ("--", ":", "-.", (0, (1, 4)), (0, (5, 5)))  # line styles: controls and floors are grey
CONTROL, FLOOR = "0.45", "0.15"
GREY = 0.05  # colours whose parts differ by less are grey
TITLE = 56  # characters that fit beside the picture
LONG = 28  # characters of all ticks together: more do not fit side by side


def draw_pictures(report: Report, text: Path) -> dict[tuple[int, str], str]:
    """Writes `<text>-run<run>-<metric>.png` for every curve of the report that is no other's copy; their names by (run,
    metric).
    """
    names = {}
    for section in report.sections:
        for metric, shown in section.question.metrics.items():
            curves = [curve for curve in section.curves if curve.metric == metric and len(curve.levels) > 1]
            if shown.curve and curves and metric not in section.copies:
                name = f"{text.stem}-run{section.about['run']}-{metric}.png"
                _draw(text.with_name(name), section, metric, curves)
                names[section.about["run"], metric] = name
    return names


def _draw(file: Path, section: Section, metric: str, curves: Sequence[Curve]) -> None:
    figure = Figure(figsize=(7.2, 4.2), layout="constrained")
    axis = figure.subplots()
    colours = [c for name in ("tab10", "Dark2") for c in matplotlib.color_sequences[name] if max(c) - min(c) > GREY]
    for place, curve in enumerate(curve for curve in curves if not curve.control and not curve.floor):
        _line(axis, curve, colours[place % len(colours)], STYLES[place // len(colours) % len(STYLES)])
    for place, curve in enumerate(curve for curve in curves if curve.floor or curve.control):
        _line(axis, curve, FLOOR if curve.floor else CONTROL, CONTROLS[place % len(CONTROLS)])
    about = section.about
    axis.set_title(f"{about['question']}, {about['subject']}, {about['dataset']}", fontsize=9, parse_math=False)
    _ticks(axis, section, sorted({float(level) for curve in curves for level in curve.levels}))
    axis.set_xlabel(section.question.level)
    axis.set_ylabel(textwrap.fill(section.question.metrics[metric].title, TITLE), fontsize=8)
    axis.margins(x=0.02)
    axis.grid(alpha=0.3, linewidth=0.5)
    figure.legend(loc="outside right upper", fontsize=8, frameon=False, title="mean, 95 % band", title_fontsize=7)
    save(figure, file)


def _ticks(axis: Axes, section: Section, levels: Sequence[float]) -> None:
    """A tick at each level that has a name."""
    if not section.names:
        return
    names = [shorten(one_line(section.level_name(level)), 30).replace("$", "\\$") for level in levels]
    axis.set_xticks(levels, labels=names, fontsize=8)
    if len(" ".join(names)) > LONG:
        axis.tick_params(axis="x", labelrotation=35)
        for label in axis.get_xticklabels():
            label.set(ha="right", rotation_mode="anchor")


def _counts(curve: Curve) -> str:
    few, many = int(curve.n.min()), int(curve.n.max())
    return f"{many}" if few == many else f"{few} to {many}"


def _line(axis: Axes, curve: Curve, colour: object, style: object) -> None:
    (line,) = axis.plot(
        curve.levels, curve.mean, color=colour, linestyle=style, linewidth=1.4, marker=".", markersize=4
    )
    line.set_label(shorten(curve.method, 30).replace("$", "\\$") + f" (N {_counts(curve)})")
    axis.fill_between(curve.levels, curve.low, curve.high, color=colour, alpha=0.12, linewidth=0)
