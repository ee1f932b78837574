"""Where a network is cut: the layer that a user names as a module path or by a word."""

from typing import Any

from salcheck.errors import SalcheckError
from salcheck.naming.words import unknown
from salcheck.network.archs import paper_layers
from salcheck.network.view import FEATURES


def resolve_layer(net: Any, layer: str, paper: str | None = None) -> str:
    """`features`, `paper` or a module path as the place to cut; raises SalcheckError with near names.

    `paper` is what that preset means here; without one, the architecture decides.
    """
    modules = [name for name, _ in net.named_modules() if name]
    if layer == "paper" and paper:
        return paper
    if layer == "paper":
        architecture = str(net.pretrained_cfg.get("architecture", ""))
        if architecture not in paper_layers():
            there = ", ".join(paper_layers())
            raise SalcheckError(f"no paper layer for '{architecture}': there is one for {there}; name a module instead")
        return paper_layers()[architecture]
    if layer == FEATURES:
        return _features_layer(net)
    if layer not in modules:
        raise SalcheckError(unknown("layer", layer, ["features", "paper", *modules]))
    return layer


def _features_layer(net: Any) -> str:
    """Where the head reads. A class token's head reads no patch: there the norm before the last attention is cut."""
    found: list[str] = []
    if net.num_classes and getattr(net, "global_pool", None) == "token":
        found = [name for name, _ in net.named_modules() if name.endswith(".norm1")][-1:]
    elif hasattr(net, "forward_features") and hasattr(net, "forward_head"):
        found = [FEATURES]
    if not found:
        there = ", ".join(name for name, _ in net.named_children())
        raise SalcheckError(f"cannot find where this model's head begins: name a --layer below {there}")
    return found[0]
