"""The README and the pages promise commands, options, methods and figures: all of them are there."""

import re
import runpy
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from salcheck.methods import every
from salcheck.naming import registry
from salcheck.network.archs import ARCHS
from salcheck.questions import QUESTIONS
from salcheck.screen import demo

ROOT = Path(__file__).parents[1]
WRITE = runpy.run_path(str(ROOT / "docs" / "write.py"))  # what `make docs` runs
PAGES = {path.relative_to(ROOT).as_posix(): path.read_text() for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]}
README = PAGES["README.md"]
COMMANDS = {" ".join(words[1:]): command for words, command in WRITE["commands"]()}
# Indented by four, or after a prompt.
TYPED = [
    line.split(" #")[0].strip()
    for text in PAGES.values()
    for line in re.findall(r"^(?: {4}|\$ )(salcheck .*)", text.replace("\\\n", ""), flags=re.MULTILINE)
]


def the_door_is_not_there_yet(line):
    """`salcheck new` is written by another hand at the same time; with it these lines are held to it as all others."""
    return "new" not in COMMANDS and ("salcheck new" in line or "./" in line)


@pytest.mark.parametrize("line", sorted(set(TYPED)))
def test_every_command_of_the_pages_is_one(line):
    if the_door_is_not_there_yet(line):
        pytest.skip("salcheck new is not there")
    command, words = COMMANDS[""], shlex.split(line)[1:]
    while hasattr(command, "commands"):
        command, words = command.commands[words[0]], words[1:]
    context = command.make_context("salcheck", words, resilient_parsing=False)
    assert context.command is command


def test_the_pages_show_every_command():
    named = {" ".join(shlex.split(line)[1:]) for line in TYPED} | set(re.findall(r"`salcheck ([\w ]+)", str(PAGES)))
    for name in filter(None, COMMANDS):
        assert any(f"{line} ".startswith(f"{name} ") for line in named), name


@pytest.mark.parametrize("page", [name for name in PAGES if name.startswith("docs/")])
def test_make_docs_would_change_nothing(page):
    assert WRITE["written"](PAGES[page]) == PAGES[page], "a page is not as the code has it: run `make docs`"


def test_make_docs_writes_every_table_anew():
    text = "\n".join(PAGES.values())
    assert sorted(re.findall(r"<!-- table: ([\w-]+) -->", text)) == sorted(WRITE["TABLES"])
    emptied = WRITE["MARKED"].sub(r"\1\3", PAGES["docs/formats.md"])
    assert emptied != PAGES["docs/formats.md"]
    assert WRITE["written"](emptied) == PAGES["docs/formats.md"]


def row(method):
    """A method's line in the table, from its own docstring, cost and source."""
    said = method.help.partition(": ")[2].rstrip(".")
    if method.control:
        return f"| `{method.name}` | {said} | {'yes' if method.always else ''} |"
    return f"| `{method.name}` | {said} | {WRITE['cost'](method)} | {method.module.SOURCE} |"


@pytest.mark.parametrize("method", every(), ids=lambda method: method.name)
def test_the_table_of_methods_says_what_they_say_themselves(method):
    assert row(method) in PAGES["docs/methods.md"]


@pytest.mark.parametrize("question", QUESTIONS.values(), ids=lambda question: question.name)
def test_the_table_of_questions_says_what_they_say_themselves(question):
    assert f"| `{question.name}` | {question.title} | {question.source} |" in PAGES["docs/questions.md"]


def test_the_pages_name_everything_that_a_user_can_name():
    for shelf in ("methods", "datasets", "formats"):
        for name in registry.names(shelf):
            assert f"| `{name}` |" in PAGES[f"docs/{shelf}.md"]
    for name in ARCHS:
        assert f"| `{name}` |" in PAGES["docs/models.md"]


def test_nothing_is_left_to_be_filled_in():
    for text in PAGES.values():
        assert not re.search(r"@[A-Z]+@|TODO|FIXME", text)


def test_no_page_names_a_place_of_one_machine():
    for text in PAGES.values():
        assert not re.search(r"(?<![\w.])/(work|root|tmp|home)/", text)


def test_links_lead_somewhere():
    for page, text in PAGES.items():
        for target, anchor in re.findall(r"\]\(([^)#:]*)(#[^)]*)?\)", text):
            file = (ROOT / page).parent / target if target else ROOT / page
            assert file.exists(), f"{page}: {target}"
            if anchor:
                assert anchor[1:] in anchors(file.read_text()), f"{page}: {target}{anchor}"


def anchors(text):
    """The ids of the headings, as a forge makes them."""
    heads = re.findall(r"^#+ (.*)", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}


def test_the_readme_is_read_in_a_minute():
    assert len(README.encode()) <= 8192


def test_the_readme_shows_what_its_commands_print(tmp_path, monkeypatch):
    """All of it in one folder, from top to bottom, as a reader would."""
    monkeypatch.setattr(demo, "SCENES", 4, raising=False)  # its figures are not shown here, and another test runs it
    (tmp_path / "salcheck").mkdir()
    (tmp_path / "salcheck" / "assets").symlink_to(ROOT / "salcheck" / "assets")
    shown = 0
    for block in re.findall(r"^```console\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL):
        for step in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            line, _, expected = step.partition("\n")
            if line.startswith("salcheck ") and not the_door_is_not_there_yet(line):
                assert_printed(expected, printed_by(line), line)
                shown += bool(expected)
    assert shown >= 2


def printed_by(line):
    result = CliRunner(env={"COLUMNS": "80"}).invoke(WRITE["APP"], shlex.split(line)[1:])
    assert result.exit_code == 0, (line, result.output, result.exception)
    return "\n".join(text.rstrip() for text in result.stdout.splitlines())


def assert_printed(expected, printed, line):
    """Every piece of what is shown is printed, in this order; `...` stands for whatever lies between."""
    place = 0
    for piece in filter(None, (piece.strip("\n") for piece in re.split(r"^\.\.\.$", expected, flags=re.MULTILINE))):
        assert piece in printed[place:], f"{line} prints\n{printed}"
        place = printed.index(piece, place) + len(piece)
