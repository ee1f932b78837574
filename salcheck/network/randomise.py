"""Networks with random weights: a trained one whose parts lose theirs one after another, from the head to the input.

Adebayo et al., NeurIPS 2018, section 3. A part is a group of timm's own coarse grouping (`group_matcher`: a stage of a
ResNet, a block of a ViT), with two departures: the classifier is a part of its own, always the first, and a group
without any matrix (a norm) goes with the part before it.

What random means: every module that can is set back by its own `reset_parameters`, running statistics of batch norms
too, as in the paper, where variables are set back by their own initialisers. Tokens, position embeddings and other
parameters of modules that cannot are drawn from a normal of the trained tensor's own mean and deviation; so is layer
scale, whose own initial value, nearly 0, would switch its block off. Quantus leaves all these as they were trained and
takes every single module as a step of its own, its norm apart from the convolution before it.
"""

import copy
import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from itertools import groupby, pairwise
from typing import Any

import torch
from timm.models._manipulate import group_with_matcher
from torch import Tensor, nn

from salcheck.network.model import Model, weights_hash

ALONE = " alone"  # ends the name of a model of which only one part is random
STEM = "stem"


def parts(net: Any, most: int = 0) -> dict[str, list[str]]:
    """The network's parts from the head to the input: names of their tensors, of parameters and of buffers.

    most: how many parts at most, 2 or more; neighbours behind the head are joined. 0 joins none.
    """
    head = _head(net)
    found = [head] if head else []
    found += [group for group in reversed(_groups(net, set(head))) if group]
    named = _named(found)
    return _joined(named, most) if most else named


def random_models(model: Model, most: int = 0, draw: int = 0) -> dict[str, Model]:
    """The model with random weights: in the first part, the first two, ..., in all; then in each part alone but the
    first, which is the same; by the name of the last part that is random.

    draw: which random weights. All models together hold each tensor once as trained and once at random.
    """
    groups = parts(model.net, most)
    twin = _untrained(model.net, draw)
    digest = f"{model.weights} {weights_hash(twin)}"
    chosen: dict[str, list[str]] = {}
    lost: list[str] = []
    for name, tensors in groups.items():
        lost = lost + tensors
        chosen[name] = lost
    chosen |= {f"{name}{ALONE}": tensors for name, tensors in list(groups.items())[1:]}
    return {name: _replaced(model, twin, tensors, digest) for name, tensors in chosen.items()}


def _replaced(model: Model, twin: nn.Module, names: Sequence[str], digest: str) -> Model:
    """The model with the twin's tensors of these names; no tensor is copied."""
    other = twin.state_dict(keep_vars=True)
    trained = model.net.state_dict(keep_vars=True)
    shared: dict[int, Any] = {id(tensor): tensor for tensor in [*model.net.parameters(), *model.net.buffers()]}
    shared |= {id(trained[name]): other[name] for name in names}
    weights = hashlib.sha256(" ".join([digest, *sorted(names)]).encode()).hexdigest()
    return dataclasses.replace(model, net=_copied(model.net, shared), weights=weights)


def _copied(net: nn.Module, instead: Mapping[int, Any]) -> nn.Module:
    """A copy of the modules, with other tensors instead of those whose id is given; hooks are the same ones."""
    hooks = {id(hook): hook for module in net.modules() for hook in module._forward_hooks.values()}
    return copy.deepcopy(net, {**hooks, **instead})


@torch.no_grad()
def _untrained(net: nn.Module, draw: int) -> nn.Module:
    """A copy of the network with random weights everywhere, the same on every device."""
    twin = _copied(net, {}).cpu()
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(draw)
        for own, module in zip(net.modules(), twin.modules(), strict=True):  # children after what their parent sets
            if hasattr(module, "reset_parameters") and not type(module).__name__.startswith("LayerScale"):
                module.reset_parameters()
            else:
                _redraw(own, module)
    return twin.to(next(net.parameters()).device)


def _redraw(own: nn.Module, module: nn.Module) -> None:
    for trained, random in zip(own.parameters(recurse=False), module.parameters(recurse=False), strict=True):
        random.normal_(float(trained.mean()), float(trained.std(correction=0)))


def _head(net: Any) -> list[str]:
    """Names of the classifier's tensors; none for a network without one."""
    found = net.get_classifier() if hasattr(net, "get_classifier") else None
    heads = found if isinstance(found, tuple) else (found,)
    prefixes = tuple(f"{name}." for name, module in net.named_modules() if any(module is head for head in heads))
    return [name for name in net.state_dict() if name.startswith(prefixes)]


def _groups(net: Any, without: set[str]) -> list[list[str]]:
    """Names of tensors in groups from the input to the head: by timm's grouping, else by the children of the net."""
    state: Mapping[str, Tensor] = net.state_dict()
    names = [name for name in state if name not in without]
    if hasattr(net, "group_matcher"):
        grouped = group_with_matcher(((name, None) for name in names), net.group_matcher(coarse=True))
        groups = [grouped[place] for place in sorted(grouped)]
    else:
        groups = [list(group) for _, group in groupby(names, lambda name: name.partition(".")[0])]
    merged: list[list[str]] = []
    for group in groups:
        if merged and all(state[name].dim() < 2 for name in group):
            merged[-1] += group
        else:
            merged.append(list(group))
    return merged


def _named(found: Sequence[list[str]]) -> dict[str, list[str]]:
    """Parts, from the head to the input, by the shortest module path of their first tensor that is theirs alone; the
    last one, where it has no path in common (tokens, first convolution and norm), is the stem.
    """
    named = {}
    for part in found:
        others = [name for other in found if other is not part for name in other]
        words = part[0].split(".")
        paths = [".".join(words[:end]) for end in range(1, len(words) + 1)]
        path = next(path for path in paths if not any(_below(path, name) for name in others))
        whole = part is not found[-1] or all(_below(path, name) for name in part)
        named[path if whole else STEM] = part
    return named


def _below(path: str, name: str) -> bool:
    return f"{name}.".startswith(f"{path}.")


def _joined(named: Mapping[str, list[str]], most: int) -> dict[str, list[str]]:
    """The first part as it is, and the others in most - 1 groups of neighbours, as equal as can be."""
    names = list(named)
    ends = [1 + round(place * (len(names) - 1) / (most - 1)) for place in range(most)]
    groups = [names[:1], *(names[start:end] for start, end in pairwise(ends))]
    return {
        (group[0] if len(group) == 1 else f"{group[0]} to {group[-1]}"): [n for name in group for n in named[name]]
        for group in groups
        if group
    }
