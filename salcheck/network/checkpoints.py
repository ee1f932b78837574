"""Weights into a network: found in their file, converted where timm can, and all that is loaded held to what is there.

Nothing is loaded that does not fit, and nothing of the network stays as it was made: a random head has scores, too.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
from torch import Tensor

from salcheck.errors import SalcheckError
from salcheck.network.conversion import converted, loads_of
from salcheck.network.creating import create
from salcheck.network.fit import COUNTER, faults, misfits, told
from salcheck.network.places import Place, best, left_out, places
from salcheck.network.weight_files import SUFFIXES, WeightFile

# What a folder's weights are called, as timm and Hugging Face's tools write them; the first that is there counts.
USUAL = [
    f"{start}{name}{end}"
    for start in ("", "open_clip_")
    for name, ends in {
        "model": (".safetensors", ".safetensors.index.json"),
        "pytorch_model": (".safetensors", ".bin", ".bin.index.json", ".pth"),
    }.items()
    for end in ends
]


def from_hub(model: str, backbone: bool, **options: Any) -> tuple[Any, list[str]]:
    """timm's network of this name with the weights of its hub, and what was decided, a line each for people.

    options: as `timm.create_model` takes them. Raises SalcheckError where what timm would load is not what the network
    holds.
    """
    net, state = loads_of(model, **options | head_options(backbone))
    complaint = f"the published weights of '{model}' do not fit the network{_contradiction(net)}"
    if state and ":" in model and misfits(net, state) and not _contradiction(net):  # somebody's own, as trainers write
        return from_checkpoint(model, WeightFile(Path(model), state), backbone, follow=False, **options)
    if state is not None:
        _load(net, state, complaint)
    elif _contradiction(net) and not backbone:  # files of other frameworks, which timm loads without a state dict
        raise SalcheckError(complaint)
    return net, []


def from_checkpoint(
    model: str, file: WeightFile, backbone: bool, ema: bool | None = None, follow: bool = True, **options: Any
) -> tuple[Any, list[str]]:
    """timm's network of this name with the file's weights, and what was decided, a line each for people.

    backbone: the network without its head, whatever head the file has. ema: averaged weights or plain ones; None takes
    averaged ones where the file has both. follow: the file's head and first layer decide the numbers of classes and of
    channels; otherwise it must agree with the model's own config. options: as `timm.create_model` takes them.
    Raises SalcheckError for a file that does not fit, or in which several sets of weights do.
    """
    options |= head_options(backbone)
    net = _made(model, options)
    place, own, why = _chosen(model, net, file, ema, options)
    rivals = [own, place.tensors]
    if backbone:
        rivals = [_headless(net, state) for state in rivals]
    net, state, raw = _fitted(model, net, rivals, options, follow)
    beside = left_out(file.tensors, place, raw)
    _load(net, state, f"checkpoint '{file.path}' does not fit {model}", _hints(model, file, beside, follow))
    parts = [why, *_changes(raw, state), f"left out: {beside}" if beside else ""]
    said = "; ".join(part for part in parts if part)
    return net, [f"{file.path.name}: {said}"] if said else []


def _fitted(
    model: str, net: Any, rivals: list[Mapping[str, Tensor]], options: Mapping[str, Any], follow: bool
) -> tuple[Any, Mapping[str, Tensor], Mapping[str, Tensor]]:
    """The network in the sizes of a state dict, that state dict, and the tensors of the file that it was made of.

    The first rival as it is where its names and shapes fit, else what timm's filter makes of one of them.
    """
    first = _sized(model, net, rivals[0], options, follow)
    tried = [(first, rivals[0], rivals[0])]
    if misfits(first, rivals[0]):
        for raw in rivals:
            made = converted(model, raw, options, first if follow else None)
            tried.append((_sized(model, first, made, options, follow), made, raw))
    return min(tried, key=lambda one: sum(len(names) for names in misfits(one[0], one[1]).values()))


def _sized(model: str, net: Any, state: Mapping[str, Tensor], options: Mapping[str, Any], follow: bool) -> Any:
    """The network, or one with as many classes and channels as the state dict has, where no option decides them."""
    sizes = {name: size for name, size in _sizes(net, state).items() if follow and name not in options}
    own = {"num_classes": net.num_classes, "in_chans": _channels(net)}
    return _made(model, {**options, **own, **sizes}) if sizes else net


def _channels(net: Any) -> int:
    return (net.pretrained_cfg.get("input_size") or (3,))[0]


def _made(model: str, options: Mapping[str, Any]) -> Any:
    """The network before anything is loaded; its config states the channels that it was made for."""
    net = create(model, pretrained=False, **options)
    if "in_chans" in options and net.pretrained_cfg.get("input_size"):
        net.pretrained_cfg["input_size"] = (options["in_chans"], *net.pretrained_cfg["input_size"][1:])
    return net


def weights_in(folder: Path) -> Path:
    """The file of weights in a model folder; raises SalcheckError where there is none, or no way to tell which."""
    for name in USUAL:
        if (folder / name).is_file():
            return folder / name
    files = sorted(file.name for file in folder.glob("*") if file.name.endswith(SUFFIXES))
    if len(files) == 1:
        return folder / files[0]
    there = f"several files of weights: {', '.join(files)}; give one with --checkpoint" if files else "no weights"
    raise SalcheckError(f"cannot load '{folder}': the folder has {there}")


def head_options(backbone: bool) -> dict[str, int]:
    """What `timm.create_model` is told of the head: none for a backbone."""
    return {"num_classes": 0} if backbone else {}


def _chosen(
    model: str, net: Any, file: WeightFile, ema: bool | None, options: Mapping[str, Any]
) -> tuple[Place, Mapping[str, Tensor], str]:
    """Where in a file the network's weights are, those of its tensors that are the network's, and what to say."""
    names = {name for name in net.state_dict() if not name.endswith(COUNTER)}
    least = max(1, len(names) // 2)
    there = places(file.tensors, file.averaged, least)
    rated = [(place, len(names & place.tensors.keys())) for place in there]
    ours = max(count for _, count in rated) >= least
    if not ours:  # another project's names, perhaps
        rated = [(place, len(names & converted(model, place.tensors, options, net).keys())) for place in there]
    fitting = [(place, count) for place, count in rated if count >= least]
    rivals = best(_asked(fitting, ema, file) or rated)
    if ema is None and any(place.averaged for place in rivals):
        rivals = [place for place in rivals if place.averaged]
    if len(rivals) > 1 and fitting:
        several = ", ".join(place.name for place in rivals)
        raise SalcheckError(
            f"checkpoint '{file.path}' holds {len(rivals)} sets of weights that fit {model}: {several}: "
            "save the state dict of one of them to a file of its own"
        )
    place = rivals[0]
    most = max(count for _, count in rated)
    other = [one for one, count in fitting if one.averaged != place.averaged and count == most]
    return place, _known(net, place.tensors) if ours else place.tensors, _said(place, other)


def _asked(rated: list[tuple[Place, int]], ema: bool | None, file: WeightFile) -> list[tuple[Place, int]]:
    """The places that hold averaged weights or plain ones, as the user wants them."""
    kept = [(place, count) for place, count in rated if ema is None or place.averaged == ema]
    if ema and not kept:
        raise SalcheckError(f"checkpoint '{file.path}' holds no averaged weights: leave out --ema")
    if ema is False and rated and not kept:
        raise SalcheckError(f"checkpoint '{file.path}' holds averaged weights only: leave out --no-ema")
    return kept


def _said(place: Place, other: list[Place]) -> str:
    """Which weights were taken, where that is not plain."""
    kind = "averaged weights" if place.averaged else "weights"
    if not other:
        return f"{kind} of {place.name}" if place.averaged or place.prefix or place.wrappers else ""
    rest, option = ("plain", "--no-ema") if place.averaged else ("averaged", "--ema")
    kind = kind if place.averaged else "plain weights"
    return f"{kind} of {place.name} ({option} takes the {rest} ones of {other[0].name})"


def _known(net: Any, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose first name is a part of the network: not a criterion, metric or queue beside it."""
    return {name: value for name, value in tensors.items() if hasattr(net, name.partition(".")[0])}


