"""Load a timm model by its name: weights from the hub's cache, from the hub or from a file."""

import contextlib
import logging
import os
import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import timm
import torch
from timm.data import create_transform, resolve_model_data_config

from salcheck.errors import SalcheckError
from salcheck.naming.words import unknown
from salcheck.network.archs import ARCHS, Arch
from salcheck.network.checkpoints import first_line, from_checkpoint, head_options
from salcheck.network.config import HUB, LOCAL, NAME, built_from, check_entries, check_folder, try_out
from salcheck.network.labels import labels_of
from salcheck.network.layers import resolve_layer
from salcheck.network.model import AMP, Model, weights_hash
from salcheck.network.view import FEATURES

OFFLINE_CHOICES = "use --arch scenes, --arch local-dir:PATH, or a hub cache (HF_HOME) filled where there is network"


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
    anywhere = row.model.startswith((LOCAL, *HUB))
    if anywhere:
        check_entries(net.pretrained_cfg, f"{NAME} of --arch '{arch}'")
    config = resolve_model_data_config(net)
    if config["input_size"][0] != 3:
        raise SalcheckError(f"'{arch}' reads {config['input_size'][0]} channels: salcheck feeds it RGB photographs")
    transform = create_transform(**config, is_training=False)
    if anywhere:
        try_out(net, transform, config, f"{NAME} of --arch '{arch}'")
    return Model(
        net=net,
        arch=arch.lower() if known else arch,
        name=_full_name(net, checkpoint),
        layer=resolve_layer(net, layer, row.paper),
        weights=weights_hash(net),
        labels=labels_of(net),
        device=where,
        config=config,
        transform=transform,
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


def _create(row: Arch, arch: str, checkpoint: Path | None) -> Any:
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"  # some versions of timm would run code in .pth files
    model = row.model
    _known(model, arch, needs_weights=checkpoint is None)
    if model.startswith(LOCAL):
        check_folder(model)
    if checkpoint is None and row.published:
        raise SalcheckError(f"timm has no weights for '{arch}': add --checkpoint FILE, the {row.published}")
    try:
        if checkpoint is not None:
            return from_checkpoint(model, checkpoint, row.backbone)
        with _offline_if_unreachable(model):
            return timm.create_model(model, pretrained=True, **head_options(row.backbone))
    except SalcheckError:
        raise
    except Exception as error:
        # timm, its hub client and the file readers raise all sorts, assertions too, on what they cannot get or fit.
        if model.startswith("local-dir:"):
            raise SalcheckError(f"cannot load --arch '{arch}': {built_from(model)}{first_line(error)}") from error
        if isinstance(error, FileNotFoundError):
            raise SalcheckError(f"weights of '{arch}' are neither cached nor reachable: {OFFLINE_CHOICES}") from error
        raise SalcheckError(f"cannot load --arch '{arch}': {first_line(error)}; {OFFLINE_CHOICES}") from error


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
