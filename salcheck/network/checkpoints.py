"""Weights from a file: read without running code in it, and held against the network that they are for."""

from pathlib import Path
from typing import Any

import timm
from safetensors import SafetensorError
from torch import Tensor

from salcheck.errors import SalcheckError
from salcheck.network.creating import channels_in, create
from salcheck.network.settings import Settings

ENCODERS = ("base_encoder.", "encoder_q.")  # the network itself in MoCo's files: version 3, versions 1 and 2


def from_checkpoint(model: str, checkpoint: Path, backbone: bool, settings: Settings = Settings()) -> Any:  # noqa: B008
    """timm's network of this name with the file's weights; the file's head decides the number of classes, and its first
    convolution that of channels.

    backbone: the network without its head, whatever head the file has. Raises SalcheckError for a file that cannot be
    read or does not fit.
    """
    state = _of_encoder(_read_checkpoint(checkpoint))
    net = create(model, settings, pretrained=False, **head_options(backbone))
    head = net.pretrained_cfg.get("classifier")
    if backbone:  # a head in the file is a projector, or was put on it later
        state = {name: value for name, value in state.items() if not name.startswith(f"{head}.")}
    weight = state.get(f"{head}.weight") if isinstance(head, str) else None
    own = {} if weight is None or weight.shape[0] == net.num_classes else {"num_classes": int(weight.shape[0])}
    channels = None if "in_chans" in settings.model_kwargs else channels_in(net, state)
    own |= {} if channels is None else {"in_chans": channels}
    if own:
        net = create(model, settings, pretrained=False, **head_options(backbone) | own)
    _fit(net, state, f"checkpoint '{checkpoint}' does not fit {model}")
    net.load_state_dict(state, strict=False)
    return net


def head_options(backbone: bool) -> dict[str, int]:
    """What `timm.create_model` is told of the head: none for a backbone."""
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
        raise SalcheckError(f"checkpoint '{checkpoint}' is no sound safetensors file: {first_line(error)}") from error
    except AttributeError:  # timm looks for names in it
        state = None
    except Exception as error:  # unpicklers raise anything
        reason = "cannot be read without running code in it, or is damaged"
        raise SalcheckError(f"checkpoint '{checkpoint}' {reason}: refused; save its tensors as .safetensors") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise SalcheckError(f"checkpoint '{checkpoint}' holds no state dict of tensors: save model.state_dict()")
    return state


def _listed(words: list[str]) -> str:
    return ", ".join(words[:3]) + ", …" * (len(words) > 3)


def first_line(error: BaseException) -> str:
    """An error of another library in one line of at most 200 characters."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200].rstrip(".")
