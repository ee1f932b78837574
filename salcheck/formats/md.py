"""Markdown tables for a paper, a README or an issue."""

import math
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import quote

import numpy as np

from salcheck.formats._verdicts import words
from salcheck.formats._words import figure, interval, p_value, share
from salcheck.naming.words import one_line
from salcheck.report.build import Report
from salcheck.report.crosscheck import CrossCheck
from salcheck.report.records import Curve, Line, Location, Pair, Section
from salcheck.report.reported import Beside, beside

PICTURES = True
RANKING = "ranking, the best first"
MARKS = "&<>|*[]\\"  # an escaping backslash would not do: in a table `\\|` still ends a cell
# Columns of text, aligned left.
WORDS = (
    "metric",
    "method",
    "against",
    "verdict",
    "mean of",
    "reading",
    "layer",
    "change",
    "source",
    "what differs",
    RANKING,
)
MOST_LEVELS = 11  # of a curve in a table; the picture shows all of them

Row = list[str]
Column = tuple[str, Callable[[Line], str]]


def render(report: Report, pictures: Mapping[tuple[int, str], str]) -> str:
    """One section per run: what was asked of what, tables, pictures, and the remarks that belong to its figures."""
    parts = [_section(section, pictures) for section in report.sections]
    parts += [_check(check) for check in report.checks]
    return "\n".join([*parts, *(f"{_text(remark)}\n" for remark in report.remarks)])


def _section(section: Section, pictures: Mapping[tuple[int, str], str]) -> str:
    about = section.about
    head = [
        f"## {about['question']}: {section.question.title}",
        "",
        f"{_text(about['subject'])}, layer {_text(about['layer'])}, run {about['run']}: {_text(section.asked)}. "
        f"Source: {section.question.source}.",
        "",
    ]
    own = [(metric, name) for (run, metric), name in pictures.items() if run == about["run"]]
    shown = [f"![{_text(section.question.metrics[metric].title)}]({quote(name)})\n" for metric, name in own]
    parts = [_claims(section), *shown, *_means(section), *_aurocs(section), *_published(section), *_pairs(section)]
    return "\n".join([*head, *parts, *(f"- {_text(remark)}" for remark in section.remarks), ""])


def _claims(section: Section) -> str:
    """The tested metric: a row for each method at each level. Columns that would be empty throughout are left out."""
    figures = _with_threshold(section) if section.threshold is not None else _without_threshold(section)
    columns = [*_subjects(section), *figures, *_locations(section), *_counts(section)]
    rows = [[cell(line) for _, cell in columns] for line in section.lines]
    return _table([name for name, _ in columns], rows)


def _subjects(section: Section) -> list[Column]:
    """The first columns: the level, where there are several, and the method, if methods were asked."""
    axis: list[Column] = [(section.question.level, lambda line: _text(line.level_name))]
    method: list[Column] = [("method", lambda line: _name(line.method, line.control, line.floor))]
    return [*(axis if section.shows_levels else []), *(method if section.of_methods else [])]


def _with_threshold(section: Section) -> list[Column]:
    digits, side = section.metric.digits, ">" if section.metric.better > 0 else "<"
    return [
        ("N", lambda line: str(line.summary.n)),
        ("mean", lambda line: figure(line.summary.mean, digits)),
        ("median", lambda line: figure(line.summary.median, digits)),
        ("95 % CI", lambda line: interval(line.summary.low, line.summary.high, digits)),
        ("SD", lambda line: figure(line.summary.sd, digits)),
        (f"{side} {section.threshold:g}", lambda line: share(line.summary.beyond)),
        ("p", lambda line: p_value(line.summary.wilcoxon)),
        ("p Holm", lambda line: p_value(line.holm)),
        ("p sign", lambda line: p_value(line.summary.sign)),
        ("effect", lambda line: figure(line.summary.effect, 2)),
    ]


