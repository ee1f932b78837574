"""`salcheck report`: what the stored scores say."""

from pathlib import Path
from typing import Annotated

import typer

from salcheck.commands._options import Db, number
from salcheck.errors import SalcheckError
from salcheck.naming import registry


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
    question: Annotated[str | None, typer.Option(help="Only this question.", metavar="QUESTION")] = None,
    run: Annotated[
        int | None, typer.Option(help="Only this run, by its number.", metavar="ID", callback=number)
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write to this file, and pictures of curves beside report.md.", metavar="FILE")
    ] = None,
    db: Db = None,
) -> None:
    """Say what the stored scores say. Tables, tests, controls and verdicts."""
    from salcheck.report.build import make_report
    from salcheck.screen.curves import draw_pictures
    from salcheck.store.cache import atomic_write
    from salcheck.store.results import Store, default_db

    suffix = out.suffix.lstrip(".").lower() if out else ""
    chosen = format or (suffix if suffix in registry.names("formats") else "text")
    form = registry.load("formats", chosen)
    with Store(db or default_db(), create=False) as store:
        made = make_report(store, [question] if question else [], [run] if run else [])
    if out is None:
        typer.echo(form.render(made, {}), nl=False)
        return
    try:
        pictures = draw_pictures(made, out) if getattr(form, "PICTURES", False) else {}
        atomic_write(out, lambda file: file.write(form.render(made, pictures).encode()))
    except OSError as error:
        raise SalcheckError(f"cannot write '{out}': {error.strerror}; name another with --out") from error
