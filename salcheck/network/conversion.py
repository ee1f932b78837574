"""What timm would load: its own filters, run without loading anything."""

import contextlib
from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any

from torch import Tensor, nn

from salcheck.network.creating import create


def loads_of(model: str, **options: Any) -> tuple[Any, dict[str, Tensor] | None]:
    """timm's network of this name as it was made, and the state dict that timm would load into it.

    The state dict is as timm's filters leave it, without a head where the numbers of classes differ; None where timm
    loads in another way. options: as `timm.create_model` takes them. Raises whatever timm raises.
    """
    with _held_back() as loads:
        net = create(model, pretrained=True, **options)
    if not loads:
        return net, None
    state, strict = loads[-1]
    # Where timm is not strict, it knows that the file has more than the network.
    return net, state if strict else {name: value for name, value in state.items() if name in net.state_dict()}


def converted(model: str, state: Mapping[str, Tensor], options: Mapping[str, Any], like: Any) -> dict[str, Tensor]:
    """A state dict as timm's own filter for this model makes it of another project's names and other sizes; none where
    timm cannot. like: a network whose numbers of classes and channels timm is to expect; None: as the config says.
    """
    overlay: dict[str, Any] = {"source": None, "state_dict": dict(state), "custom_load": False}
    if like is not None:
        size = like.pretrained_cfg.get("input_size", (3, 224, 224))
        overlay |= {"num_classes": like.num_classes, "label_offset": 0, "input_size": size}
    try:
        return loads_of(model, pretrained_cfg_overlay=overlay, **options)[1] or {}
    except Exception:  # filters expect the files that they were written for
        return {}


@contextlib.contextmanager
def _held_back() -> Iterator[list[tuple[dict[str, Tensor], bool]]]:
    """While timm makes a network, nothing is loaded: gives what would have been, and whether it had to fit."""
    loads: list[tuple[dict[str, Tensor], bool]] = []
    original = nn.Module.load_state_dict

    def hold(net: Any, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:
        loads.append((dict(state_dict), strict))
        return SimpleNamespace(missing_keys=[], unexpected_keys=[])

    nn.Module.load_state_dict = hold  # type: ignore[assignment, method-assign]
    try:
        yield loads
    finally:
        nn.Module.load_state_dict = original  # type: ignore[method-assign]
