"""Smooth Grad-CAM++: Grad-CAM++ with its derivatives averaged over noisy copies of the image.

Omeiza et al., arXiv 1908.01224. With g the gradient d s_u / d A at a copy, E the mean over `samples` copies of the
image with Gaussian noise of standard deviation `sigma` added, and S[n] = sum over a, b of A[n, a, b]:

    alpha[n, i, j] = E[g^2] / (2 E[g^2] + S[n] E[g^3])
    w[n]           = sum over i, j of alpha[n, i, j] * ReLU(E[g])
    map[i, j]      = ReLU(sum over n of w[n] * A[n, i, j])

A is that of the image itself. With sigma = 0 it is Grad-CAM++. Departures:
- The numerator of alpha is the second derivative, as Grad-CAM++ derives it and as torch-cam corrects it; the paper
  prints the first. (torch-cam also takes the last copy's gradient in place of E[g], and sums A g^3; neither is done.)
- As in `gradcampp`, S is taken over the positive part of A. E[g^3] may be negative where E[g] is not: it is then
  taken as 0, so that alpha stays in 0...1/2.
- samples and sigma are torch-cam's defaults. sigma is in units of the transformed image, whose channels have a
  standard deviation of about 1, while the noise of SmoothGrad is a share of each image's range.
"""

import functools
from typing import Any

import torch
from torch import Tensor

from salcheck.errors import SalcheckError
from salcheck.maps.channels import weighted_sum
from salcheck.methods._cost import Cost, M, parameter
from salcheck.network.view import View

SOURCE = "Omeiza et al., arXiv 1908.01224"
COST = Cost(forwards=parameter("samples"), head_backwards=parameter("samples") * M)


def saliency(view: View, classes: Tensor, *, samples: int = 4, sigma: float = 0.3) -> Tensor:
    """Smooth Grad-CAM++ maps (B, M, h, w), not negative, for classes (B, M).

    Raises SalcheckError where samples is not positive or sigma negative.
    """
    if samples < 1 or sigma < 0:
        given = f"samples={samples},sigma={sigma}"
        raise SalcheckError(f"smoothgradcampp:{given} does not fit: samples is 1 or more, sigma 0 or more")
    acts = view.acts
    S = acts.clamp(min=0).sum(dim=(-2, -1))[:, None, :, None, None]
    first, second, third = mean_powers(view, classes, samples, sigma)
    # The paper's fraction divided by E[g^2], which is 0 only where all gradients are: E[g] is 0 there as well.
    ratio = third.clamp(min=0) / second.clamp(min=torch.finfo(second.dtype).tiny)
    w = (first.clamp(min=0) / (2 + S * ratio)).sum(dim=(-2, -1))
    return weighted_sum(w, acts).clamp(min=0)


def needs(**_: Any) -> dict[str, dict[str, Any]]:
    """The seed of the noise."""
    return {"seed": {}}


def mean_powers(view: View, classes: Tensor, samples: int, sigma: float) -> list[Tensor]:
    """E[g], E[g^2] and E[g^3], each (B, M, C, h, w): one forward of all images for a sample, whatever M is."""
    generators, images = view.generators(), view.images
    sums: list[Any] = [0, 0, 0]
    for _ in range(samples):
        noise = torch.stack([torch.randn(images.shape[1:], generator=source) for source in generators])
        noisy = images + sigma * noise.to(images)
        grads = view.chunks(len(view), functools.partial(_grads, view, noisy, classes))
        sums = [total + grads**power for power, total in enumerate(sums, start=1)]
    return [total / samples for total in sums]


def _grads(view: View, images: Tensor, classes: Tensor, rows: slice) -> Tensor:
    """Gradients (rows, M, C, h, w) at other images, for some rows of the batch."""
    of = torch.arange(len(view))[rows]
    return view.again(images[rows], of).grads(classes[rows])
