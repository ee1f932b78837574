"""`salcheck eval QUESTION`: questions asked of many images."""

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from salcheck.commands._model import ModelOptions, takes_model
from salcheck.commands._options import METHODS, BatchSize, Bits, Db, Plugins, Reference, Seed
from salcheck.naming import registry
from salcheck.naming.words import without_passwords
from salcheck.questions import names

ASKED = (
    f"One or more of {', '.join(names())}; rq2:fill=blur,percent=5+50 sets parameters. "
    "What they ask and what can be set: salcheck questions."
)
STOPPED = "`eval` goes on where it was when it is called again"


@takes_model
def command(
    questions: Annotated[list[str], typer.Argument(help=ASKED, metavar="QUESTION")],
    method: Annotated[
        list[str], typer.Option("--method", "-m", "--methods", help=f"{METHODS} Controls join.", metavar="METHODS")
    ] = ["quick"],  # noqa: B006
    model: ModelOptions = ModelOptions(),  # noqa: B008
    dataset: Annotated[
        str | None,
        typer.Option(
            help=f"{', '.join(registry.names('datasets'))}.",
            metavar="NAME",
            show_default="folder with --data, scenes with --arch scenes, else imagenette, which downloads itself",
        ),
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Where the dataset lies.", metavar="DIR")] = None,
    reference: Reference = None,
    allow_overlap: Annotated[
        bool, typer.Option("--allow-overlap", help="Let reference images be evaluated too; the report says so.")
    ] = False,
    n: Annotated[int, typer.Option("--n", "-n", help="Images to draw.", min=1, metavar="N")] = 500,
    bits: Bits = None,
    seed: Seed = 0,
    all_images: Annotated[
        bool, typer.Option("--all-images", help="Also images that the model gets wrong, or has no label for.")
    ] = False,
    variants: Annotated[
        bool,
        typer.Option("--variants", help="Also under the field's other readings: does the ranking of methods hold?"),
    ] = False,
    batch_size: BatchSize = 8,
    plugin: Plugins = [],  # noqa: B006
    db: Db = None,
) -> None:
    """Ask questions of many images. Every score is stored; repeated or killed, nothing is done twice."""
    from salcheck.inputs.opening import choose_data, open_all
    from salcheck.methods import parse_methods
    from salcheck.naming.words import fed
    from salcheck.runs.asking import ask, parse_question
    from salcheck.runs.plan import Request
    from salcheck.screen import terminal
    from salcheck.store.cache import cache_folder
    from salcheck.store.results import Store, default_db

    asked = [parse_question(text) for text in questions]
    chosen, cache = parse_methods(method), cache_folder()
    loaded = model.load()
    with Store(db or default_db()) as store:
        opened = open_all(choose_data(dataset, data, loaded), data, reference, loaded, seed, bits)
        for line in (f"{loaded.name}: {fed(loaded.input)}", *opened.notes):
            terminal.say(line)
        request = Request(
            dataset=opened.dataset,
            n=n,
            seed=seed,
            reference_data=opened.reference,
            correct_only=not all_images,
            allow_overlap=allow_overlap,
            batch_size=batch_size,
            command=_typed(db),
        )
        answers = ask(asked, opened.model, chosen, request, store, cache, terminal, variants)
    if answers.left_out:
        terminal.say(f"salcheck: left out: {', '.join(answers.left_out)}")
        raise typer.Exit(1)


def _typed(db: str | None) -> str:
    """The command as it was typed, as text that a database can store, without passwords."""
    from salcheck.datasets import portable
    from salcheck.store.urls import shown

    words = [word.replace(db, shown(db)) if db else word for word in sys.argv[1:]]
    return portable(shlex.join(["salcheck", *map(without_passwords, words)]))
