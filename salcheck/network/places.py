"""Where in a file the network's own weights are: the prefix before their names, averaged ones or plain."""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

AVERAGED = re.compile(r"(^|_)(ema|swa|avg|averaged?|shadow)(_|$)", re.IGNORECASE)
LIVE = re.compile(r"(^|_)online(_|$)", re.IGNORECASE)  # the plain weights, inside a wrapper that averages them
# What PyTorch puts between the names of modules that are compiled, sharded or recomputed.
WRAPPERS = re.compile(r"\b_(?:orig_mod|fsdp_wrapped_module|checkpoint_wrapped_module)\.")
ENCODERS = ("base_encoder.", "encoder_q.")  # the network itself in MoCo's files: version 3, versions 1 and 2


@dataclass(frozen=True)
class Place:
    """Tensors whose names in the file begin with `prefix`, by the rest of their names without PyTorch's wrappers."""

    prefix: str
    averaged: bool
    tensors: Mapping[str, Tensor]
    wrappers: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        """For people."""
        wrapped = f" (without {', '.join(sorted(self.wrappers))})" if self.wrappers else ""
        return (f"'{self.prefix.rstrip('.')}'" if self.prefix else "the whole file") + wrapped


def places(tensors: Mapping[str, Tensor], averaged: Collection[str], least: int) -> list[Place]:
    """All places with at least that many tensors, the outermost first. averaged: containers that are said to be."""
    counts: Counter[str] = Counter()
    for key in tensors:
        counts.update(key[: dot.end()] for dot in re.finditer(r"\.", key))
    prefixes = ["", *sorted((prefix for prefix in counts if counts[prefix] >= least), key=len)]
    return [_place(prefix, tensors, averaged) for prefix in prefixes]


def best(found: Iterable[tuple[Place, int]]) -> list[Place]:
    """Of places with how many of the network's tensors each holds: those with most, each set of weights once."""
    rated = list(found)
    most = max((count for _, count in rated), default=0)
    rivals: list[Place] = []
    for place in (place for place, count in rated if count == most):
        if not any(_same(place.tensors, other.tensors) for other in rivals if other.averaged == place.averaged):
            rivals.append(place)
    return [place for place in rivals if place.prefix.endswith(ENCODERS)] or rivals


def left_out(tensors: Iterable[str], place: Place, taken: Collection[str]) -> str:
    """What is in the file beside the tensors that were taken of a place: `optimizer (314), criterion (1)`."""
    mine = {_bare(place.prefix) + name for name in taken}
    beside = Counter(_group(key, place.prefix) for key in tensors if _bare(key) not in mine)
    return ", ".join(f"{name} ({count})" for name, count in beside.items())


def _place(prefix: str, tensors: Mapping[str, Tensor], averaged: Collection[str]) -> Place:
    keys = [key for key in tensors if key.startswith(prefix)]
    own = {_bare(key.removeprefix(prefix)): tensors[key] for key in keys}
    wrappers = frozenset(found.rstrip(".") for key in keys for found in WRAPPERS.findall(key))
    container = prefix.partition(".")[0]
    counted = prefix.endswith("module.") and f"{prefix.removesuffix('module.')}n_averaged" in tensors
    return Place(prefix, container in averaged or counted or _named_averaged(prefix), own, wrappers)


def _named_averaged(prefix: str) -> bool:
    """What the innermost name says that says anything."""
    said = [bool(AVERAGED.search(name)) for name in prefix.split(".") if AVERAGED.search(name) or LIVE.search(name)]
    return bool(said) and said[-1]


def _bare(key: str) -> str:
    return WRAPPERS.sub("", key)


def _group(key: str, prefix: str) -> str:
    """The shortest beginning of a name, up to a dot, that does not lead to the prefix."""
    parts = key.split(".")
    heads = (".".join(parts[:i]) for i in range(1, len(parts) + 1))
    return next((head for head in heads if not f"{prefix}".startswith(f"{head}.")), key)


def _same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
