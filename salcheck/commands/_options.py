"""Options that several commands share, with their help."""

from pathlib import Path
from typing import Annotated

import typer

from salcheck.naming import registry

LARGEST = 2**31 - 1  # what an integer column of any database holds


def number(value: float | None) -> float | None:
    if value is not None and not value <= LARGEST:  # so written, it also stops NaN, which passes a min and a max
        raise typer.BadParameter(f"it is a number up to {LARGEST}.")
    return value


def numbers(values: list[int]) -> list[int]:
    for value in values:
        number(value)
    return values


def _add(plugins: list[str]) -> list[str]:
    for plugin in plugins:
        registry.add(plugin)
    return plugins


METHODS = (
    f"One or more of {', '.join(registry.names('methods'))}, or quick (those that cost next to nothing), or all, "
    "or a file of your own, ./mine.py; case:contrast=logits,k=3 sets parameters."
)
Methods = Annotated[
    list[str],
    typer.Option(
        "--method", "-m", "--methods", help=METHODS, metavar="METHODS", show_default="case, or gradcam where it cannot"
    ),
]
Reference = Annotated[
    Path | None,
    typer.Option(help="Held-out images in class folders, for methods that compare with them.", metavar="DIR"),
]
Seed = Annotated[
    int,
    typer.Option(help="Decides which images are drawn and everything random.", min=0, metavar="N", callback=number),
]
BatchSize = Annotated[int, typer.Option(help="Images per forward.", min=1, metavar="N", callback=number)]
Bits = Annotated[
    int | None,
    typer.Option(
        help="Bits of the grey values in 16-bit files.", min=8, max=16, metavar="N", show_default="as few as hold them"
    ),
]
Db = Annotated[
    str | None,
    typer.Option(
        help="SQLite file or postgresql:// URL.", envvar="SALCHECK_DB", metavar="DB", show_default="salcheck.db"
    ),
]
Plugins = Annotated[
    list[str],
    typer.Option(
        "--plugin",
        help=f"Your own file or module: a method, question, dataset or format; repeatable. {registry.PLUGINS} names "
        "some for every command.",
        metavar="FILE|MODULE",
        callback=_add,
        is_eager=True,  # before names are read
    ),
]