def _without_threshold(section: Section) -> list[Column]:
    digits, columns = section.metric.digits, _summary(section)
    anchor = next((line.anchor.against for line in section.lines if line.anchor), None)
    if anchor:
        columns += [
            (f"beside {_text(anchor)}", lambda line: _beside(line.anchor, digits, named=False)),
            ("p Holm", lambda line: p_value(line.anchor.holm if line.anchor else None)),
        ]
    if any(line.hardest for line in section.lines):
        hurdle = "control or floor" if any(line.floor for line in section.lines) else "control"
        columns += [
            (f"beside the hardest {hurdle}", lambda line: _beside(line.hardest, digits, named=True)),
            ("p Holm", lambda line: p_value(line.hardest.holm if line.hardest else None)),
        ]
    return columns


def _summary(section: Section) -> list[Column]:
    digits = section.metric.digits
    return [
        ("N", lambda line: str(line.summary.n)),
        ("mean", lambda line: figure(line.summary.mean, digits)),
        ("95 % CI", lambda line: interval(line.summary.low, line.summary.high, digits)),
        ("median", lambda line: figure(line.summary.median, digits)),
        ("SD", lambda line: figure(line.summary.sd, digits)),
    ]


def _locations(section: Section) -> list[Column]:
    def column(one: Location) -> Column:
        means = {method: (figure(mean, 2), interval(low, high, 2)) for method, (mean, low, high) in one.means.items()}
        head = f"{one.question}: {one.title} (chance {one.chance:.2g})"
        return head, lambda line: " ".join(means.get(line.method, ("",))).strip()

    return [column(one) for one in section.locations]


def _counts(section: Section) -> list[Column]:
    blank: list[Column] = [("blank", lambda line: str(line.blank))]
    ties: list[Column] = [("ties", lambda line: str(line.tied))]
    verdict: list[Column] = [("verdict", lambda line: _text(words(line.verdict)))]
    return [
        *(blank if section.of_methods else []),
        *(ties if "tied" in section.question.metrics else []),
        *(verdict if section.question.claim else []),
    ]


def _beside(pair: Pair | None, digits: int, *, named: bool) -> str:
    if pair is None or pair.comparison.difference is None:
        return ""
    difference = f"{pair.comparison.difference:+.{digits}f}"
    return f"{difference} ({_text(pair.against)})" if named else difference


def _means(section: Section) -> list[str]:
    """Means of the other metrics: a row for each, and for each level of a short curve; methods side by side."""
    methods = list(dict.fromkeys((curve.method, curve.control, curve.floor) for curve in section.curves))
    rows = []
    for name, metric in section.question.metrics.items():
        curves = {curve.method: curve for curve in section.curves if curve.metric == name}
        if name == section.question.metric or name in section.copies or not curves:
            continue
        for level in _short(list(curves.values())):
            at = "" if level == 0 and not metric.curve else _text(section.level_name(level))
            most = max(_at(curve, level)[1] for curve in curves.values())
            cells = [_mean(curves.get(method), level, metric.digits, most) for method, *_ in methods]
            rows.append([f"{_text(metric.title)} {('', '↑', '↓')[metric.better]}".strip(), at, *cells])
    if not rows:
        return []
    shown = [_name(*method) for method in methods] if section.of_methods else ["mean"]
    head = ["mean of", section.question.level or "level", *shown]
    if not any(row[1] for row in rows):
        head, rows = [head[0], *head[2:]], [[row[0], *row[2:]] for row in rows]
    return [_table(head, rows)]


