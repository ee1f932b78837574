"""`salcheck train`: a small model trained from random weights."""

from pathlib import Path
from typing import Annotated

import typer

from salcheck.commands._model import Device
from salcheck.commands._options import Seed, number
from salcheck.naming import registry

STOPPED = "`train` goes on from what it kept last, every 100 steps, when it is called again"


def command(
    dataset: Annotated[
        str, typer.Option(help="scenes, puppets, mnist, cifar100 or folder (class folders).", metavar="NAME")
    ] = "scenes",
    data: Annotated[
        Path | None,
        typer.Option(help="Where it lies: DIR, or DIR/train for class folders; not for what is drawn.", metavar="DIR"),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for config.json and model.safetensors.", metavar="DIR", show_default="the dataset's name"
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            help="Batches of 48 images.", min=1, metavar="N", callback=number, show_default="600 puppets, else 1600"
        ),
    ] = None,
    shuffle: Annotated[
        bool, typer.Option("--shuffle", help="Give images each other's labels: a control that can learn nothing true.")
    ] = False,
    seed: Seed = 0,
    device: Device = "cpu",
) -> None:
    """Train a small model from nothing. The built-in ones, or your own; use it as --arch local-dir:DIR."""
    from salcheck.network.loading import pick_device
    from salcheck.training.fit import train as train_model

    folder_out = out or Path(registry.canonical("datasets", dataset) + "-shuffled" * shuffle)
    train_model(folder_out, steps, seed, device=str(pick_device(device)), dataset=dataset, data=data, shuffle=shuffle)
