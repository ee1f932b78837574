"""Markdown tables for a paper, a README or an issue."""

from salcheck.formats._words import figure, interval, p_value, share
from salcheck.report import Line, Report, Section

MARKS = "&<>|*[]\\"  # a backslash before a sign would not do: in a table `\\|` still ends a cell


def render(report: Report) -> str:
    """One section per run: what was asked of what, the table, and the remarks that belong to its figures."""
    parts = [_section(section) for section in report.sections]
    return "\n".join([*parts, *(f"{_text(remark)}\n" for remark in report.remarks)])


def _section(section: Section) -> str:
    about, parameters = section.about, section.parameters
    settings = ", ".join(f"{k} {v:g}" for k, v in parameters.items() if isinstance(v, float))
    head = [
        f"## {about['question']}: {section.question.title}",
        "",
        f"{_text(about['subject'])}, layer {_text(about['layer'])}, run {about['run']}: "
        f"{section.question.metrics[section.question.metric].title}; {settings}. Source: {section.question.source}.",
        "",
    ]
    below = f"< {parameters['threshold']:g}"
    columns = ["method", "N", "mean", "median", "95 % CI", "SD", below, "p", "p Holm", "p sign", "effect"]
    columns += ["blank", "ties", "verdict"]
    rule = ["---", *["---:"] * (len(columns) - 2), "---"]
    rows = [columns, rule, *(_row(line) for line in section.lines)]
    table = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([*head, *table, "", *(f"- {_text(remark)}" for remark in section.remarks), ""])


def _row(line: Line) -> list[str]:
    s = line.summary
    name = f"*{_text(line.method)}*" if line.control else _text(line.method)
    return [
        name,
        str(s.n),
        figure(s.mean),
        figure(s.median),
        interval(s.low, s.high),
        figure(s.sd),
        share(s.below),
        p_value(s.wilcoxon),
        p_value(line.holm),
        p_value(s.sign),
        figure(s.effect, 2),
        str(line.blank),
        str(line.tied),
        line.verdict,
    ]


def _text(words: object) -> str:
    """Names and paths are not trusted: one line, and nothing in it is a table, a link, a style or HTML."""
    line = " ".join(str(words).split()).replace("`", "'")
    return "".join(f"&#{ord(sign)};" if sign in MARKS else sign for sign in line)
