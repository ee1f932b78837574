"""The contract of methods and diagnostics, held to what comes from outside when it is first used."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from salcheck.diagnostics import Scores
from salcheck.errors import SalcheckError
from salcheck.maps.notes import Note
from salcheck.methods import Method
from salcheck.network.view import View
from salcheck.questions import Question

TOLERANCE = 1e-3  # of the map's peak: what another size of batch may change


def check_method(
    method: Method,
    view: View,
    classes: Tensor,
    maps: Tensor,
    references: Mapping[str, Any] | None = None,
    before: int = 0,
) -> None:
    """Raises SalcheckError where the maps that `method.saliency(view, classes, references)` gave break the contract.

    maps: (B, M, h, w) on the layer's grid or (B, M, H, W), finite, for classes (B, M). The last image is explained once
    more by itself: its map is the same. No gradient stays in the weights or the images, and no hook on the network;
    `before`: how many there were before the maps were made.
    """
    _check_shape(method, view, classes, maps)
    last = torch.tensor([len(view) - 1])
    alone = method.saliency(view.again(view.images[-1:], last), classes[-1:], references)
    if hooks(view.net) != before:
        raise _broken(method, "it leaves a hook on the network: remove it before it returns")
    if any(weight.grad is not None for weight in view.net.parameters()) or view.images.requires_grad:
        raise _broken(method, "it leaves gradients in the weights or the images: use torch.autograd.grad")
    peak = max(maps[-1].abs().max().item(), 1e-12)
    moved = (alone[0] - maps[-1]).abs().max().item() / peak
    if not moved <= TOLERANCE:
        raise _broken(
            method,
            f"the map of an image alone is {moved:.1%} of its peak off its map in a batch of {len(view)}: it "
            "may depend on its own image and class alone",
        )


def check_scores(question: Question, scores: object, images: int) -> None:
    """Raises SalcheckError where what `score` of the question's diagnostic gave for so many images is no Scores, or not
    one note for each image and (B,) or (B, L) values by metric, L as many as its levels.
    """
    name = question.diagnostic
    if not isinstance(scores, Scores):
        raise SalcheckError(f"diagnostic {name}: score gave a {type(scores).__name__}: it gives a Scores")
    if len(scores.notes) != images:
        raise SalcheckError(f"diagnostic {name}: {len(scores.notes)} notes for {images} images: it gives one for each")
    strange = [note for note in scores.notes if not (note is None or isinstance(note, Note))]
    if strange:
        raise SalcheckError(f"diagnostic {name}: a note is {strange[0]!r}: it is a salcheck.maps.notes.Note or None")
    for metric, values in scores.values.items():
        if tuple(values.shape) not in ((images,), (images, len(scores.levels))):
            raise SalcheckError(
                f"diagnostic {name}: {metric} is {tuple(values.shape)} for {images} images and {len(scores.levels)} "
                "levels: it is (B,) or (B, levels)"
            )
    metrics = {key for key, metric in question.metrics.items() if not metric.best_of}
    if question.metric not in scores.values or scores.values.keys() - metrics:
        raise SalcheckError(
            f"diagnostic {name}: it scores {', '.join(scores.values) or 'nothing'}, and its question names "
            f"{', '.join(sorted(metrics))} with {question.metric} as the main one"
        )


def _check_shape(method: Method, view: View, classes: Tensor, maps: Tensor) -> None:
    grid, pixels = (*classes.shape, *view.acts.shape[-2:]), (*classes.shape, *view.size)
    if tuple(maps.shape) not in (grid, pixels):
        raise _broken(method, f"its maps are {tuple(maps.shape)}: they are {grid} on the layer's grid, or {pixels}")
    sound = view.acts.flatten(1).isfinite().all(-1)
    if not maps[sound].isfinite().all():
        raise _broken(method, "a map is not finite: NaN or infinity comes of a division by zero, a root or a logarithm")


def hooks(net: nn.Module) -> int:
    """How many hooks there are on a network and its modules."""
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return sum(len(getattr(module, kind)) for module in net.modules() for kind in kinds)


def _broken(method: Method, why: str) -> SalcheckError:
    return SalcheckError(f"method {method.spec} breaks the contract: {why}")
