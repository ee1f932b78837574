"""Which class a class is compared with, by methods that ask why it is this one and not another."""

import torch
from torch import Tensor

from salcheck.maps.ranking import ranked
from salcheck.network.model import Model
from salcheck.network.view import View


def rivals(view: View, classes: Tensor) -> Tensor:
    """The rival (B, M) of each of classes (B, M): of two classes of an image each is the other's; where one is asked
    for, or more than two, it is the likeliest other class.
    """
    if classes.shape[1] == 2:
        return classes.flip(1)
    scores = view.logits[:, None].expand(-1, classes.shape[1], -1)
    return ranked(scores.scatter(-1, classes[..., None], -torch.inf))[..., 0]


def against(view: View, classes: Tensor) -> tuple[Tensor, Tensor]:
    """One-hot rows (B, M, N) of classes (B, M) and of their rivals."""
    N = view.logits.shape[1]
    return torch.nn.functional.one_hot(classes, N), torch.nn.functional.one_hot(rivals(view, classes), N)


def no_rival(model: Model) -> str | None:
    """Why there is nothing to compare a class with; None where there is."""
    return "it compares classes, and this model has one" if len(model.labels) < 2 else None
