"""What a model is fed: size, channels, crop, interpolation, mean and std, of its own config or as the user says."""

import ast
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from PIL import Image
from timm.data import create_transform, resolve_model_data_config

from salcheck.errors import SalcheckError
from salcheck.naming.words import one_line
from salcheck.network.settings import Settings

INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "box", "hamming", "lanczos")
CROP_MODES = ("center", "squash", "border")
LARGEST_SIDE, LARGEST_CROP, LARGEST_STD = 4096, 2, 10  # the most of timm's own: 1.15 and 1
# What timm.create_model takes that is no part of the network: other weights, other code, or a head that is not there.
NOT_OF_THE_NETWORK = {
    *("pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir", "features_only"),
    *("scriptable", "exportable", "no_jit", "num_classes", "device", "dtype", "pretrained_model_args"),
}


def parse_size(text: str) -> tuple[int, int]:
    """`384`, `384,320` or `384x320` as (H, W); raises SalcheckError for anything else."""
    found = re.fullmatch(r"\s*([0-9]{1,5})(?:\s*[,x× ]\s*([0-9]{1,5}))?\s*", text)
    if not found:
        raise SalcheckError(f"--img-size '{text}': give pixels, as 384, or height and width, as 384,320")
    return int(found[1]), int(found[2] or found[1])


def parse_numbers(option: str, text: str) -> tuple[float, ...]:
    """`.5` or `.485,.456,.406`, with commas, blanks or both between; raises SalcheckError for anything else."""
    try:
        return tuple(float(word) for word in re.split(r"[\s,]+", text.strip(" ,()[]")))
    except ValueError as error:
        raise SalcheckError(f"{option} '{text}': give a number for each channel, as .485,.456,.406, or one") from error


def parse_kwargs(texts: Sequence[str]) -> dict[str, Any]:
    """`key=value` words as timm reads them: Python's literals, or else text. Commas or blanks may stand between them.

    Raises SalcheckError for what has no key, and for keys that are no part of the network.
    """
    words = [word for text in texts for word in re.split(r"[\s,]+(?=[A-Za-z_]\w*=)", text.strip(" ,")) if word]
    found = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key.isidentifier():
            raise SalcheckError(f"--model-kwargs '{word}': give key=value, as in_chans=1")
        if key in NOT_OF_THE_NETWORK:
            raise SalcheckError(f"--model-kwargs {key}: the weights decide that, and not this option; leave it out")
        try:
            found[key] = ast.literal_eval(value)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            found[key] = value
    return found


def from_args(args: Mapping[str, Any]) -> Settings:
    """What timm's train.py was told, as it keeps it in a checkpoint: the settings that it would validate with.

    Entries of another kind than train.py's are passed over.
    """
    kwargs = args.get("model_kwargs")
    made = {key: value for key, value in kwargs.items() if isinstance(key, str)} if isinstance(kwargs, Mapping) else {}
    for entry, key in {"gp": "global_pool", "bn_eps": "bn_eps", "chans": "in_chans", "in_chans": "in_chans"}.items():
        if isinstance(args.get(entry), str | int | float):
            made[key] = args[entry]
    size, whole = args.get("img_size"), args.get("input_size")
    if isinstance(whole, list | tuple) and len(whole) == 3 and all(isinstance(side, int) for side in whole):
        made["in_chans"], size = whole[0], whole[1:]
    return Settings(
        img_size=_size(size),
        crop_pct=_real(args.get("crop_pct")) or None,  # 0 and "" are train.py's way to say nothing
        crop_mode=_word(args.get("crop_mode")),
        interpolation=_word(args.get("interpolation")),
        mean=_reals(args.get("mean")),
        std=_reals(args.get("std")),
        model_kwargs={key: value for key, value in made.items() if key not in NOT_OF_THE_NETWORK},
        natural=True if {"model", "opt"} <= args.keys() else None,
    )


def with_args(own: Settings, args: Mapping[str, Any]) -> tuple[Settings, list[str]]:
    """The settings, and those of a checkpoint's own arguments where these leave it open; a line on each thing taken."""
    found = from_args(args)
    taken = {
        "size": None if own.img_size else found.img_size and "×".join(map(str, found.img_size)),
        "crop": None if own.crop_pct else found.crop_pct,
        "crop mode": None if own.crop_mode else found.crop_mode,
        "interpolation": None if own.interpolation else found.interpolation,
        "mean": None if own.mean else found.mean and _spelled(found.mean),
        "std": None if own.std else found.std and _spelled(found.std),
        **{key: value for key, value in found.model_kwargs.items() if key not in own.model_kwargs},
    }
    words = [f"{name} {value}" for name, value in taken.items() if value is not None]
    notes = [one_line(f"as the checkpoint's own arguments say: {', '.join(words)}")] if words else []
    map_file = _word(args.get("class_map"))
    if map_file and own.class_names is None:
        notes.append(one_line(f"the checkpoint was trained with the class map '{map_file}': give it as --class-map"))
    return own.over(found), notes


