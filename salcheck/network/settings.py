"""How a model is to be read, where the user decides and not the model's own files."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """None everywhere: as the model's own files say.

    output: `softmax`, `sigmoid` or `value`: what the outputs are. ema: whether the averaged weights of a checkpoint are
    taken, where it holds plain ones too.
    """

    output: str | None = None
    ema: bool | None = None
