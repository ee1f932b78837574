"""A loaded model: what feeds it, names its classes and cuts it open."""

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from salcheck.errors import SalcheckError
from salcheck.network.archs import ARCHS, Arch
from salcheck.network.labels import NO_CLASSES, Labels
from salcheck.network.layers import resolve_layer
from salcheck.network.outputs import SOFTMAX, Outputs
from salcheck.network.view import View

AMP = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Model:
    """A frozen timm model in eval mode, cut at `layer`.

    `arch` is what the user typed, `name` timm's full name with its weight tag, `weights` the SHA-256 of
    the parameters and buffers, `transform` timm's own eval transform for those weights. `labels` is empty for
    a model without classes. `amp`: the type that forwards are cast to (`bf16`, `fp16`), None for float32.
    `outputs`: how its outputs become scores of the classes. `notes`: what had to be decided about the model, a line
    each, for people.
    """

    net: Any
    arch: str
    name: str
    layer: str
    weights: str
    labels: Labels
    device: torch.device
    config: dict[str, Any]
    transform: Callable[[Image.Image], Tensor]
    amp: str | None = None
    outputs: Outputs = SOFTMAX
    notes: Sequence[str] = ()

    @cached_property
    def identity(self) -> str:
        """Hash of all that decides its scores: modules, weights, transform, precision, what its outputs are. The device
        does not.
        """
        # The printed modules tell networks apart that hold the same tensors (another activation or stride).
        # A printed transform has four digits of mean and std.
        exact = str([tuple(map(float, self.config[entry])) for entry in ("mean", "std")])
        parts = [str(self.net), self.weights, str(self.transform), exact, self.dtype, str(self.outputs)]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    @cached_property
    def key(self) -> str:
        """Hash of all that decides its maps: its identity and the layer."""
        return hashlib.sha256(f"{self.identity} {self.layer}".encode()).hexdigest()

    @property
    def dtype(self) -> str:
        """The precision of its forwards, as stored with its scores."""
        return f"float32, {self.amp} autocast" if self.amp else "float32"

    def at(self, layer: str) -> "Model":
        """The same model cut elsewhere: `features`, `paper` or a module path."""
        row = ARCHS.get(self.arch, Arch(self.arch))
        return dataclasses.replace(self, layer=resolve_layer(self.net, layer, self.config["input_size"], row.paper))

    def batch(self, images: Sequence[Tensor]) -> Tensor:
        """Transformed images, each (C, H, W), as one batch (B, C, H, W) on the model's device."""
        stacked = torch.stack(list(images)).to(self.device, non_blocking=True)
        return stacked.contiguous(memory_format=torch.channels_last)

    def view(self, load: Callable[[], Tensor], seeds: Sequence[int], batch_size: int = 8) -> View:
        """A batch cut open at the layer; `load` gives its images (B, C, H, W) if they are needed.

        batch_size: how many images a forward of changed images takes at a time.
        """
        colours = (self.config["mean"], self.config["std"])
        rest = (self.labels, batch_size, AMP.get(self.amp or ""), colours, self.outputs)
        return View(self.net, self.layer, load, self.size, seeds, *rest)

    @property
    def input(self) -> dict[str, Any]:
        """What it is fed: size (H, W), channels, crop_pct, crop_mode, interpolation, and mean and std by channel."""
        channels, *size = self.config["input_size"]
        rest = {name: self.config[name] for name in ("crop_pct", "crop_mode", "interpolation", "mean", "std")}
        return {"size": size, "channels": channels, **rest}

    @property
    def channels(self) -> int:
        """3, or 1 for a model that is fed grey."""
        return int(self.config["input_size"][0])

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of what the model is fed."""
        return tuple(self.config["input_size"][-2:])

    @torch.inference_mode()
    def logits(self, images: Tensor) -> Tensor:
        """Class scores (B, N) before softmax, and nothing else; raises SalcheckError where there are no classes."""
        if self.net.num_classes < 1:
            raise SalcheckError(NO_CLASSES)
        with torch.autocast(self.device.type, AMP.get(self.amp or ""), enabled=self.amp is not None):
            return self.outputs.scores(self.net(images).float())

    def picture(self, image: Tensor) -> Tensor:
        """What the model saw: one transformed image (C, H, W) as RGB in 0...1, (H, W, 3); one channel as its grey."""
        mean, std = (torch.tensor(self.config[key]).view(-1, 1, 1) for key in ("mean", "std"))
        return (image.cpu() * std + mean).clamp(0, 1).expand(3, -1, -1).permute(1, 2, 0)


def weights_hash(net: nn.Module) -> str:
    """SHA-256 over names and values of all parameters and buffers."""
    digest = hashlib.sha256()
    for name, value in net.state_dict().items():
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
