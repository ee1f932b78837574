"""Sensitivity: how far a map moves when the image hardly changes.

Yeh et al., NeurIPS 2019, section 3 (max-sensitivity, by sampling), relative to the map as in the released code:

    sensitivity = max over r of ||map(x + r) - map(x)|| / ||map(x)||,    r uniform in the ball |r| <= radius

The norm of the map is Frobenius', that of the ball L-infinity: every pixel and colour moves by up to `radius` in the
units that the model is fed. The class that is explained stays that of x. The paper takes radius 0.2 and captum 0.02,
which is the default here. Departure: the released code divides its running maximum by the norm at every sample again.

Low is better, and worth little alone: a map that never looks at the image does not move at all. So does the control
`random`, whose noise is that of the image's seed and stays with x + r. Compare methods with each other, and read it
beside a question that asks whether the map is right.

Maps are compared as the method gives them, on its own grid and with its own sign. The cost is that of the method
itself on `samples` more images for each image, the forward included: what a method needs of a disturbed image (its
activations, its gradients) is too large to keep for the next one.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from salcheck.diagnostics import Scores, scored
from salcheck.diagnostics._sampled import seeds
from salcheck.errors import SalcheckError
from salcheck.maps.ranking import blank, upsample
from salcheck.network.view import View


def check(*, radius: float, samples: int, **rest: object) -> None:
    if radius <= 0:
        raise SalcheckError(f"sensitivity:radius={radius:g}: it is how far a pixel may move, above 0")
    if samples < 1:
        raise SalcheckError(f"sensitivity:samples={samples}: it takes 1 disturbed image or more")


def score(
    view: View,
    classes: Tensor,
    maps: Tensor,
    *,
    radius: float = 0.02,
    samples: int = 10,
    explain: Callable[[View, Tensor], Tensor],
) -> Scores:
    """`sensitivity` and `mean_change` (B,), the largest and the mean relative change, 0 or more; maps (B, 1, h, w).

    explain: the method that made the maps. Disturbed images are the same for all methods. NaN, with a note, where a
    map is blank; NaN where the map of a disturbed image is not finite.
    """
    of = torch.arange(len(view), device=maps.device).repeat_interleave(samples)
    own = maps[:, 0].flatten(1).cpu().double()
    drawn = seeds(view, samples)

    def move(rows: slice) -> Tensor:
        images = view.images[of[rows]]
        noise = torch.stack([_uniform(seed, images.shape[1:]) for seed in drawn[rows]]).to(images)
        moved = explain(view.again(images + radius * noise, of[rows]), classes[of[rows]])[:, 0]
        return (moved.flatten(1).cpu().double() - own[of[rows].cpu()]).norm(dim=1)

    changes = view.chunks(len(of), move).view(-1, samples) / own.norm(dim=1, keepdim=True)
    values = {"sensitivity": changes.amax(dim=1), "mean_change": changes.mean(dim=1)}
    return scored(values, blank(upsample(maps[:, 0], view.size), 0, maps[:, 0]))


def _uniform(seed: int, shape: torch.Size) -> Tensor:
    """Noise in -1...1."""
    return 2 * torch.rand(shape, generator=torch.Generator().manual_seed(seed)) - 1
