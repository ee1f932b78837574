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
ClassMap = Annotated[
    Path | None,
    typer.Option(help="The classes' names: a .txt with one a line, as timm's, or names and numbers.", metavar="FILE"),
]
ClassNames = Annotated[
    str | None, typer.Option(help="The classes' names: a,b,c in the order of the outputs, or a file.", metavar="NAMES")
]
CropPct = Annotated[
    float | None,
    typer.Option(help="Share of the resized picture that is kept.", metavar="SHARE", show_default="the model's own"),
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
ImgSize = Annotated[
    str | None, typer.Option(help="384, or height,width.", metavar="PIXELS", show_default="the model's own")
]
Interpolation = Annotated[
    str | None,
    typer.Option(help="bilinear, bicubic, ... of the resize.", metavar="NAME", show_default="the model's own"),
]
Layer = Annotated[str, typer.Option(help="Where the model is cut: features, paper or a module path.", metavar="LAYER")]
Mean = Annotated[
    str | None,
    typer.Option(
        help="Mean of the pixels, 0 to 1: one number, or one a channel.",
        metavar=".5,.5,.5",
        show_default="the model's own",
    ),
]
ModelKwargs = Annotated[
    list[str] | None,
    typer.Option(help="What timm makes the network with, as in_chans=1; repeatable.", metavar="KEY=VALUE,..."),
]
Output = Annotated[
    str | None,
    typer.Option(
        help="What the outputs are: softmax, sigmoid (one output: a class and its opposite) or value (regression).",
        metavar="KIND",
        show_default="sigmoid for one output, else softmax",
    ),
]
Std = Annotated[
    str | None,
    typer.Option(help="Their standard deviation, likewise.", metavar=".5,.5,.5", show_default="the model's own"),
]


@dataclass(frozen=True)
class ModelOptions:
    """A model as a user names it; each field is an option."""

    arch: Arch = "resnet"
    checkpoint: Checkpoint = None
    ema: Ema = None
    layer: Layer = "features"
    output: Output = None
    class_names: ClassNames = None
    class_map: ClassMap = None
    img_size: ImgSize = None
    crop_pct: CropPct = None
    mean: Mean = None
    std: Std = None
    interpolation: Interpolation = None
    model_kwargs: ModelKwargs = None
    device: Device = "auto"
    amp: Amp = None

    def load(self) -> Any:
        """The model; raises SalcheckError as `load_model` does."""
        from salcheck.network.loading import load_model

        return load_model(
            self.arch,
            checkpoint=self.checkpoint,
            layer=self.layer,
            device=self.device,
            amp=self.amp,
            settings=self.settings(),
        )

    def settings(self) -> Any:
        """What the options say of how the model is read; raises SalcheckError for what makes no sense."""
        from salcheck.network.classnames import given_names
        from salcheck.network.preprocessing import parse_kwargs, parse_numbers, parse_size
        from salcheck.network.settings import Settings

        return Settings(
            output=self.output,
            ema=self.ema,
            img_size=None if self.img_size is None else parse_size(self.img_size),
            crop_pct=self.crop_pct,
            interpolation=None if self.interpolation is None else self.interpolation.lower(),
            mean=None if self.mean is None else parse_numbers("--mean", self.mean),
            std=None if self.std is None else parse_numbers("--std", self.std),
            model_kwargs=parse_kwargs(self.model_kwargs or []),
            class_names=given_names(self.class_names, self.class_map),
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