def _short(curves: Sequence[Curve]) -> list[float]:
    levels = sorted({float(level) for curve in curves for level in curve.levels})
    step = -(-len(levels) // MOST_LEVELS)
    return levels[::step]


def _at(curve: Curve | None, level: float) -> tuple[float, int]:
    """The mean at a level and its number of images; NaN and 0 where there is none."""
    at = [] if curve is None else np.flatnonzero(curve.levels == level).tolist()
    return (float(curve.mean[at[0]]), int(curve.n[at[0]])) if curve and at else (math.nan, 0)


def _mean(curve: Curve | None, level: float, digits: int, most: int) -> str:
    """The mean; with its number of images where other methods have more, for such means cannot be compared."""
    mean, n = _at(curve, level)
    return f"{figure(mean, digits)} ({n})" if 0 < n < most else figure(mean, digits)


def _aurocs(section: Section) -> list[str]:
    if not section.aurocs:
        return []
    lead = "Images with the plant against images without it, told apart by the method's own distance (chance 0.5):"
    rows = [
        [_name(one.method, one.control, one.floor), str(one.n), figure(one.value, 3), interval(one.low, one.high, 3)]
        for one in section.aurocs
    ]
    return [lead, "", _table(["method", "N", "AUROC", "95 % CI"], rows)]


def _published(section: Section) -> list[str]:
    """Our means beside those of papers. Published figures are shown in this table only, in the column `reported`."""
    rows = beside(section)
    if not rows:
        return []

    def row(one: Beside) -> Row:
        metric = section.question.metrics[one.metric]
        name = one.metric if one.level in (None, 0) else f"{one.metric} at {section.level_title(one.level or 0)}"
        ours = [figure(one.mean, metric.digits), interval(one.low, one.high, metric.digits)]
        if one.range:
            ours = [" to ".join(figure(end, metric.digits) for end in one.range), "over all levels"]
        return [
            _text(name),
            _text(one.method),
            " ".join(ours),
            "" if one.reported is None else f"{one.reported:g}",
            one.source,
            _text(one.differs),
        ]

    head = ["metric", "method", "ours", "reported", "source", "what differs"]
    return ["Published figures beside ours:", "", _table(head, [row(one) for one in rows])]


def _pairs(section: Section) -> list[str]:
    if not section.pairs:
        return []
    digits = section.metric.digits
    head = ["method", "against", "N", "mean difference", "95 % CI", "effect", "equal"]
    rows = []
    for pair in section.pairs:
        c = pair.comparison
        tests = [p_value(p) for p in (c.wilcoxon, pair.holm, c.t, pair.holm_t)]
        difference = [figure(c.difference, digits), interval(c.low, c.high, digits), figure(c.effect, 2), str(c.equal)]
        at = [_text(section.level_name(pair.level))] if section.shows_levels else []
        rows.append([*at, _text(pair.method), _text(pair.against), str(c.n), *difference, *tests])
    axis = [section.question.level] if section.shows_levels else []
    return [_table([*axis, *head, "p Wilcoxon", "p Holm", "p t", "p t Holm"], rows)]


def _check(check: CrossCheck) -> str:
    """How the methods are ranked under each reading."""
    head = ["reading", "run", "N", "tau", "tau with controls", RANKING]
    rows = [
        [
            _text(reading.words),
            str(reading.run),
            str(reading.images),
            figure(reading.tau, 2),
            figure(reading.tau_with_controls, 2),
            ", ".join(f"{_text(name)} {value:.3g}" for name, value in reading.ranking),
        ]
        for reading in check.readings
    ]
    lead = (
        f"{_text(check.about['subject'])}: Kendall's tau of each ranking with the first, by the mean over the images "
        "and levels at which all methods have a score (N images)."
    )
    return "\n".join([f"## {check.question.name} under other readings", "", lead, "", _table(head, rows)])


def _table(head: Row, rows: Sequence[Row]) -> str:
    rule = ["---" if name in WORDS else "---:" for name in head]
    return "\n".join([*(f"| {' | '.join(row)} |" for row in [head, rule, *rows]), ""])


def _name(method: str, control: bool, floor: bool) -> str:
    return f"*{_text(method)}*{' (floor)' if floor else ''}" if control or floor else _text(method)


def _text(words: object) -> str:
    """Names and paths are not trusted: they become one line in which no sign is markup or HTML."""
    line = one_line(words).replace("`", "'")
    return "".join(f"&#{ord(sign)};" if sign in MARKS else sign for sign in line)
