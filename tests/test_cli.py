"""The command line as a whole: help, errors, and what appears by existing."""

import shutil
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from salcheck.cli import make_app
from salcheck.naming import registry
from salcheck.network.archs import ARCHS
from salcheck.questions import QUESTIONS
from tests.calls import refused, run, salcheck
from tests.makers import save_images, save_model

COMMANDS = registry.names("commands")


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("columns", [60, 80])
def test_help_fits_the_terminal_and_cuts_no_word(command, columns):
    lines = CliRunner().invoke(make_app(), [command, "--help"], terminal_width=columns).output.splitlines()
    assert columns - 10 < max(map(len, lines)) <= columns
    assert not any("…" in line for line in lines)


def test_the_list_of_commands_cuts_no_sentence():
    shown = CliRunner().invoke(make_app(), ["--help"], terminal_width=60).output
    listed = shown.split("Commands:")[1].strip().splitlines()
    assert [line.split()[0] for line in listed] == COMMANDS
    assert all(line.endswith(".") and not line.endswith("...") for line in listed)


def test_what_is_there_appears_in_help_by_existing(tmp_path):
    shutil.copytree(registry.PACKAGE, tmp_path / "salcheck", ignore=shutil.ignore_patterns("assets", "__pycache__"))
    for kind in ("methods", "datasets", "formats"):
        (tmp_path / "salcheck" / kind / "brand_new.py").touch()
    (tmp_path / "salcheck" / "commands" / "brand_new.py").write_text('def command() -> None:\n    """Be new."""\n')
    code = "from salcheck.cli import main; main()"
    for command in (["explain"], ["eval"], ["report"], []):
        shown = subprocess.run(
            [sys.executable, "-c", code, *command, "--help"], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        assert "brand-new" in shown.stdout, command


def test_help_names_every_method_arch_dataset_format_and_question():
    explain, evaluate, report = (run(command, "--help").output for command in ("explain", "eval", "report"))
    assert all(name in explain and name in evaluate for name in [*registry.names("methods"), *ARCHS])
    assert all(name in evaluate for name in registry.names("datasets"))
    assert all(name in "".join(evaluate.split()) for name in QUESTIONS)
    assert all(name in report for name in registry.names("formats"))


def test_help_imports_nothing_heavy():
    code = """
import sys
from salcheck.cli import make_app
make_app()(["explain", "--help"], standalone_mode=False)
print([name for name in ("torch", "timm", "numpy", "sqlalchemy", "pandas", "matplotlib") if name in sys.modules])
"""
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.splitlines()[-1] == "[]"


def test_a_mistake_is_one_line_on_stderr_and_exit_code_two(tmp_path):
    shown = salcheck("explain", "x.jpg", "--arch", "local-dir:two\nlines")
    assert (shown.returncode, shown.stdout) == (2, "")
    assert shown.stderr.startswith("salcheck: cannot load --arch 'local-dir:two lines'")
    assert shown.stderr.count("\n") == 1


def test_a_terminal_that_knows_no_unicode_still_gets_its_numbers(tmp_path):
    file = tmp_path / "schön 日.png"
    shutil.copy(save_images(tmp_path / "images", classes=1, each=1) / "0" / "0.png", file)
    toy = save_model(tmp_path / "toy", side=96)
    shown = salcheck("explain", file, "--arch", toy, "-m", "center", PYTHONIOENCODING="ascii")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "sch\\xf6n \\u65e5.png" in shown.stdout


def test_the_shell_can_complete_commands():
    shown = salcheck(_SALCHECK_COMPLETE="complete_bash", COMP_WORDS="salcheck e", COMP_CWORD="1")
    assert shown.stdout.split() == ["eval", "explain"]


def test_a_plugin_joins_what_a_command_can_name(tmp_path):
    """Whether it stands before or behind the name that it brings."""
    (tmp_path / "mine.py").write_text('"""Mine."""\n\n\ndef saliency(view, classes, *, k: int = 1): ...\n')
    shown = run("methods", "--plugin", "mine.py").stdout
    assert "mine: Mine." in shown
    assert "cost not stated; not stated" in shown
    assert "k=1" in shown
    line = refused("explain", "x.png", "--method", "mine:kk=2", "--plugin", "mine.py")
    assert "unknown parameter of mine 'kk': did you mean k" in line
    assert "did you mean" in refused("explain", "x.png", "--method", "mine.p")
    for command in ("explain x.png", "eval rq1", "report", "methods", "questions"):
        assert "No such file" in refused(*command.split(), "--plugin", "missing.py")
