"""How a model is to be read, where the user decides and not the model's own files."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Settings:
    """None everywhere: as the model's own files say.

    output: `softmax`, `sigmoid` or `value`: what the outputs are. ema: whether the averaged weights of a checkpoint are
    taken, where it holds plain ones too. img_size: (H, W). crop_pct, crop_mode, interpolation, mean, std: of timm's
    transform; a mean or std of one number is that of every channel. model_kwargs: what the network is made with.
    class_names: a list by index, or a dict as `labels.in_order` takes it. natural: whether class folders are counted as
    timm's own reader counts them, 2 before 10.
    """

    output: str | None = None
    ema: bool | None = None
    img_size: tuple[int, int] | None = None
    crop_pct: float | None = None
    crop_mode: str | None = None
    interpolation: str | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    model_kwargs: Mapping[str, Any] = field(default_factory=dict)
    class_names: Sequence[str] | Mapping[Any, Any] | None = None
    natural: bool | None = None

    @property
    def options(self) -> dict[str, Any]:
        """What the network is made with."""
        size = {} if self.img_size is None else {"img_size": self.img_size}
        return size | dict(self.model_kwargs)

    def over(self, other: "Settings") -> "Settings":
        """These settings, and the other's where these leave it open."""
        own = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        rest = {name: getattr(other, name) for name, value in own.items() if value is None}
        return dataclasses.replace(self, **rest, model_kwargs={**other.model_kwargs, **self.model_kwargs})
