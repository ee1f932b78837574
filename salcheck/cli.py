"""The command line: gathers the commands, and turns a user's mistake into one line."""

import io
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from salcheck import __version__
from salcheck.commands._words import joined
from salcheck.errors import SalcheckError
from salcheck.naming import registry
from salcheck.naming.words import one_line, without_passwords

USAGE: Any = typer.BadParameter.__base__  # typer brings a click of its own, or takes the one that is installed


class Command(TyperCommand):
    """A command that also takes `--mean .485 .456 .406`, as timm's tools do."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, joined(args))


def make_app() -> typer.Typer:
    """The program: a command for each file in `commands/`, and for those of installed packages.

    Raises SalcheckError for a plugin of the environment that cannot be used.
    """
    registry.add_from_environment()  # first: the commands' help names what there is
    app = typer.Typer(
        name="salcheck",
        cls=_Discreet,
        help="Can you believe its maps? Makes, measures and tests the saliency maps of timm models.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,  # boxes cut long words and leave half of a narrow terminal empty
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback(invoke_without_command=True)(_whole)
    for name in registry.names("commands"):
        app.command(name, cls=Command)(registry.load("commands", name).command)
    return app


class _Discreet(TyperGroup):
    """Says what is wrong with what was typed, without the passwords in it."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except USAGE as error:
            error.message = without_passwords(error.message)
            raise


def _whole(version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False) -> None:
    if version:
        typer.echo(f"salcheck {__version__}")
        raise typer.Exit


def main() -> None:
    """The entry point: a user's mistake is one line on stderr and exit code 2."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name that the terminal cannot show is no reason to stop
            stream.reconfigure(errors="backslashreplace")
    try:
        make_app()(prog_name="salcheck")  # also where it is started by python -m
    except SalcheckError as error:
        typer.echo(f"salcheck: {one_line(error)}", err=True)
        sys.exit(2)
    except SystemExit as done:
        if done.code == 130:  # what typer makes of Ctrl-C
            typer.echo("salcheck: stopped; `eval` goes on where it was when it is called again", err=True)
        raise
