"""What a file's tensors and a network's have in common: names, shapes, kinds of numbers, values."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

FLOATS = {torch.float16, torch.bfloat16, torch.float32, torch.float64}
COUNTER = "num_batches_tracked"  # of a batch norm in training; plays no part afterwards, and many files leave it out


def misfits(net: Any, state: Mapping[str, Tensor]) -> dict[str, list[str]]:
    """Kind of fault to the tensors that have it, where names or shapes are not the network's; none where they are."""
    expected, given = _lasting(net.state_dict()), _lasting(state)
    return _found(
        {
            "missing": [name for name in expected if name not in given],
            "unknown": [name for name in given if name not in expected],
            "wrong shape": [
                f"{name} {tuple(given[name].shape)} for {tuple(expected[name].shape)}"
                for name in expected
                if name in given and given[name].shape != expected[name].shape
            ],
        }
    )


def faults(net: Any, state: Mapping[str, Tensor]) -> dict[str, list[str]]:
    """The same, with kinds of numbers that are no weights, and with numbers that are not finite."""
    expected, given = _lasting(net.state_dict()), _lasting(state)
    both = [(name, given[name], expected[name]) for name in expected if name in given]
    return misfits(net, state) | _found(
        {
            "wrong kind of number": [
                f"{name} {_kind(has)} for {_kind(needs)}" for name, has, needs in both if not _same_kind(has, needs)
            ],
            "not finite": [name for name, has, needs in both if _broken(has) and not _broken(needs)],
        }
    )


def _lasting(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for name, value in state.items() if not name.endswith(COUNTER)}


def _found(faulty: Mapping[str, list[str]]) -> dict[str, list[str]]:
    return {fault: names for fault, names in faulty.items() if names}


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
    if value.dtype not in FLOATS or value.layout != torch.strided or not value.numel():
        return False
    ends = torch.stack(torch.aminmax(value))  # NaN wins; a tenth of the time that isfinite takes
    return not bool(torch.isfinite(ends).all())
