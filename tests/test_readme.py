"""The README promises commands, options and methods: all of them are there."""

import re
import shlex
from pathlib import Path

import pytest
import typer

from salcheck import folder
from salcheck.archs import ARCHS
from salcheck.cli import app

README = (Path(__file__).parents[1] / "README.md").read_text().replace("\\\n", "")
COMMANDS = re.findall(r"^ {4}(salcheck [^#\n]*)", README, flags=re.MULTILINE)


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_of_the_readme_is_one(line):
    name, *words = shlex.split(line)[1:]
    command = typer.main.get_command(app).commands[name]
    context = command.make_context(name, words, resilient_parsing=False)
    assert context.command is command


def test_the_readme_shows_every_command():
    named = {shlex.split(line)[1] for line in COMMANDS} | set(re.findall(r"`salcheck (\w+)", README))
    assert named >= set(typer.main.get_command(app).commands)


def test_the_readme_names_every_method_and_arch():
    for name in [*folder.names("methods"), *ARCHS]:
        assert f"`{name}`" in README