def _headless(net: Any, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Without the head, which in a backbone's file is a projector or was put on it later."""
    heads = tuple(f"{head}." for head in _names(net, "classifier"))
    return {name: value for name, value in state.items() if not name.startswith(heads)}


def _names(net: Any, part: str) -> list[str]:
    """Module paths of the classifiers or the first convolutions, as timm states them: none, one or several."""
    said = net.pretrained_cfg.get(part)
    return [said] if isinstance(said, str) else list(said or ())


def _sizes(net: Any, state: Mapping[str, Tensor]) -> dict[str, int]:
    """Numbers of classes and input channels of a state dict, where they are not the network's."""
    own, found = net.state_dict(), dict[str, int]()
    for part, axis, option in (("classifier", 0, "num_classes"), ("first_conv", 1, "in_chans")):
        for name in (f"{path}.weight" for path in _names(net, part)):
            if name in state and net.num_classes == 0 and part == "classifier":
                found.setdefault(option, state[name].shape[0])
            elif name in own and name in state and state[name].ndim == own[name].ndim:
                given, made = state[name].shape[axis], own[name].shape[axis]
                now = net.num_classes if part == "classifier" else _channels(net)
                if given != made and (given * now) % made == 0:
                    found.setdefault(option, given * now // made)
    return found


def _load(net: Any, state: Mapping[str, Tensor], complaint: str, hints: str = "") -> None:
    found = faults(net, state)
    if found:
        raise SalcheckError(f"{complaint}: keys {told(found)}{hints}")
    net.load_state_dict(state, strict=False)  # counters of batch norms may be missing


def _contradiction(net: Any) -> str:
    """Where the config states other classes for the weights than for the network: timm then drops the trained head."""
    weights = net.pretrained_cfg.get("num_classes")
    told_apart = weights is not None and weights != net.num_classes
    return f" (they have {weights} classes by its config, the network {net.num_classes})" if told_apart else ""


def _hints(model: str, file: WeightFile, beside: str, follow: bool) -> str:
    """What may help where a file does not fit."""
    said = [f"left out: {beside}"] if beside else []
    said += ["its config.json decides the sizes (num_classes, model_args)"] if not follow else []
    trained = next((file.args[key] for key in ("model", "arch") if isinstance(file.args.get(key), str)), "")
    if trained.partition(".")[0] != model.partition(".")[0] and timm.is_model(trained):
        said.append(f"the file says that it is of --arch {trained}")
    if any(".lora_" in name for name in file.tensors):
        said.append("it is an adapter (LoRA): merge it into its network and save that")
    if re.search(r"-\d+-of-\d+\.", file.path.name):
        said.append("it is one of several files: give the .index.json beside it")
    return "".join(f"; {hint}" for hint in said)


def _changes(raw: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> list[str]:
    """What timm's filter changed, in words."""
    shapes = [
        f"{name} {tuple(raw[name].shape)} to {tuple(value.shape)}"
        for name, value in state.items()
        if name in raw and raw[name].shape != value.shape
    ]
    renamed = sum(name not in raw for name in state)
    said = [f"timm resized {'; '.join(shapes[:3])}{'; …' * (len(shapes) > 3)}"] if shapes else []
    said += [f"timm gave {renamed} tensors its own names"] if renamed else []
    return said + ([f"timm left out {len(raw) - len(state)}"] if len(raw) > len(state) else [])
