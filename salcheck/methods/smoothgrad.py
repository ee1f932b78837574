"""SmoothGrad: the gradient averaged over noisy copies of the image.

Smilkov et al., arXiv 1706.03825 (2017), section 3, with `samples` = n and `sigma` the noise level of section 3.1:

    g = 1/n * sum over n of d s_u / d x at x + noise,  noise ~ N(0, (sigma * (max x - min x))^2)
    map[i, j] = max over colours c of | g[c, i, j] |

The average is of signed gradients, as in the paper; absolute value and maximum over colours, which the paper leaves
to the picture, are those of `gradient`, so that sigma=0 is `gradient`. All classes of an image see the same noise.
"""

from typing import Any

import torch
from torch import Tensor

from salcheck.errors import SalcheckError
from salcheck.methods._averaging import average_grads
from salcheck.methods._cost import Cost, M, parameter
from salcheck.network.view import View

SOURCE = "Smilkov et al., arXiv 1706.03825 (2017)"
COST = Cost(forwards=parameter("samples"), backwards=parameter("samples") * M)


def saliency(view: View, classes: Tensor, *, samples: int = 25, sigma: float = 0.15) -> Tensor:
    """SmoothGrad maps at pixel resolution (B, M, H, W), not negative, for classes (B, M).

    samples: noisy copies of each image. sigma: the noise's standard deviation as a share of the image's range.
    Raises SalcheckError for less than one sample or a negative sigma.
    """
    if samples < 1:
        raise SalcheckError(f"smoothgrad:samples={samples}: it averages over 1 noisy copy or more")
    if sigma < 0:
        raise SalcheckError(f"smoothgrad:sigma={sigma}: it is a share of the image's range, 0 or more")
    # Every copy has its own seed: one that is made again, in a smaller chunk, is the same.
    seeds = torch.stack([torch.randint(2**62, (samples,), generator=source) for source in view.generators()])
    spread = sigma * (view.images.amax(dim=(1, 2, 3)) - view.images.amin(dim=(1, 2, 3)))

    def noisy(of: Tensor, n: Tensor) -> Tensor:
        noise = torch.stack([_normal(seed, view.images.shape[1:]) for seed in seeds[of.cpu(), n.cpu()].tolist()])
        return view.images[of] + spread[of].view(-1, 1, 1, 1) * noise.to(view.images)

    return average_grads(view, classes, torch.full((samples,), 1 / samples), noisy).abs().amax(dim=2)


def needs(**_: Any) -> dict[str, dict[str, Any]]:
    """The seed of the noise."""
    return {"seed": {}}


def _normal(seed: int, shape: torch.Size) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))
