"""`salcheck demo`: the whole path on the built-in model."""

from pathlib import Path
from typing import Annotated

import typer

STOPPED = "`demo` goes on where it was when it is called again"


def command(
    out: Annotated[Path, typer.Option(help="Folder for everything it makes.", metavar="DIR")] = Path("salcheck-demo"),
) -> None:
    """Show the whole path in a minute. Needs no network and no data: scenes, maps, 200 images, a report."""
    from salcheck.screen.demo import run_demo

    run_demo(out)
