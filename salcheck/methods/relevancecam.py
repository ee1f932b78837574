"""Relevance-CAM: channels weighted by the relevance that the class score hands down to them.

Lee et al., CVPR 2021, and their code. Relevance starts at the scores, contrastively, with 1 at class u and
-1 / (N - 1) at each other, and is handed down to the layer (LRP, Bach et al. 2015), nothing gained or lost:

    convolution, linear   R_i = sum over j of x_i w_ij / z_j * R_j over the i with x_i w_ij > 0, z_j their sum (z+ rule)
    batch norm, ReLU      R_i = R_i
    sum, pooling          R_i = x_i dy_j/dx_i / y_j * R_j: shares of a sum in proportion, of a maximum to its place

    alpha_n = sum over i, j of R[n, i, j]
    map[i, j] = sum over n of alpha_n * A[n, i, j]

All of it is one backward: R = A * gradient, once each convolution, linear layer and batch norm hands back
R / x in place of its gradient (the other rules hold for plain gradients already). Biases take no relevance.
The map is signed, as in the code. The rules hold for networks of ReLU layers; others are unfit.

Departures: the code gives the other classes -1 / N, its convolutions count biases within z, and its average
pooling leaves out negative inputs.
"""

import copy
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from salcheck.maps.channels import weighted_sum
from salcheck.methods._cost import Cost, M
from salcheck.network.model import Model
from salcheck.network.view import View

SOURCE = "Lee et al., CVPR 2021"
COST = Cost(head_forwards=3, head_backwards=2 * M)

NOTHING = 1e-30  # channels that training has emptied have activations of this order: dividing by them overflows

WEIGHTED = {"Conv2d", "Conv2dSame", "Linear"}
NORMS = {"BatchNorm2d", "BatchNormAct2d"}
OTHERS = {
    *("ReLU", "Identity", "Dropout", "DropPath", "Flatten", "MaxPool2d", "MaxPool2dSame", "AvgPool2d"),
    *("AvgPool2dSame", "AdaptiveAvgPool2d", "FastAdaptiveAvgPool"),
}


def saliency(view: View, classes: Tensor) -> Tensor:
    """Relevance-CAM maps (B, M, h, w), signed, for classes (B, M)."""
    own = torch.nn.functional.one_hot(classes, view.logits.shape[1])
    contrast = own - (1 - own) / max(1, own.shape[-1] - 1)
    alpha = relevance(view, contrast).sum(dim=(-2, -1))
    return weighted_sum(alpha, view.acts)


def unfit(model: Model) -> str | None:
    """Relevance has no rule here for gates, attention and other norms and activations; its ratios overflow in fp16."""
    if getattr(model, "amp", None) == "fp16":
        return "its ratios overflow in fp16: take bf16 or float32"
    if model.outputs.opposed:
        return "its relevance is contrastive, and cancels between a class and its opposite of the same output"
    leaves = [module for module in model.net.modules() if not list(module.children())]
    foreign = sorted({type(module).__name__ for module in leaves} - WEIGHTED - NORMS - OTHERS)
    if foreign:
        return f"its rules are for ReLU networks (ResNet, VGG, DenseNet, Inception); this one has {', '.join(foreign)}"
    return None


def relevance(view: View, start: Tensor) -> Tensor:
    """Relevance (B, M, C, h, w) at the layer of what `start` (B, M, N) puts on the scores."""
    acts = view.acts.clone().requires_grad_()
    with handing_down(view.net):
        scores = view.head(acts)
    grads = [
        torch.autograd.grad(scores, acts, _ratio(column, scores.detach()), retain_graph=True)[0]
        for column in start.unbind(dim=1)
    ]
    return acts.detach()[:, None] * torch.stack(grads, dim=1)


@contextmanager
def handing_down(net: nn.Module) -> Iterator[None]:
    """Within it, gradients of scores are relevance over activation; scores stay what they are."""
    rules = dict.fromkeys(WEIGHTED, _z_plus) | dict.fromkeys(NORMS, _pass)
    with ExitStack() as stack:
        for module in net.modules():
            if type(module).__name__ in rules:
                stack.callback(module.register_forward_hook(rules[type(module).__name__]).remove)
        yield


def _z_plus(module: nn.Module, args: tuple[Tensor], out: Tensor) -> Tensor:
    """The output, its gradient that of the positive contributions, scaled as they are to the output."""
    (x,) = args
    if not x.requires_grad:  # it runs before the layer
        return out
    raising, lowering = _without_bias(module), _without_bias(module)
    raising.weight.clamp_(min=0)
    lowering.weight.clamp_(max=0)
    z = raising.forward(x.clamp(min=0)) + lowering.forward(x.clamp(max=0))
    return _valued(out, z * _ratio(out, z).detach())


def _pass(module: nn.Module, args: tuple[Tensor], out: Tensor) -> Tensor:
    """The output, as if it were its input times a constant."""
    (x,) = args
    return _valued(out, x * _ratio(out, x).detach()) if x.requires_grad else out


def _without_bias(module: nn.Module) -> Any:
    twin = copy.deepcopy(module)
    twin.bias = None
    return twin


def _valued(value: Tensor, differentiable: Tensor) -> Tensor:
    """`value`, with the gradient of `differentiable`."""
    return value.detach() + (differentiable - differentiable.detach())


def _ratio(above: Tensor, below: Tensor) -> Tensor:
    """above / below; 0 where below is as good as 0: nothing is handed to what gave nothing."""
    gone = below.abs() < NOTHING
    return torch.where(gone, 0, above / torch.where(gone, 1, below))
