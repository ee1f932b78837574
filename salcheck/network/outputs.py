"""What a model's outputs are: how they become scores of classes, and these confidences."""

import contextlib
from collections.abc import Sized
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from salcheck.errors import SalcheckError
from salcheck.naming.words import unknown
from salcheck.network.labels import Labels, in_order, labels_of

Kind = Literal["softmax", "sigmoid", "value"]
KINDS = ("softmax", "sigmoid", "value")
NO_CONFIDENCE = "this model's outputs are values, which have no confidence"


@dataclass(frozen=True)
class Outputs:
    """How K outputs are read.

    `softmax`: each is the logit of a class, and one class is true. `sigmoid`: each is the logit of a class by itself.
    `value`: each is a number, as in regression. opposed: each output z is two classes, its opposite with score -z and
    itself with score z: one sigmoid output says both that a class is there and that it is not, and a value can be
    explained upwards and downwards.
    """

    kind: Kind = "softmax"
    opposed: bool = False

    def scores(self, outputs: Tensor) -> Tensor:
        """Scores of the N classes (..., N), to be differentiated, of the outputs (..., K)."""
        return torch.stack([-outputs, outputs], dim=-1).flatten(-2) if self.opposed else outputs

    def confidences(self, scores: Tensor) -> Tensor:
        """In 0...1, of scores (..., N). Raises SalcheckError for values."""
        if self.kind == "value":
            raise SalcheckError(NO_CONFIDENCE)
        return scores.sigmoid() if self.kind == "sigmoid" else scores.softmax(-1)

    def log_confidence(self, scores: Tensor, classes: Tensor) -> Tensor:
        """Logarithm of the confidence (...) of classes (...), of scores (..., N). Raises SalcheckError for values."""
        if self.kind == "value":
            raise SalcheckError(NO_CONFIDENCE)
        own = scores.gather(-1, classes[..., None])[..., 0]
        return torch.nn.functional.logsigmoid(own) if self.kind == "sigmoid" else own - scores.logsumexp(-1)


SOFTMAX = Outputs()


def outputs_of(count: int, asked: str | None) -> Outputs:
    """How the outputs of a network of `count` of them are read, as asked or else guessed from their number.

    Raises SalcheckError for a word that is none, and for what does not fit the number.
    """
    if asked is not None and asked not in KINDS:
        raise SalcheckError(unknown("--output", asked, KINDS))
    if asked == "softmax" and count == 1:
        raise SalcheckError("--output softmax of one output is always 1: say sigmoid, or value for regression")
    if asked in ("sigmoid", "value") and count < 1:
        raise SalcheckError(f"--output {asked} does not fit a model without outputs: leave it out")
    if asked == "value":
        return Outputs("value", opposed=True)
    if count == 1:
        return Outputs("sigmoid", opposed=True)
    return Outputs("sigmoid" if asked == "sigmoid" else "softmax")


def labels_of_outputs(net: Any, outputs: Outputs, given: object = None, natural: bool = False) -> Labels:
    """What the N classes are called: as `labels_of` names the K outputs, or, for an output and its opposite, by two
    names, the opposite's first. Raises SalcheckError for given names that do not fit.
    """
    if not outputs.opposed:
        return labels_of(net, given, natural)
    two = given or net.pretrained_cfg.get("label_names")
    if outputs.kind == "sigmoid" and isinstance(two, Sized) and not isinstance(two, str) and len(two) == 2:
        with contextlib.suppress(ValueError):  # no names of two classes: `labels_of` says so
            return Labels(in_order(two, 2))
    names = labels_of(net, given, natural)
    if outputs.kind == "value":
        own = (
            names.names if names.named else ["value"] if len(names) == 1 else [f"value {i}" for i in range(len(names))]
        )
        return Labels([f"{name} {way}" for name in own for way in ("down", "up")], notes=names.notes)
    if not names.named:
        return Labels(["", ""], named=False, natural=natural, notes=names.notes)
    return Labels([f"not {names.names[0]}", names.names[0]], notes=names.notes)


def said(outputs: Outputs, names: Labels, guessed: bool) -> list[str]:
    """A line for people on outputs that are not read as usual; none where they are."""
    why = "guessed from the one output, else say --output value" if guessed else "as --output says"
    if outputs.kind == "value":
        return [f"outputs are values ({why}): each can be explained upwards and downwards"]
    if outputs.opposed:
        return [f"one output, read by a sigmoid ({why}): {names.names[1]}, and its opposite {names.names[0]}"]
    return [f"confidences by a sigmoid for each class ({why})"] if outputs.kind == "sigmoid" else []
