"""Load a timm model with everything that is needed to feed it, name its classes and cut it open."""

import contextlib
import dataclasses
import hashlib
import logging
import os
import socket
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import timm
import torch
from PIL import Image
from safetensors import SafetensorError
from timm.data import create_transform, resolve_model_data_config
from torch import Tensor, nn

from salcheck.errors import SalcheckError
from salcheck.naming.registry import unknown
from salcheck.network.archs import ARCHS, Arch, paper_layers
from salcheck.network.labels import NO_CLASSES, Labels, labels_of
from salcheck.network.view import FEATURES, View

AMP = {"bf16": torch.bfloat16, "fp16": torch.float16}
ENCODERS = ("base_encoder.", "encoder_q.")  # the network itself in MoCo's files: version 3, versions 1 and 2
OFFLINE_CHOICES = "use --arch scenes, --arch local-dir:PATH, or a hub cache (HF_HOME) filled where there is network"


@dataclass(frozen=True)
class Model:
    """A frozen timm model in eval mode, cut at `layer`.

    `arch` is what the user typed, `name` timm's full name with its weight tag, `weights` the SHA-256 of
    the parameters and buffers, `transform` timm's own eval transform for those weights. `labels` is empty for
    a model without classes. `amp`: the type that forwards are cast to (`bf16`, `fp16`), None for float32.
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

    @cached_property
    def identity(self) -> str:
        """Hash of all that decides its logits: modules, weights, transform, precision. The device does not."""
        # The printed modules tell networks apart that hold the same tensors (another activation or stride).
        parts = [str(self.net), self.weights, str(self.transform), self.dtype]
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
        return dataclasses.replace(self, layer=resolve_layer(self.net, layer, row.paper))

    def batch(self, images: Sequence[Tensor]) -> Tensor:
        """Transformed images, each (3, H, W), as one batch (B, 3, H, W) on the model's device."""
        stacked = torch.stack(list(images)).to(self.device, non_blocking=True)
        return stacked.contiguous(memory_format=torch.channels_last)

    def view(self, load: Callable[[], Tensor], seeds: Sequence[int], batch_size: int = 8) -> View:
        """A batch cut open at the layer; `load` gives its images (B, 3, H, W) if they are needed.

        batch_size: how many images a forward of changed images takes at a time.
        """
        colours = (self.config["mean"], self.config["std"])
        return View(
            self.net, self.layer, load, self.size, seeds, self.labels, batch_size, AMP.get(self.amp or ""), colours
        )

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
            return self.net(images).float()

    def picture(self, image: Tensor) -> Tensor:
        """What the model saw: one transformed image (3, H, W) as RGB in 0...1, (H, W, 3)."""
        mean, std = (torch.tensor(self.config[key]).view(-1, 1, 1) for key in ("mean", "std"))
        return (image.cpu() * std + mean).clamp(0, 1).permute(1, 2, 0)


def load_model(
    arch: str, *, checkpoint: Path | None = None, layer: str = FEATURES, device: str = "auto", amp: str | None = None
) -> Model:
    """The model that `arch` names (short name, timm name, `hf-hub:org/name` or `local-dir:PATH`).

    `checkpoint` (.safetensors or .pth) replaces the weights; its head decides the number of classes.
    Raises SalcheckError for an unknown name, layer, device or `amp`, weights that cannot be had or do not fit.
    """
    where = pick_device(device)
    torch.backends.cudnn.allow_tf32 = False  # else what is called float32 has ten bits in every convolution
    if amp is not None and amp not in AMP:
        raise SalcheckError(f"no --amp '{amp}': it is one of {', '.join(AMP)}; leave it out for float32")
    known = arch.lower() in ARCHS
    row = ARCHS[arch.lower()] if known else Arch(arch)
    net = _create(row, arch, checkpoint).eval().requires_grad_(False)
    net = net.to(where, memory_format=torch.channels_last)  # a tenth to a third faster, on CPUs as well
    config = resolve_model_data_config(net)
    if config["input_size"][0] != 3:
        raise SalcheckError(f"'{arch}' reads {config['input_size'][0]} channels: salcheck feeds it RGB photographs")
    return Model(
        net=net,
        arch=arch.lower() if known else arch,
        name=_full_name(net, checkpoint),
        layer=resolve_layer(net, layer, row.paper),
        weights=weights_hash(net),
        labels=labels_of(net),
        device=where,
        config=config,
        transform=create_transform(**config, is_training=False),
        amp=amp,
    )


