"""LIFT-CAM: channels weighted by their SHAP values for the class score, approximated by DeepLIFT.

Jung and Oh, "Towards Better Explanations of Class Activation Mapping", ICCV 2021:

    w_k = sum over i, j of C[k, i, j]
    map[i, j] = ReLU(sum over k of w_k * A[k, i, j])

C[k, i, j] = multiplier * A[k, i, j] is the DeepLIFT contribution of one activation to the logit of class u, against
activations of zero (Shrikumar et al., ICML 2017, rescale rule): through an elementwise activation function the
gradient is replaced by the secant, (f(x) - f(x0)) / (x - x0), with x0 what the input is when A is zero. Where the
head is made of linear layers and such functions, the contributions sum to s_u(A) - s_u(0).

At an affine head C is gradient times activation, and w_k the exact SHAP value (and the weight of Ablation-CAM).
Norms, attention, pooling and activations that are no modules of their own pass the plain gradient; the paper's code
also treats max-pooling, which right after the layer comes to the same.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from salcheck.maps.channels import weighted_sum
from salcheck.methods._cost import Cost, M
from salcheck.network.view import View

SOURCE = "Jung and Oh, ICCV 2021"
COST = Cost(head_forwards=2, head_backwards=2 * M)

ACTIVATIONS = ("torch.nn.modules.activation", "timm.layers.activations", "timm.layers.activations_me")
MIXING = (nn.GLU, nn.LogSoftmax, nn.MultiheadAttention, nn.Softmax, nn.Softmax2d, nn.Softmin)  # not elementwise
NEAR = 1e-6  # nearer to each other than this, two inputs give no secant that is more than rounding


def saliency(view: View, classes: Tensor) -> Tensor:
    """LIFT-CAM maps (B, M, h, w), not negative, for classes (B, M)."""
    weights = contributions(view, classes).sum(dim=(-2, -1))
    return weighted_sum(weights, view.acts).clamp(min=0)


def contributions(view: View, classes: Tensor) -> Tensor:
    """The part (B, M, C, h, w) of each activation in the logits of classes (B, M), against activations of zero."""
    multipliers = view.grads(classes) if view.affine else _multipliers(view, classes)
    return multipliers * view.acts[:, None]


def _multipliers(view: View, classes: Tensor) -> Tensor:
    def differentiate(rows: slice) -> Tensor:
        of = torch.arange(len(view))[rows]
        with torch.enable_grad(), _rescaled(view.net):
            leaf = view.acts[rows].clone().requires_grad_()
            scores = view.head(torch.cat([leaf, torch.zeros_like(leaf)]), of.repeat(2))[: len(of)]
        columns = [scores.gather(1, column[:, None]).sum() for column in classes[rows].T]
        return torch.stack([torch.autograd.grad(s, leaf, retain_graph=True)[0] for s in columns], dim=1)

    return view.chunks(len(view), differentiate)


@contextmanager
def _rescaled(net: nn.Module) -> Iterator[None]:
    """Within it, a batch's first half is differentiated by the rescale rule against its second half."""
    inputs: dict[nn.Module, Tensor] = {}

    def keep(module: nn.Module, args: tuple[Any, ...]) -> tuple[Tensor]:
        inputs[module] = args[0]
        return (args[0].clone(),)  # many activations overwrite what they are given

    def rescale(module: nn.Module, args: tuple[Any, ...], out: Tensor) -> Tensor:
        return _secant(inputs.pop(module), out)

    found = [m for m in net.modules() if type(m).__module__ in ACTIVATIONS and not isinstance(m, MIXING)]
    hooks = [hook for m in found for hook in (m.register_forward_pre_hook(keep), m.register_forward_hook(rescale))]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _secant(x: Tensor, out: Tensor) -> Tensor:
    """`out` as it is; the derivative of its first half by that of `x` is the slope between the two halves."""
    (own, base), (out_own, out_base) = x.chunk(2), out.chunk(2)
    run = (own - base).detach()
    near = run.abs() < NEAR
    slope = (out_own - out_base).detach() / run.masked_fill(near, 1)
    line = out_own.detach() + slope * (own - own.detach())
    return torch.cat([torch.where(near, out_own, line), out_base])
