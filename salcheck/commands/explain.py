"""`salcheck explain IMG`: maps of single images."""

from pathlib import Path
from typing import Annotated, Any

import typer

from salcheck.commands._model import ModelOptions, takes_model
from salcheck.commands._options import BatchSize, Bits, Methods, Plugins, Reference, Seed

STOPPED = "what is said to be written is there and whole"


@takes_model
def command(
    images: Annotated[list[Path], typer.Argument(help="Photographs.", metavar="IMG")],
    method: Methods = [],  # noqa: B006
    model: ModelOptions = ModelOptions(),  # noqa: B008
    classes: Annotated[
        list[str],
        typer.Option("--class", "-c", help="top1, top2, ..., a class index or name; repeatable.", metavar="CLASS"),
    ] = ["top1", "top2"],  # noqa: B006
    reference: Reference = None,
    out: Annotated[
        Path, typer.Option(help="Folder for <image>-<method>.png; with all or quick, <image>-sheet.png.", metavar="DIR")
    ] = Path(),
    raw: Annotated[
        Path | None, typer.Option(help="Folder for one <image>.npz each: logits, classes, map/<method>.", metavar="DIR")
    ] = None,
    bits: Bits = None,
    seed: Seed = 0,
    batch_size: BatchSize = 8,
    plugin: Plugins = [],  # noqa: B006
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Make maps of single images. Each comes as a picture, with where its mass lies, and as numbers with --raw."""
    from salcheck.inputs.opening import open_reference
    from salcheck.methods import parse_methods, usual
    from salcheck.runs.explain import explain as explain_images
    from salcheck.runs.explain import pictures
    from salcheck.screen.explained import Output
    from salcheck.screen.terminal import progress, say

    methods = parse_methods(method) if method else []
    loaded, held = open_reference(reference, model.load(), 0, bits)
    methods, instead = (methods, []) if methods else usual(loaded)
    methods, references, notes, left_out = _usable(methods, loaded, held, batch_size)
    depth = getattr(pictures(images, bits).read, "note", None)
    said = dict.fromkeys([*loaded.notes, *(held.notes if held else ()), *([depth] if depth else ()), *instead, *notes])
    with progress("maps", "methods") as show:
        results = explain_images(loaded, images, methods, classes, references, seed, batch_size, show, bits)
        output = Output(loaded, methods, out, raw, json, list(said))
        for explained in results:
            output.add(explained)
    for line in left_out:
        say(f"salcheck: {line}")
    raise typer.Exit(max(output.close(), 1 if left_out else 0))


def _usable(methods: Any, model: Any, held: Any, batch_size: int) -> tuple[Any, Any, list[str], list[str]]:
    """As `_references`, of the methods that can be used, and a line on each named one that cannot."""
    from salcheck.methods import UnfitError, without

    left_out: list[str] = []
    while True:
        try:
            return *_references(methods, model, held, batch_size), left_out
        except UnfitError as error:
            unfit, methods = without(methods, error)
            left_out += [] if unfit.implied else [f"{unfit.typed} is left out: {error.reason}"]


def _references(methods: Any, model: Any, held: Any, batch_size: int) -> tuple[Any, Any, list[str]]:
    """The methods that can be used, what they read of held-out images, and notes on what must be done without."""
    from salcheck import references
    from salcheck.methods import fitting, unfit_of
    from salcheck.screen.terminal import progress
    from salcheck.store.cache import cache_folder

    methods, notes = fitting(methods, model, held)
    needs = [need for method in methods for need in method.needs]
    if held is None:
        without = [method.module.FALLBACK for method in methods if method.needs and hasattr(method.module, "FALLBACK")]
        notes += [f"no reference images (--reference DIR): {'; '.join(without)}"] if without else []
    try:
        with progress("reference", "images") as show:
            return methods, references.build(needs, model, held, cache_folder(), batch_size, show).values, notes
    except references.UnbuiltError as error:
        raise unfit_of(methods, error) from error