def pick_device(name: str) -> torch.device:
    """`auto`, `cpu`, `cuda`, `cuda:1` or `mps` as a device that is there; raises SalcheckError otherwise."""
    there = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    there += ["mps"] if torch.backends.mps.is_available() else []
    if name == "auto":
        return torch.device(there[1] if len(there) > 1 else "cpu")
    if (name if name != "cuda" else "cuda:0") in there:
        return torch.device(name)
    raise SalcheckError(f"no device '{name}' here: there is {', '.join(there)} (or auto)")


def weights_hash(net: nn.Module) -> str:
    """SHA-256 over names and values of all parameters and buffers."""
    digest = hashlib.sha256()
    for name, value in net.state_dict().items():
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def resolve_layer(net: Any, layer: str, paper: str | None = None) -> str:
    """`features`, `paper` or a module path as the place to cut; raises SalcheckError with near names.

    `paper` is what that preset means here; without one, the architecture decides.
    """
    modules = [name for name, _ in net.named_modules() if name]
    if layer == "paper" and paper:
        return paper
    if layer == "paper":
        architecture = str(net.pretrained_cfg.get("architecture", ""))
        if architecture not in paper_layers():
            there = ", ".join(paper_layers())
            raise SalcheckError(f"no paper layer for '{architecture}': there is one for {there}; name a module instead")
        return paper_layers()[architecture]
    if layer == FEATURES:
        return _features_layer(net)
    if layer not in modules:
        raise SalcheckError(unknown("layer", layer, ["features", "paper", *modules]))
    return layer


def _features_layer(net: Any) -> str:
    """Where the head reads. A class token's head reads no patch: there the norm before the last attention is cut."""
    found: list[str] = []
    if net.num_classes and getattr(net, "global_pool", None) == "token":
        found = [name for name, _ in net.named_modules() if name.endswith(".norm1")][-1:]
    elif hasattr(net, "forward_features") and hasattr(net, "forward_head"):
        found = [FEATURES]
    if not found:
        there = ", ".join(name for name, _ in net.named_children())
        raise SalcheckError(f"cannot find where this model's head begins: name a --layer below {there}")
    return found[0]


def _create(row: Arch, arch: str, checkpoint: Path | None) -> Any:
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"  # some versions of timm would run code in .pth files
    model = row.model
    _known(model, arch, needs_weights=checkpoint is None)
    if checkpoint is None and row.published:
        raise SalcheckError(f"timm has no weights for '{arch}': add --checkpoint FILE, the {row.published}")
    try:
        if checkpoint is not None:
            return _from_checkpoint(model, checkpoint, row.backbone)
        with _offline_if_unreachable(model):
            return timm.create_model(model, pretrained=True, **_options(row.backbone))
    except SalcheckError:
        raise
    except Exception as error:
        # timm, its hub client and the file readers raise all sorts, assertions too, on what they cannot get or fit.
        if model.startswith("local-dir:"):
            raise SalcheckError(f"cannot load --arch '{arch}': {_first_line(error)}") from error
        if isinstance(error, FileNotFoundError):
            raise SalcheckError(f"weights of '{arch}' are neither cached nor reachable: {OFFLINE_CHOICES}") from error
        raise SalcheckError(f"cannot load --arch '{arch}': {_first_line(error)}; {OFFLINE_CHOICES}") from error


def _known(model: str, arch: str, needs_weights: bool) -> None:
    """Raises SalcheckError where timm has no such model, no such weight tag, or no weights at all."""
    if model.startswith(("hf-hub:", "hf_hub:", "local-dir:")):
        return
    name, _, tag = model.partition(".")
    if not timm.is_model(name):
        guess = unknown("arch", arch, [*ARCHS, *timm.list_models()])
        raise SalcheckError(f"{guess}; short names: {', '.join(ARCHS)}")
    tags = [full.partition(".")[2] for full in timm.list_pretrained(f"{name}.*")]
    if tag and tag not in tags:
        raise SalcheckError(unknown(f"weight tag of {name}", tag, tags))
    if needs_weights and not tags:
        raise SalcheckError(f"timm has no weights for '{name}': add --checkpoint FILE")


