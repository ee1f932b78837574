"""Where a network is cut: the layer that a user names as a module path or by a word."""

from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from salcheck.errors import SalcheckError
from salcheck.naming.words import unknown
from salcheck.network.archs import paper_layers
from salcheck.network.grid import layout_of
from salcheck.network.labels import Labels
from salcheck.network.view import FEATURES, View
from salcheck.network.weight_files import first_line

_FOUND: WeakKeyDictionary[Any, str] = WeakKeyDictionary()  # where a network's head reads: it is tried once
HALF = 0.5  # of the cells: a head that takes a maximum over them reads fewer than all


def resolve_layer(net: Any, layer: str, shape: tuple[int, int, int], paper: str | None = None) -> str:
    """`features`, `paper` or a module path as the place to cut; raises SalcheckError with near names.

    shape: (channels, H, W) of what the network is fed. `paper` is what that preset means here; without one, the
    architecture decides.
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
        if net not in _FOUND:
            image = torch.randn(1, *shape, generator=torch.Generator().manual_seed(0))
            _FOUND[net] = _features_layer(net, image.to(next(net.parameters()).device))
        return _FOUND[net]
    if layer not in modules:
        raise SalcheckError(unknown("layer", layer, ["features", "paper", *modules]))
    return layer


def _features_layer(net: Any, image: Tensor) -> str:
    """Where the head reads, found by trying: a layer that gives a grid, on most of whose cells a logit depends.

    The head of a class token reads no patch. There the norm before the last attention is cut, the last norm whose
    patches are read. Raises SalcheckError, with a layer that would do, where the features are no grid.
    """
    seam = [FEATURES] if hasattr(net, "forward_features") and hasattr(net, "forward_head") else []
    if seam and not net.num_classes:
        return FEATURES
    token = getattr(net, "global_pool", None) == "token"
    usual = [name for name, _ in net.named_modules() if name.endswith(".norm1")][-1:] if token else []
    shares = {}
    for layer in [*usual, *seam]:
        shares[layer] = _read(net, layer, image)
        if (shares[layer] or 0) > HALF:
            return layer
    other = next((name for name in _read_norms(net, image) if (_read(net, name, image) or 0) > HALF), None)
    if other is None:
        there = ", ".join(name for name, _ in net.named_children())
        raise SalcheckError(f"cannot find where this model's head begins: name a --layer below {there}")
    if not token and shares.get(FEATURES) is None:
        raise SalcheckError(f"layer '{FEATURES}' of this model gives no feature maps: name another, --layer {other}")
    return other


def _read(net: Any, layer: str, image: Tensor) -> float | None:
    """Share of the layer's cells that a logit depends on; None where the layer cannot be cut."""
    view = View(net, layer, lambda: image, (image.shape[-2], image.shape[-1]), [0], Labels([]))
    try:
        grads = view.grads(torch.zeros(1, 1, dtype=torch.long, device=image.device))
    except Exception:  # networks raise all sorts where they do not get what they expect
        return None
    return _share(grads[:, 0])


def _share(grads: Tensor) -> float:
    return float((grads != 0).any(dim=1).float().mean())


def _read_norms(net: Any, image: Tensor) -> list[str]:
    """Names of norms, and of modules with a norm in them, whose output is a grid that is read; the last one first.

    One forward and one backward tell of all modules.
    """
    size, outputs = (image.shape[-2], image.shape[-1]), {}

    def keep(name: str, out: Any) -> None:
        if isinstance(out, Tensor) and len(out) == len(image) and layout_of(out.shape, size, net):
            outputs[name] = out

    hooks = [
        module.register_forward_hook(lambda module, args, out, name=name: keep(name, out))
        for name, module in net.named_modules()
        if name and any("Norm" in type(part).__name__ for part in module.modules())
    ]
    try:
        with torch.enable_grad():
            score = net(image.requires_grad_())[0, 0]
    except Exception as error:
        shape = "x".join(map(str, image.shape[1:]))
        raise SalcheckError(f"this model cannot read images of {shape}: {first_line(error)}") from error
    finally:
        for hook in hooks:
            hook.remove()
    if not outputs:
        return []
    grads = torch.autograd.grad(score, list(outputs.values()), allow_unused=True)
    read = []
    for (name, out), grad in zip(outputs.items(), grads, strict=True):
        layout = layout_of(out.shape, size, net)
        if layout and grad is not None and _share(layout.grid(grad)) > HALF:
            read.append(name)
    return read[::-1]
