"""Guided backpropagation: the gradient with all that would lower the score stopped at every activation.

Springenberg et al., ICLR workshop 2015, section 3.4: on its way back through a ReLU a gradient passes only where the
ReLU's input was positive, as in any backward, and where the gradient itself is positive. With g that gradient at the
image:

    map[i, j] = max over colours c of | g[c, i, j] |

Departures:
- The paper shows g in colours; a map needs one number a pixel, taken as by `gradient`.
- GELU, SiLU and other activations stand in for ReLU: the gradient at their output is clamped at zero, then goes
  through their own derivative. Gates (sigmoid, softmax) are left as they are. Activations that a network calls as
  functions, not as modules, are not seen.

Known to change little with the class or with the weights (Adebayo et al., NeurIPS 2018): it shows edges.
"""

from contextlib import ExitStack
from typing import Any

from torch import Tensor, nn

from salcheck.methods._cost import Cost, M
from salcheck.network.model import Model
from salcheck.network.view import View

SOURCE = "Springenberg et al., ICLR workshop 2015"
COST = Cost(forwards=1, backwards=M)

# By name, for timm has its own modules of most of them; gates such as Sigmoid are no rectifiers.
RECTIFIERS = {
    *("ReLU", "ReLU6", "LeakyReLU", "PReLU", "ELU", "CELU", "SELU", "GELU", "GELUTanh", "QuickGELU", "SiLU", "Swish"),
    *("SwishMe", "Mish", "MishMe", "Hardswish", "HardSwish", "HardSwishMe", "HardMish", "HardMishMe", "Softplus"),
}


def saliency(view: View, classes: Tensor) -> Tensor:
    """Guided backpropagation at pixel resolution (B, M, H, W), not negative, for classes (B, M)."""
    with ExitStack() as stack:
        for module in activations(view.net):
            stack.callback(module.register_forward_hook(_guide).remove)
        # With the images given, the view neither returns the gradients that it keeps nor keeps these.
        grads = view.chunks(len(view), lambda rows: view.pixel_grads(classes[rows], view.images[rows]))
    return grads.abs().amax(dim=2)


def unfit(model: Model) -> str | None:
    """A network needs activations for their gradients to be guided."""
    return None if activations(model.net) else "it guides gradients through activation modules, and this model has none"


def activations(net: nn.Module) -> list[nn.Module]:
    """The modules of a network that rectify, ReLU and its smooth kin."""
    return [module for module in net.modules() if type(module).__name__ in RECTIFIERS]


def _guide(module: nn.Module, args: Any, out: Tensor) -> None:
    if out.requires_grad:  # activations that do not see the image have no gradient to guide
        out.register_hook(lambda grad: grad.clamp(min=0))
