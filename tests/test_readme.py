"""The README promises commands, options and methods: all of them are there."""

import re
import shlex
from pathlib import Path

import pytest
import typer

from salcheck.cli import make_app
from salcheck.methods import every
from salcheck.naming import registry
from salcheck.network.archs import ARCHS
from salcheck.questions import QUESTIONS
from salcheck.screen.costs import cost_words

README = (Path(__file__).parents[1] / "README.md").read_text().replace("\\\n", "")
COMMANDS = re.findall(r"^ {4}(salcheck [^#\n]*)", README, flags=re.MULTILINE)


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_of_the_readme_is_one(line):
    name, *words = shlex.split(line)[1:]
    command = typer.main.get_command(make_app()).commands[name]
    context = command.make_context(name, words, resilient_parsing=False)
    assert context.command is command


def test_the_readme_shows_every_command():
    named = {shlex.split(line)[1] for line in COMMANDS} | set(re.findall(r"`salcheck (\w+)", README))
    assert named >= set(typer.main.get_command(make_app()).commands)


def row(method):
    """A method's line in the table, from its own docstring, cost and source."""
    said = method.help.partition(": ")[2].rstrip(".")
    if method.control:
        return f"| `{method.name}` | {said} |"
    return f"| `{method.name}` | {said} | {cost_words(method.cost)} | {method.module.SOURCE} |"


@pytest.mark.parametrize("method", every(), ids=lambda method: method.name)
def test_the_table_of_methods_says_what_they_say_themselves(method):
    assert row(method) in README


def test_nothing_is_left_to_be_filled_in():
    assert not re.search(r"@[A-Z]+@|TODO|FIXME", README)


def test_the_readme_names_every_method_and_arch():
    for name in [*registry.names("methods"), *ARCHS]:
        assert f"`{name}`" in README


@pytest.mark.parametrize("question", QUESTIONS.values(), ids=lambda question: question.name)
def test_the_table_of_questions_says_what_they_say_themselves(question):
    assert f"| `{question.name}` | {question.title} | {question.source} |" in README
