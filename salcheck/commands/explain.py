"""`salcheck explain IMG`: maps of single images."""

from pathlib import Path
from typing import Annotated, Any

import typer

from salcheck.commands._options import (
    Amp,
    Arch,
    BatchSize,
    Checkpoint,
    Device,
    Layer,
    Methods,
    Plugins,
    Reference,
    Seed,
)

STOPPED = "what is said to be written is there and whole"


def command(
    images: Annotated[list[Path], typer.Argument(help="Photographs.", metavar="IMG")],
    method: Methods = ["case"],  # noqa: B006
    arch: Arch = "resnet",
    checkpoint: Checkpoint = None,
    classes: Annotated[
        list[str],
        typer.Option("--class", "-c", help="top1, top2, ..., a class index or name; repeatable.", metavar="CLASS"),
    ] = ["top1", "top2"],  # noqa: B006
    layer: Layer = "features",
    device: Device = "auto",
    amp: Amp = None,
    reference: Reference = None,
    out: Annotated[
        Path, typer.Option(help="Folder for <image>-<method>.png; with all or quick, <image>-sheet.png.", metavar="DIR")
    ] = Path(),
    raw: Annotated[
        Path | None, typer.Option(help="Folder for one <image>.npz each: logits, classes, map/<method>.", metavar="DIR")
    ] = None,
    seed: Seed = 0,
    batch_size: BatchSize = 8,
    plugin: Plugins = [],  # noqa: B006
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Make maps of single images. Each comes as a picture, with where its mass lies, and as numbers with --raw."""
    from salcheck.methods import parse_methods
    from salcheck.network.loading import load_model
    from salcheck.runs.explain import explain as explain_images
    from salcheck.screen.explained import Output
    from salcheck.screen.terminal import progress

    methods = parse_methods(method)
    model = load_model(arch, checkpoint=checkpoint, layer=layer, device=device, amp=amp)
    methods, references, notes = _references(methods, model, reference, batch_size)
    with progress("maps", "methods") as show:
        results = explain_images(model, images, methods, classes, references, seed, batch_size, show)
        output = Output(model, methods, out, raw, json, notes)
        for explained in results:
            output.add(explained)
    raise typer.Exit(output.close())


def _references(methods: Any, model: Any, reference: Path | None, batch_size: int) -> tuple[Any, Any, list[str]]:
    """The methods that can be used, what they read of held-out images, and notes on what must be done without."""
    from salcheck import references
    from salcheck.inputs.opening import open_data
    from salcheck.methods import fitting
    from salcheck.screen.terminal import progress
    from salcheck.store.cache import cache_folder

    held = None if reference is None else open_data("folder", reference, model, 0)
    methods, notes = fitting(methods, model, held)
    needs = [need for method in methods for need in method.needs]
    if reference is None:
        without = [method.module.FALLBACK for method in methods if method.needs and hasattr(method.module, "FALLBACK")]
        notes += [f"no reference images (--reference DIR): {'; '.join(without)}"] if without else []
    with progress("reference", "images") as show:
        return methods, references.build(needs, model, held, cache_folder(), batch_size, show).values, notes
