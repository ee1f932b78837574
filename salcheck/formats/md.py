"""Markdown tables for a paper, a README or an issue."""

from collections.abc import Mapping, Sequence
from urllib.parse import quote

from salcheck.crosscheck import CrossCheck
from salcheck.formats._words import figure, interval, p_value, share
from salcheck.report import Report
from salcheck.section import Curve, Line, Pair, Section

PICTURES = True
RANKING = "ranking, the best first"
MARKS = "&<>|*[]\\"  # a backslash before a sign would not do: in a table `\\|` still ends a cell
WORDS = ("method", "against", "verdict", "mean of", "reading", RANKING)  # columns that begin at the left
MOST_LEVELS = 11  # of a curve: the picture has them all

Row = list[str]


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
        f"{_text(about['subject'])}, layer {_text(about['layer'])}, run {about['run']}: "
        f"{section.metric.title}, {section.better}; {_text(section.settings)}. Source: {section.question.source}.",
        "",
    ]
    own = [(metric, name) for (run, metric), name in pictures.items() if run == about["run"]]
    shown = [f"![{_text(section.question.metrics[metric].title)}]({quote(name)})\n" for metric, name in own]
    parts = [_claims(section), *shown, *_means(section), *_pairs(section)]
    return "\n".join([*head, *parts, *(f"- {_text(remark)}" for remark in section.remarks), ""])


def _claims(section: Section) -> str:
    lines = _with_threshold(section) if section.threshold is not None else _without_threshold(section)
    return _table(lines[0], lines[1:])


def _with_threshold(section: Section) -> list[Row]:
    side = ">" if section.metric.better > 0 else "<"
    head = ["method", "N", "mean", "median", "95 % CI", "SD", f"{side} {section.threshold:g}"]
    head += ["p", "p Holm", "p sign", "effect", "blank", *_ties(section), "verdict"]
    return [_levels(section, "level", head)] + [
        _levels(
            section,
            line.level,
            [
                _name(line.method, line.control),
                *_location(line, section.metric.digits, median_first=True),
                share(line.summary.beyond),
                p_value(line.summary.wilcoxon),
                p_value(line.holm),
                p_value(line.summary.sign),
                figure(line.summary.effect, 2),
                *_counts(section, line),
                line.verdict,
            ],
        )
        for line in section.lines
    ]


def _without_threshold(section: Section) -> list[Row]:
    head = ["method", "N", "mean", "95 % CI", "median", "SD"]
    head += ["beside case", "p Holm", "beside the hardest control", "p Holm", "blank", *_ties(section), "verdict"]
    digits = section.metric.digits
    return [_levels(section, "level", head)] + [
        _levels(
            section,
            line.level,
            [
                _name(line.method, line.control),
                *_location(line, digits, median_first=False),
                *_beside(line.anchor, digits, named=False),
                *_beside(line.hardest, digits, named=True),
                *_counts(section, line),
                line.verdict,
            ],
        )
        for line in section.lines
    ]


def _location(line: Line, digits: int, *, median_first: bool) -> Row:
    s = line.summary
    mean, median, ci = figure(s.mean, digits), figure(s.median, digits), interval(s.low, s.high, digits)
    middle = [mean, median, ci] if median_first else [mean, ci, median]
    return [str(s.n), *middle, figure(s.sd, digits)]


def _beside(pair: Pair | None, digits: int, *, named: bool) -> Row:
    if pair is None or pair.comparison.difference is None:
        return ["", ""]
    difference = f"{pair.comparison.difference:+.{digits}f}"
    return [f"{difference} ({_text(pair.against)})" if named else difference, p_value(pair.holm)]


def _counts(section: Section, line: Line) -> Row:
    return [str(line.blank), *([str(line.tied)] if _ties(section) else [])]


def _ties(section: Section) -> Row:
    return ["ties"] if "tied" in section.question.metrics else []


def _levels(section: Section, level: object, row: Row) -> Row:
    """The row, after its level where there is more than one."""
    if len(section.levels) < 2:
        return row
    return [section.question.level if level == "level" else f"{level:g}", *row]


def _means(section: Section) -> list[str]:
    """Means of the other metrics: a row for each, and for each level of a short curve; methods side by side."""
    methods = list(dict.fromkeys((curve.method, curve.control) for curve in section.curves))
    rows = []
    for name, metric in section.question.metrics.items():
        curves = {curve.method: curve for curve in section.curves if curve.metric == name}
        if name == section.question.metric or not curves:
            continue
        for level in _short(list(curves.values())):
            place = "" if level == 0 and not metric.curve else f"{level:g}"
            cells = [figure(_at(curves.get(method), level), metric.digits) for method, _ in methods]
            rows.append([f"{metric.title} {('', '↑', '↓')[metric.better]}".strip(), place, *cells])
    if not rows:
        return []
    head = ["mean of", section.question.level or "level", *(_name(*method) for method in methods)]
    return [_table(head, rows)]


def _short(curves: Sequence[Curve]) -> list[float]:
    levels = sorted({float(level) for curve in curves for level in curve.levels})
    step = -(-len(levels) // MOST_LEVELS)
    return levels[::step]


def _at(curve: Curve | None, level: float) -> float | None:
    return (
        None
        if curve is None
        else next((m for at, m in zip(curve.levels, curve.mean, strict=True) if at == level), None)
    )


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
        rows.append(
            _levels(section, pair.level, [_text(pair.method), _text(pair.against), str(c.n), *difference, *tests])
        )
    return [_table(_levels(section, "level", [*head, "p Wilcoxon", "p Holm", "p t", "p t Holm"]), rows)]


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
    told = (
        f"{_text(check.about['subject'])}: Kendall's tau of each ranking with the first, by the mean over the images "
        "and levels at which all methods have a score (N images)."
    )
    return "\n".join([f"## {check.question.name} under other readings", "", told, "", _table(head, rows)])


def _table(head: Row, rows: Sequence[Row]) -> str:
    rule = ["---" if name in WORDS else "---:" for name in head]
    return "\n".join([*(f"| {' | '.join(row)} |" for row in [head, rule, *rows]), ""])


def _name(method: str, control: bool) -> str:
    return f"*{_text(method)}*" if control else _text(method)


def _text(words: object) -> str:
    """Names and paths are not trusted: one line, and nothing in it is a table, a link, a style or HTML."""
    line = " ".join(str(words).split()).replace("`", "'")
    return "".join(f"&#{ord(sign)};" if sign in MARKS else sign for sign in line)