def resolve(net: Any, settings: Settings) -> tuple[dict[str, Any], list[str]]:
    """What the network is fed, as `timm.data.create_transform` takes it, and notes on what had to be decided.

    Raises SalcheckError for values that make no sense, whoever they are of, and for other than one or three channels.
    """
    config, notes = _of_model(net), list[str]()
    channels = channels_of(net, settings)
    if channels not in (1, 3):
        raise SalcheckError(f"this model reads {channels} channels: salcheck feeds it photographs, of three or of one")
    size = settings.img_size or settings.model_kwargs.get("img_size") or config["input_size"][-2:]
    config["input_size"] = (channels, *((size, size) if isinstance(size, int) else size))
    for entry in ("crop_pct", "crop_mode", "interpolation"):
        config[entry] = getattr(settings, entry) or config[entry]
    averaged = []
    for entry in ("mean", "std"):
        given = getattr(settings, entry)
        values = _values(entry, given or config[entry])
        if len(values) > 1 and channels == 1 and given is None:
            averaged.append(entry)
            values = (sum(values) / len(values),)
        if len(values) not in (1, channels):
            raise SalcheckError(f"--{entry} has {len(values)} numbers, and this model reads {channels} channel(s)")
        config[entry] = values * (channels // len(values))
    if averaged:
        what = " and ".join(averaged)
        notes.append(f"{what} of three colours averaged for the one channel, as timm does; --mean and --std set others")
    _check(config)
    return config, notes


def transform_of(config: Mapping[str, Any]) -> Callable[[Image.Image], torch.Tensor]:
    """timm's own eval transform; for one channel it begins with the grey of the image, as timm's tools read it."""
    transform = create_transform(**config, is_training=False)
    if config["input_size"][0] == 1:
        transform.transforms.insert(0, Grey())
    return transform


class Grey:
    """A colour image as grey: Pillow's mode `L`, the luminance of ITU-R 601. What is no colour image stays as it is."""

    def __call__(self, image: Image.Image) -> Image.Image:
        return image.convert("L") if image.mode == "RGB" else image

    def __repr__(self) -> str:
        return "Grey()"


def channels_of(net: Any, settings: Settings) -> int:
    """How many channels a network reads."""
    known = settings.model_kwargs.get("in_chans") or getattr(net, "in_chans", None)
    if isinstance(known, int):
        return known
    # Older versions of timm do not say it; a first convolution of more channels reads a rearranged image.
    first = next((module for module in net.modules() if isinstance(module, torch.nn.Conv2d)), None)
    if first is not None and first.in_channels <= 4:
        return first.in_channels
    return int(net.pretrained_cfg.get("input_size", (3,))[0])


def _of_model(net: Any) -> dict[str, Any]:
    """As timm reads the model's config; raises SalcheckError where that holds what timm cannot read."""
    try:
        config = dict(resolve_model_data_config(net))
        config["input_size"] = tuple(config["input_size"])
        if len(config["input_size"]) != 3:
            raise ValueError(f"input_size {config['input_size']}")
    except Exception as error:  # timm asserts, and falls over types
        raise SalcheckError(f"the config of this model says nothing that it could be fed: {error}") from error
    return config


def _values(entry: str, given: Any) -> tuple[float, ...]:
    values = _reals(given)
    if values is None:
        raise SalcheckError(f"{entry} {given!r} is no number for each channel: give --{entry}, as .5 or .485,.456,.406")
    return values


def _check(config: Mapping[str, Any]) -> None:
    """Raises SalcheckError for the first entry that makes no sense."""
    sides = config["input_size"][1:]
    if len(sides) != 2 or not all(type(one) is int and 1 <= one <= LARGEST_SIDE for one in sides):
        raise SalcheckError(f"size {_spelled(sides)}: it is height and width, 1 to {LARGEST_SIDE} pixels (--img-size)")
    crop = config["crop_pct"]
    if _real(crop) is None or not 0 < crop <= LARGEST_CROP:
        raise SalcheckError(f"crop {crop!r}: it is a share of the picture, above 0, mostly up to 1 (--crop-pct)")
    for entry, known in {"interpolation": INTERPOLATIONS, "crop_mode": CROP_MODES}.items():
        if config[entry] not in known:
            option = " (--interpolation)" if entry == "interpolation" else ""
            raise SalcheckError(f"{entry} {config[entry]!r}: it is one of {', '.join(known)}{option}")
    if not all(0 <= one <= 1 for one in config["mean"]):
        raise SalcheckError(f"mean {_spelled(config['mean'])}: each is 0 to 1, as pixels are (--mean); divide by 255")
    if not all(0 < one <= LARGEST_STD for one in config["std"]):
        raise SalcheckError(f"std {_spelled(config['std'])}: each is above 0, and pixels go from 0 to 1 (--std)")


def _spelled(values: Sequence[Any]) -> str:
    return " ".join(f"{one:g}" if isinstance(one, float) else str(one) for one in values)


def _size(value: object) -> tuple[int, int] | None:
    if type(value) is int:
        return value, value
    if isinstance(value, list | tuple) and len(value) == 2 and all(type(side) is int for side in value):
        return value[0], value[1]
    return None


def _real(value: object) -> float | None:
    sound = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if sound else None  # type: ignore[arg-type]


def _reals(values: object) -> tuple[float, ...] | None:
    if _real(values) is not None:
        values = (values,)
    if not isinstance(values, list | tuple) or not values:
        return None
    found = [_real(one) for one in values]
    return None if None in found else tuple(one for one in found if one is not None)


def _word(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
