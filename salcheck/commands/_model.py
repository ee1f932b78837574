"""The options that name a model, the same for every command that takes one."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from salcheck.network.archs import ARCHS

Amp = Annotated[
    str | None,
    typer.Option(help="bf16 or fp16: half precision; how far the maps move from float32 is reported.", metavar="TYPE"),
]
Arch = Annotated[
    str, typer.Option(help=f"hf-hub:org/name, local-dir:PATH, any timm name, or {', '.join(ARCHS)}.", metavar="MODEL")
]
Checkpoint = Annotated[
    Path | None, typer.Option(help="Your own weights for --arch, as a trainer saves them.", metavar="FILE")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda[:i] or mps.", metavar="DEVICE")]
Ema = Annotated[
    bool | None,
    typer.Option(
        "--ema/--no-ema",
        help="Averaged or plain weights of a checkpoint that has both.",
        show_default="averaged ones where there are any",
    ),
]
Layer = Annotated[str, typer.Option(help="Where the model is cut: features, paper or a module path.", metavar="LAYER")]
Output = Annotated[
    str | None,
    typer.Option(
        help="What the outputs are: softmax, sigmoid (one output: a class and its opposite) or value (regression).",
        metavar="KIND",
        show_default="sigmoid for one output, else softmax",
    ),
]


@dataclass(frozen=True)
class ModelOptions:
    """A model as a user names it; each field is an option."""

    arch: Arch = "resnet"
    checkpoint: Checkpoint = None
    ema: Ema = None
    layer: Layer = "features"
    output: Output = None
    device: Device = "auto"
    amp: Amp = None

    def load(self) -> Any:
        """The model; raises SalcheckError as `load_model` does."""
        from salcheck.network.loading import load_model
        from salcheck.network.settings import Settings

        settings = Settings(output=self.output, ema=self.ema)
        return load_model(
            self.arch,
            checkpoint=self.checkpoint,
            layer=self.layer,
            device=self.device,
            amp=self.amp,
            settings=settings,
        )


def takes_model(command: Callable[..., None]) -> Callable[..., None]:
    """The command with the fields of ModelOptions as options of its own, in the place of its parameter `model`."""
    options = inspect.signature(ModelOptions).parameters
    own = inspect.signature(command)
    parameters: list[inspect.Parameter] = []
    for name, parameter in own.parameters.items():
        parameters += options.values() if name == "model" else [parameter]

    @functools.wraps(command)
    def flat(**values: Any) -> None:
        command(model=ModelOptions(**{name: values.pop(name) for name in options}), **values)

    in_one = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in parameters]
    flat.__signature__ = own.replace(parameters=in_one)  # type: ignore[attr-defined]
    return flat
