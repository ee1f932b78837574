"""Writes the tables of the pages from the code: `make docs`. A test fails where a page is not as this would write it.

A table stands between `<!-- table: NAME -->` and `<!-- /table -->`; NAME is a key of TABLES. What is outside of such
marks is written by hand and left alone.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import typer

from salcheck import cli
from salcheck.diagnostics import GIVEN
from salcheck.methods import Method, every
from salcheck.naming import parameters, registry
from salcheck.network.archs import ARCHS, Arch
from salcheck.questions import HIGHER, LOWER, QUESTIONS, Question
from salcheck.screen.costs import cost_words

DOCS = Path(__file__).parent
APP = cli.make_app()
MARKED = re.compile(r"(<!-- table: ([\w-]+) -->\n).*?(<!-- /table -->)", re.DOTALL)
BETTER = {HIGHER: "higher is better", LOWER: "lower is better"}


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; signs that would end a cell or begin a tag are written as what they are."""
    lines = [heads, ["---"] * len(heads), *([inert(cell) for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def inert(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def code(words: Iterable[str]) -> str:
    return ", ".join(f"`{word}`" for word in words)


def methods_table() -> str:
    rows = [
        (code([method.name]), said(method), cost(method), method.module.SOURCE)
        for method in every()
        if not method.control
    ]
    return table(("name", "map", "cost", "source"), rows)


def controls_table() -> str:
    """The controls, those that join every run first."""
    controls = sorted((m for m in every() if m.control), key=lambda method: not method.always)
    rows = [(code([m.name]), said(m), "yes" if m.always else "") for m in controls]
    return table(("name", "map", "joins every run"), rows)


def method_parameters_table() -> str:
    return table(("method", "parameters"), [(code([m.name]), code(m.options)) for m in every() if m.options])


def said(method: Method) -> str:
    """What the first line of a method's docstring says after the method's name."""
    return method.help.partition(": ")[2].rstrip(".")


def cost(method: Method) -> str:
    return "not stated" if method.cost is None else cost_words(method.cost)


def questions_table() -> str:
    """The questions, those of one file under its docstring's first line."""
    parts = []
    for heading, members in question_groups().items():
        rows = [(code([q.name]), q.title, q.source) for q in members]
        parts.append(f"**{heading}**\n\n{table(('question', 'what it asks', 'source'), rows)}")
    return "\n".join(parts)


def question_groups() -> dict[str, list[Question]]:
    files = [registry.load("questions", name) for name in registry.names("questions")]
    heading = {row.name: first_line(file) for file in files for row in file.ROWS}
    groups: dict[str, list[Question]] = {}
    for question in QUESTIONS.values():
        groups.setdefault(heading[question.name], []).append(question)
    return groups


def question_parameters_table() -> str:
    heads = ("question", "score", "claim", "parameters", "`--variants`")
    return table(heads, [question_row(question) for question in QUESTIONS.values()])


def question_row(question: Question) -> tuple[str, ...]:
    metric = question.metrics[question.metric]
    claim = question.claim or "none"
    claim += "" if question.threshold is None else f" (threshold {question.threshold:g})"
    there = parameters.known(registry.load("diagnostics", question.diagnostic).score, but=GIVEN)
    changes = [f"{name}={parameters.write(value)}" for one in question.variants for name, value in one.items()]
    score = ", ".join(filter(None, [metric.title, BETTER.get(metric.better, "")]))
    options = [parameters.option(name, parameter) for name, parameter in there.items()]
    return code([question.name]), score, claim, code(options), code(changes)


def shelf_table(shelf: str) -> str:
    """The files of a shelf with the first line of their docstrings."""
    rows = [(code([name]), first_line(registry.load(shelf, name))) for name in registry.names(shelf)]
    return table(("name", "what"), rows)


def first_line(file: Any) -> str:
    return (file.__doc__ or "").splitlines()[0]


def archs_table() -> str:
    rows = [(code([name]), arch_words(arch), code([arch.paper] if arch.paper else [])) for name, arch in ARCHS.items()]
    return table(("short name", "model", "`--layer paper`"), rows)


def arch_words(arch: Arch) -> str:
    """The timm name, or that it is built in; whether it has classes and where its weights are."""
    words = ["built in" if arch.model.startswith("local-dir:") else f"`{arch.model}`"]
    words += ["without classes"] if arch.backbone else []
    words += [f"with `--checkpoint`: {arch.published}"] if arch.published else []
    return ", ".join(words)


def commands_text() -> str:
    """What `--help` says of every command."""
    return "\n".join(command_text(words, command) for words, command in commands() if words != ["salcheck"])


def command_text(words: Sequence[str], command: Any) -> str:
    rows = [(parameter_names(one), one.help or "", default(one)) for one in command.params if one.name != "help"]
    listed = "\n" + table(("option", "what", "default"), rows) if rows else ""
    return f"## `{' '.join(words)}`\n\n{command.help}\n{listed}"


def commands() -> list[tuple[list[str], Any]]:
    """Every command with the words that call it, a group before its members."""
    return list(walk(typer.main.get_command(APP), ["salcheck"]))


def walk(command: Any, words: list[str]) -> Iterable[tuple[list[str], Any]]:
    yield words, command
    for name, member in getattr(command, "commands", {}).items():
        yield from walk(member, [*words, name])


def parameter_names(parameter: Any) -> str:
    """`--arch MODEL`, or the word for an argument."""
    shown = parameter.metavar or ""
    if parameter.param_type_name == "argument":
        return code([f"{shown or parameter.name.upper()}{' ...' if parameter.nargs == -1 else ''}"])
    return code(f"{name} {shown}".strip() for name in parameter.opts)


def default(parameter: Any) -> str:
    """In words where the option says it in words, else the value; nothing for a switch and for what has none."""
    if isinstance(parameter.show_default, str):
        return parameter.show_default
    value = parameter.default
    if parameter.required or value is None or value is False or callable(value):
        return "required" if parameter.required else ""
    return code(str(one) for one in (value if isinstance(value, list | tuple) else [value]))


TABLES: dict[str, Callable[[], str]] = {
    "methods": methods_table,
    "controls": controls_table,
    "method-parameters": method_parameters_table,
    "references": lambda: shelf_table("references"),
    "questions": questions_table,
    "question-parameters": question_parameters_table,
    "datasets": lambda: shelf_table("datasets"),
    "formats": lambda: shelf_table("formats"),
    "archs": archs_table,
    "commands": commands_text,
}


def written(text: str) -> str:
    """A page with its tables as the code has them now."""
    return MARKED.sub(lambda mark: f"{mark[1]}{TABLES[mark[2]]()}{mark[3]}", text)


def main() -> None:
    for page in sorted(DOCS.glob("*.md")):
        page.write_text(written(page.read_text()))


if __name__ == "__main__":
    main()
