"""The command line: gathers the commands, and turns a user's mistake into one line."""

import contextlib
import errno
import io
import os
import signal
import sys
from types import FrameType
from typing import Annotated, Any, TextIO

import typer
from typer.core import TyperCommand, TyperGroup

from salcheck import __version__
from salcheck.commands._words import joined
from salcheck.errors import SalcheckError, Stopped
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


FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# What the system refuses; any other OSError that nobody caught is a defect.
REFUSED = (*FULL, errno.EIO, errno.EROFS, errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE, errno.ESTALE)


def main() -> None:
    """The entry point: a user's mistake is one line on stderr and exit code 2, Ctrl-C and SIGTERM are one line and 130
    or 143.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name that the terminal cannot show is no reason to stop
            stream.reconfigure(errors="backslashreplace")
    _listen(_stop)
    try:
        _run()
    except Stopped as stopped:
        _listen(_leave)
        _end(_stopped(), 128 + stopped.number)


def _run() -> None:
    try:
        try:
            make_app()(prog_name="salcheck")  # also where it is started by python -m
        finally:
            sys.stdout.flush()  # here, where it can still be said that the disk is full
    except SalcheckError as error:
        _end(one_line(error), 2)
    except BrokenPipeError:  # whoever read the output has seen enough
        _end("", 1)
    except OSError as error:
        if error.errno not in REFUSED:
            raise
        _end(_refused(error), 2)


def _refused(error: OSError) -> str:
    where = "the output" if error.filename is None else f"'{one_line(os.fsdecode(error.filename))}'"
    if error.errno in FULL:
        return f"cannot write {where} ({error.strerror}): make room, and call it again"
    return f"cannot read or write {where} ({error.strerror})"


def _end(line: str, code: int) -> None:
    """Says the line, if that can be said, and exits."""
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
    if line:
        with contextlib.suppress(OSError, ValueError):
            typer.echo(f"salcheck: {line}", err=True)
    for stream in (sys.stdout, sys.stderr):
        _hush(stream)
    sys.exit(code)


def _hush(stream: TextIO) -> None:
    """What a stream could not write is dropped, or Python would complain of it once more at the end."""
    try:
        stream.flush()
    except (OSError, ValueError):
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _listen(handler: object) -> None:
    """Ctrl-C and SIGTERM to this handler, unless whoever started the process wants them to be passed over."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            with contextlib.suppress(ValueError):  # not in the main thread
                signal.signal(number, handler)  # type: ignore[arg-type]


def _stop(number: int, frame: FrameType | None) -> None:
    """Ends the work in order: transactions are rolled back, scratch is removed. A second signal does not wait."""
    _listen(_leave_at_once)
    raise Stopped(number)


def _leave_at_once(number: int, frame: FrameType | None) -> None:
    with contextlib.suppress(OSError):
        if os.isatty(2):
            os.write(2, b"\r\x1b[K\x1b[?25h")  # a progress bar may be there, and hides the cursor
        os.write(2, f"salcheck: {_stopped()}\n".encode())
    _leave(number, frame)


def _leave(number: int, frame: FrameType | None) -> None:
    os._exit(128 + number)


def _stopped() -> str:
    """What the command that was typed says of being stopped."""
    with contextlib.suppress(SalcheckError):
        known = registry.names("commands")
        name = next((word for word in sys.argv[1:] if word in known), None)
        if name is not None:
            return f"stopped; {getattr(registry.load('commands', name), 'STOPPED', f'`{name}` can be called again')}"
    return "stopped"
