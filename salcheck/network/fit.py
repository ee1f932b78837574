"""What a file's tensors and a network's have in common: names, shapes, kinds of numbers, values."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

FLOATS = {torch.float16, torch.bfloat16, torch.float32, torch.float64}
COUNTER = "num_batches_tracked"  # of a batch norm in training; plays no part afterwards, and many files leave it out


def faults(net: Any, state: Mapping[str, Tensor]) -> dict[str, list[str]]:
    """Kind of fault to the tensors that have it, where a state dict is not the network's; none where it fits."""
    expected = {name: value for name, value in net.state_dict().items() if not name.endswith(COUNTER)}
    given = {name: value for name, value in state.items() if not name.endswith(COUNTER)}
    both = [name for name in expected if name in given]
    found = {
        "missing": [name for name in expected if name not in given],
        "unknown": [name for name in given if name not in expected],
        "wrong shape": [
            f"{name} {tuple(given[name].shape)} for {tuple(expected[name].shape)}"
            for name in both
            if given[name].shape != expected[name].shape
        ],
        "wrong kind of number": [
            f"{name} {_kind(given[name])} for {_kind(expected[name])}"
            for name in both
            if not _same_kind(given[name], expected[name])
        ],
        "not finite": [name for name in both if _broken(given[name]) and not _broken(expected[name])],
    }
    return {fault: names for fault, names in found.items() if names}


def told(found: Mapping[str, list[str]]) -> str:
    """Faults in words: how many of each kind, and the first three."""
    return "; ".join(f"{len(names)} {fault} ({listed(names)})" for fault, names in found.items())


def listed(words: list[str]) -> str:
    """The first three, and whether there are more."""
    return ", ".join(words[:3]) + ", …" * (len(words) > 3)


def _same_kind(given: Tensor, expected: Tensor) -> bool:
    if given.layout != torch.strided:
        return False
    if expected.is_floating_point():
        return given.dtype in FLOATS
    return given.dtype == expected.dtype or not (given.is_floating_point() or given.is_complex())


def _kind(value: Tensor) -> str:
    sparse = "sparse " * (value.layout != torch.strided)
    return sparse + str(value.dtype).removeprefix("torch.")


def _broken(value: Tensor) -> bool:
    """Whether there are NaN or infinite numbers in it."""
    return value.dtype in FLOATS and value.layout == torch.strided and not bool(torch.isfinite(value).all())
