"""Load a timm model by its name: weights from the hub's cache, from the hub or from a file."""

import contextlib
import logging
import os
import re
import socket
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import timm
import torch
from PIL import Image
from torch import Tensor

from salcheck.errors import SalcheckError
from salcheck.naming.words import unknown
from salcheck.network.archs import ARCHS, Arch
from salcheck.network.checkpoints import from_checkpoint, from_hub, weights_in
from salcheck.network.config import HUB, LOCAL, NAME, built_from, check_entries, check_folder, try_out
from salcheck.network.layers import resolve_layer
from salcheck.network.model import AMP, Model, weights_hash
from salcheck.network.outputs import labels_of_outputs, outputs_of, said
from salcheck.network.preprocessing import resolve, transform_of, with_args
from salcheck.network.settings import Settings
from salcheck.network.view import FEATURES
from salcheck.network.weight_files import WeightFile, first_line, read_weights

OFFLINE_CHOICES = "use --arch scenes, --arch local-dir:PATH, or a hub cache (HF_HOME) filled where there is network"


def load_model(
    arch: str,
    *,
    checkpoint: Path | None = None,
    layer: str = FEATURES,
    device: str = "auto",
    amp: str | None = None,
    settings: Settings = Settings(),  # noqa: B008
) -> Model:
    """The model that `arch` names (short name, timm name, `hf-hub:org/name` or `local-dir:PATH`).

    `checkpoint` (as trainers write them) replaces the weights; its head decides the number of classes.
    `settings`: how the model is read, where its own files do not decide.
    Raises SalcheckError for an unknown name, layer, device or `amp`, weights that cannot be had or do not fit.
    """
    where = pick_device(device)
    torch.backends.cudnn.allow_tf32 = False  # else what is called float32 has ten bits in every convolution
    if amp is not None and amp not in AMP:
        raise SalcheckError(f"no --amp '{amp}': it is one of {', '.join(AMP)}; leave it out for float32")
    known = arch.lower() in ARCHS
    row = ARCHS[arch.lower()] if known else Arch(arch)
    _known(row.model, arch, needs_weights=checkpoint is None)
    if checkpoint is None and row.published:
        raise SalcheckError(f"timm has no weights for '{arch}': add --checkpoint FILE, the {row.published}")
    if row.model.startswith(LOCAL):
        check_folder(row.model)
    file = _file(row.model, checkpoint)
    settings, of_args = with_args(settings, file.args if file and checkpoint else {})
    net, of_file = _create(row, arch, file, checkpoint is not None, settings)
    net = net.eval().requires_grad_(False)
    net = net.to(where, memory_format=torch.channels_last)  # a tenth to a third faster, on CPUs as well
    anywhere = f"{NAME} of --arch '{arch}'" if row.model.startswith((LOCAL, *HUB)) else None
    config, transform, of_input = _fed(net, settings, anywhere)
    trained = net.pretrained_cfg.get("input_size", (3,))[0]
    if checkpoint is None and trained != config["input_size"][0]:
        of_input.append(f"weights of {trained} channels were made to read {config['input_size'][0]}, as timm does it")
    outputs = outputs_of(net.num_classes, settings.output)
    labels = labels_of_outputs(net, outputs, settings.class_names, bool(settings.natural))
    of_outputs = said(outputs, labels, guessed=settings.output is None)
    return Model(
        net=net,
        arch=arch.lower() if known else arch,
        name=_full_name(net, checkpoint),
        layer=resolve_layer(net, layer, config["input_size"], row.paper),
        weights=weights_hash(net),
        labels=labels,
        device=where,
        config=config,
        transform=transform,
        amp=amp,
        outputs=outputs,
        notes=(*of_file, *of_args, *of_input, *labels.notes, *of_outputs),
    )


def _fed(
    net: Any, settings: Settings, anywhere: str | None
) -> tuple[dict[str, Any], Callable[[Image.Image], Tensor], list[str]]:
    """What the network is fed, the transform that makes it, and what had to be decided. anywhere: what to call a config
    that nobody vouches for; its entries are checked, and a picture is tried.
    """
    if anywhere:
        check_entries(net.pretrained_cfg, anywhere)
    config, notes = resolve(net, settings)
    transform = transform_of(config)
    if anywhere:
        try_out(net, transform, config, anywhere)
    return config, transform, notes


def pick_device(name: str) -> torch.device:
    """`auto`, `cpu`, `cuda`, `cuda:1` or `mps` as a device that is there; raises SalcheckError otherwise."""
    there = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    there += ["mps"] if torch.backends.mps.is_available() else []
    if name == "auto":
        return torch.device(there[1] if len(there) > 1 else "cpu")
    if (name if name != "cuda" else "cuda:0") in there:
        return torch.device(name)
    raise SalcheckError(f"no device '{name}' here: there is {', '.join(there)} (or auto)")


def _file(model: str, checkpoint: Path | None) -> WeightFile | None:
    """The file that the weights are read from, and what its trainer was told: none for weights of a hub."""
    folder = Path(model.removeprefix(LOCAL))
    if checkpoint is None and model.startswith(LOCAL) and (folder / "config.json").is_file():
        checkpoint = weights_in(folder)
    return None if checkpoint is None else read_weights(checkpoint)


def _create(row: Arch, arch: str, file: WeightFile | None, follow: bool, settings: Settings) -> tuple[Any, list[str]]:
    """The network with its weights, and what was decided about them, a line each for people.

    follow: the file decides the numbers of classes and channels, and not the model's config.
    """
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"  # some versions of timm would run code in .pth files
    model = row.model
    if file is None and settings.ema is not None:
        raise SalcheckError("--ema and --no-ema choose between weights in a file: give one with --checkpoint")
    try:
        if file is not None:
            return from_checkpoint(model, file, row.backbone, settings.ema, follow, **settings.options)
        with _offline_if_unreachable(model):
            return from_hub(model, row.backbone, **settings.options)
    except SalcheckError:
        raise
    except Exception as error:
        # timm, its hub client and the file readers raise all sorts, assertions too, on what they cannot get or fit.
        said = first_line(error)
        absent = re.fullmatch(r"Unknown model \((.*)\)", said)
        if absent:
            said = f"config.json, {unknown('architecture', absent[1], timm.list_models())}"
        if model.startswith(LOCAL):
            raise SalcheckError(f"cannot load --arch '{arch}': {built_from(model)}{said}") from error
        if isinstance(error, FileNotFoundError):
            raise SalcheckError(f"weights of '{arch}' are neither cached nor reachable: {OFFLINE_CHOICES}") from error
        raise SalcheckError(f"cannot load --arch '{arch}': {said}; {OFFLINE_CHOICES}") from error


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
