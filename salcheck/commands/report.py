"""`salcheck report`: what the stored scores say."""

from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import typer

from salcheck.commands._options import Db, Plugins, numbers
from salcheck.errors import SalcheckError
from salcheck.naming import registry

STOPPED = "nothing is lost, and a file that was being written is as it was before"


def command(
    format: Annotated[
        str | None,
        typer.Option(
            "--format",
            help=f"{', '.join(registry.names('formats'))}.",
            metavar="NAME",
            show_default="as --out, or text",
        ),
    ] = None,
    question: Annotated[list[str], typer.Option(help="Only this question; repeatable.", metavar="QUESTION")] = [],  # noqa: B006
    run: Annotated[
        list[int], typer.Option(help="Only this run, by its number; repeatable.", metavar="ID", callback=numbers)
    ] = [],  # noqa: B006
    arch: Annotated[
        list[str], typer.Option(help="Only this model, as it was given to eval; repeatable.", metavar="MODEL")
    ] = [],  # noqa: B006
    out: Annotated[
        Path | None, typer.Option(help="Write to this file, and pictures of curves beside report.md.", metavar="FILE")
    ] = None,
    plugin: Plugins = [],  # noqa: B006
    db: Db = None,
) -> None:
    """Say what the stored scores say. Tables, tests, controls and verdicts."""
    from salcheck.report.build import make_report
    from salcheck.screen.curves import draw_pictures
    from salcheck.store.cache import atomic_write
    from salcheck.store.results import Store, default_db

    form = registry.load("formats", format or _format_of(out))
    with Store(db or default_db(), create=False) as store:
        made = make_report(store, question, run, arch)
    if out is None:
        typer.echo(_text(form, made, {}), nl=False)
        return
    try:
        pictures = draw_pictures(made, out) if getattr(form, "PICTURES", False) else {}
        atomic_write(out, lambda file: file.write(_text(form, made, pictures).encode()))
    except OSError as error:
        raise SalcheckError(f"cannot write '{out}': {error.strerror}; name another with --out") from error


def _format_of(out: Path | None) -> str:
    """The format that the file's suffix names, `text` where there is no file; raises SalcheckError for another one."""
    if out is None:
        return "text"
    suffix, there = out.suffix.removeprefix(".").lower(), registry.names("formats")
    if suffix in there:
        return suffix
    given = f"'{out}' has the suffix '{out.suffix}'" if suffix else f"'{out}' has no suffix"
    raise SalcheckError(f"{given}, which names no format: end it with .{', .'.join(there)}, or give --format NAME")


def _text(form: ModuleType, report: Any, pictures: dict[tuple[int, str], str]) -> str:
    text = form.render(report, pictures)
    if not isinstance(text, str):
        raise SalcheckError(f"{form.__file__}: render gave a {type(text).__name__}: a format's render gives a str")
    return text