def _from_checkpoint(model: str, checkpoint: Path, backbone: bool) -> Any:
    state = _of_encoder(_read_checkpoint(checkpoint))
    net = timm.create_model(model, pretrained=False, **_options(backbone))
    head = net.pretrained_cfg.get("classifier")
    if backbone:  # a head in the file is a projector, or was put on it later
        state = {name: value for name, value in state.items() if not name.startswith(f"{head}.")}
    weight = state.get(f"{head}.weight") if isinstance(head, str) else None
    if weight is not None and weight.shape[0] != net.num_classes:
        net = timm.create_model(model, pretrained=False, num_classes=int(weight.shape[0]))
    _fit(net, state, f"checkpoint '{checkpoint}' does not fit {model}")
    net.load_state_dict(state, strict=False)
    return net


def _options(backbone: bool) -> dict[str, int]:
    return {"num_classes": 0} if backbone else {}


def _fit(net: Any, state: dict[str, Tensor], complaint: str) -> None:
    """Raises SalcheckError where a state dict lacks keys of the network, has others, or other shapes."""
    expected = {name: tuple(value.shape) for name, value in net.state_dict().items()}
    given = {name: tuple(value.shape) for name, value in state.items()}
    missing = [k for k in expected if k not in given and not k.endswith("num_batches_tracked")]
    strange = [k for k in given if k not in expected]
    misfit = [f"{k} {given[k]} for {expected[k]}" for k in expected if k in given and given[k] != expected[k]]
    faults = {"missing": missing, "unknown": strange, "wrong shape": misfit}
    said = [f"{len(keys)} {fault} ({_listed(keys)})" for fault, keys in faults.items() if keys]
    if said:
        raise SalcheckError(f"{complaint}: keys {'; '.join(said)}")


def _of_encoder(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights of the network itself, where a file of self-supervised training holds more than that."""
    for prefix in ENCODERS:
        own = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        if own:
            return own
    return state


def _read_checkpoint(checkpoint: Path) -> dict[str, Tensor]:
    if not checkpoint.is_file():
        raise SalcheckError(f"no checkpoint file '{checkpoint}': give a .safetensors or .pth file")
    try:
        state = timm.models.load_state_dict(str(checkpoint), device="cpu", weights_only=True)
    except SafetensorError as error:
        raise SalcheckError(f"checkpoint '{checkpoint}' is no sound safetensors file: {_first_line(error)}") from error
    except AttributeError:  # timm looks for names in it
        state = None
    except Exception as error:  # unpicklers raise anything
        reason = "cannot be read without running code in it, or is damaged"
        raise SalcheckError(f"checkpoint '{checkpoint}' {reason}: refused; save its tensors as .safetensors") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise SalcheckError(f"checkpoint '{checkpoint}' holds no state dict of tensors: save model.state_dict()")
    return state


def _full_name(net: Any, checkpoint: Path | None) -> str:
    config = net.pretrained_cfg
    tag = checkpoint.name if checkpoint else config.get("tag")
    return f"{config.get('architecture', type(net).__name__)}{f'.{tag}' if tag else ''}"


@contextlib.contextmanager
def _offline_if_unreachable(model: str) -> Iterator[None]:
    """Without a network the hub client retries for most of a minute; one look-up of its host tells."""
    from huggingface_hub import constants

    remote = not model.startswith("local-dir:") and not constants.HF_HUB_OFFLINE and not urllib.request.getproxies()
    if not remote or _resolves(constants.ENDPOINT):
        yield
        return
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = False


def _resolves(url: str) -> bool:
    host = url.partition("://")[2].split("/")[0].split(":")[0]
    try:
        return bool(socket.getaddrinfo(host, None))
    except OSError:
        return False


def _listed(words: list[str]) -> str:
    return ", ".join(words[:3]) + ", …" * (len(words) > 3)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200].rstrip(".")
