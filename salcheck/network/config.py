"""A model's config.json, which comes from anywhere: what in it cannot be right is said by the name of its entry."""

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import nn

from salcheck.errors import SalcheckError
from salcheck.naming.files import read_file
from salcheck.naming.words import one_line
from salcheck.network.preprocessing import CROP_MODES, INTERPOLATIONS, LARGEST_SIDE, LARGEST_STD
from salcheck.network.weight_files import first_line

NAME = "config.json"
LOCAL, HUB = "local-dir:", ("hf-hub:", "hf_hub:")
EACH = "one for each channel"


def _whole(value: Any, least: int, most: int = 10**7) -> bool:
    return type(value) is int and least <= value <= most


def _numbers(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and bool(value) and all(_number(one) for one in value)


def _number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _size(value: Any) -> bool:
    whole = isinstance(value, (list, tuple)) and len(value) == 3
    return whole and _whole(value[0], 1, 64) and all(_whole(side, 1, LARGEST_SIDE) for side in value[1:])


def _names(value: Any) -> bool:
    return value is None or isinstance(value, str) or (isinstance(value, (list, tuple)) and all(map(_text, value)))


def _text(value: Any) -> bool:
    return isinstance(value, str)


# What an entry must be, and that in words; one that is not there is timm's own.
ENTRIES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "input_size": (_size, f"[channels, height, width] in whole numbers of 1 to {LARGEST_SIDE}"),
    "mean": (
        lambda value: _numbers(value) and all(0 <= one <= 1 for one in value),
        f"a list of numbers, 0 to 1, {EACH}",
    ),
    "std": (
        lambda value: _numbers(value) and all(0 < one <= LARGEST_STD for one in value),
        f"a list of numbers above 0, {EACH}",
    ),
    "crop_pct": (lambda value: _number(value) and 0.1 <= value <= 2, "a number from 0.1 to 2"),
    "crop_mode": (lambda value: value in CROP_MODES, f"one of {', '.join(CROP_MODES)}"),
    "interpolation": (lambda value: value in INTERPOLATIONS, f"one of {', '.join(INTERPOLATIONS)}"),
    "num_classes": (lambda value: _whole(value, 0), "a whole number, 0 or above"),
    "label_names": (lambda value: isinstance(value, (list, tuple, dict)), "a list of names, or names by number"),
    "label_descriptions": (lambda value: isinstance(value, dict), "descriptions by name"),
    "classifier": (_names, "the name of a layer, or several"),
    "first_conv": (_names, "the name of a layer, or several"),
    "architecture": (_text, "a name that timm knows"),
    "tag": (_text, "a word"),
    "fixed_input_size": (lambda value: isinstance(value, bool), "true or false"),
}
WHOLE: dict[str, tuple[Callable[[Any], bool], str]] = {
    "architecture": (lambda value: _text(value) and value != "null", "a name that timm knows"),
    "pretrained_cfg": (lambda value: isinstance(value, dict), "settings by name"),
    "model_args": (lambda value: isinstance(value, dict), "settings by name"),
    **{name: ENTRIES[name] for name in ("num_classes", "label_names", "label_descriptions")},
    "global_pool": (_text, "a word"),
    "num_features": (lambda value: value == "null" or _whole(value, 0), "a whole number"),
}


def check_folder(arch: str) -> None:
    """Raises SalcheckError where the folder of `local-dir:PATH` holds a config.json that nothing can be made of, or a
    pipe, at which whoever reads would wait for ever.
    """
    folder = Path(arch.removeprefix(LOCAL))
    if not folder.is_dir():
        return  # timm says so
    source = f"cannot load --arch '{one_line(arch)}': {NAME}"
    pipes = [path.name for path in folder.iterdir() if path.exists() and not (path.is_file() or path.is_dir())]
    if pipes:
        raise SalcheckError(f"'{folder}' holds {one_line(pipes[0])}, which is a pipe or a device and no file")
    if not (folder / NAME).is_file():
        return
    try:
        config = json.loads(read_file(folder / NAME))
    except (OSError, ValueError, RecursionError) as error:
        raise SalcheckError(f"{source} cannot be read ({one_line(error)[:80]})") from error
    if not isinstance(config, dict):
        raise SalcheckError(f"{source} is no JSON object with 'architecture' and 'pretrained_cfg'")
    if "architecture" not in config:
        raise SalcheckError(f"{source} has no 'architecture': {WHOLE['architecture'][1]} is needed")
    _check({name: "null" if value is None else value for name, value in config.items()}, WHOLE, source)
    check_entries(config.get("pretrained_cfg", config), source)


def built_from(arch: str) -> str:
    """What of `local-dir:PATH` decides how the network is built, to be put before an error in that; "" where there is
    no config.json.
    """
    try:
        config = json.loads(read_file(Path(arch.removeprefix(LOCAL)) / NAME))
        settings = config.get("pretrained_cfg", config)
        entries = {name: config.get(name) for name in ("architecture", "num_classes", "model_args")}
        entries["fixed_input_size"] = settings.get("fixed_input_size")
    except (OSError, ValueError, AttributeError):
        return ""
    known = {name: value for name, value in entries.items() if value is not None}
    listed = ", ".join(f"'{name}' {one_line(json.dumps(value))[:40]}" for name, value in known.items())
    return f"{NAME} ({listed}, 'pretrained_cfg') does not fit the network or its weights: "


def check_entries(settings: Mapping[str, Any], source: str) -> None:
    """Raises SalcheckError for the first of a model's settings that cannot be right, with what it should be."""
    _check(settings, ENTRIES, source)
    channels = (settings.get("input_size") or (3,))[0]
    for name in ("mean", "std"):
        if settings.get(name) and len(settings[name]) not in (1, 3, channels):
            raise _wrong(name, settings[name], ENTRIES[name][1], source)


def try_out(net: nn.Module, transform: Callable[[Image.Image], Any], config: Mapping[str, Any], source: str) -> None:
    """Shows the model one picture as it is fed later; raises SalcheckError where it cannot be fed."""
    channels, height, width = config["input_size"]
    colours = "L" if channels == 1 else "RGB"
    try:
        image = transform(Image.new(colours, (width + 7, height + 3)))
        with torch.inference_mode():
            net(image[None].to(next(net.parameters()).device))
    except Exception as error:  # whatever a network raises for what does not fit it
        given = f"'input_size' {list(config['input_size'])}"
        raise SalcheckError(
            f"{source}: a picture by its {given} does not fit the model: {first_line(error)}"
        ) from error


def _check(settings: Mapping[str, Any], rules: Mapping[str, tuple[Callable[[Any], bool], str]], source: str) -> None:
    for name, (right, words) in rules.items():
        value = settings.get(name)
        if value is not None and not right(value):
            raise _wrong(name, value, words, source)


def _wrong(name: str, value: Any, words: str, source: str) -> SalcheckError:
    return SalcheckError(f"{source}: '{name}' is {one_line(repr(value))[:60]}: {words} is expected")
