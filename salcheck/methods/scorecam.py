"""Score-CAM: channels weighted by the class score of the image seen through each of them.

Wang et al., CVPR Workshops 2020, algorithm 1:

    H_k = channel k, upsampled to the image and scaled to 0...1
    w = softmax over k of s_u(x * H_k)
    map[i, j] = ReLU(sum over k of w_k * A[k, i, j])

s_u is the logit of class u, x the image as the model takes it, so that what is masked becomes the mean colour.
The paper subtracts the score of a blank image from each s_u: softmax takes no notice of it, and it is left out.

A channel that is constant over the grid has nothing to scale: its mask is zero, as in the `grad-cam` package, and
one forward of the blank image serves all of them. Maps are upsampled with half-pixel centres; the package aligns
corners, which `align_corners=true` does too.
"""

import torch
from torch import Tensor

from salcheck.maps.ranking import unit, upsample
from salcheck.methods._cost import C, Cost
from salcheck.network.view import View

SOURCE = "Wang et al., CVPR Workshops 2020"
COST = Cost(forwards=C + 1)


def saliency(view: View, classes: Tensor, *, align_corners: bool = False) -> Tensor:
    """Score-CAM maps (B, M, h, w), not negative, for classes (B, M). All classes share the forwards."""
    weights = masked_scores(view, classes, align_corners).softmax(dim=1)
    return torch.einsum("bcm,bchw->bmhw", weights, view.acts).clamp(min=0)


def masked_scores(view: View, classes: Tensor, align_corners: bool) -> Tensor:
    """Logits (B, C, M) of classes (B, M) for the image masked by each channel."""
    acts = view.acts
    varied = acts.amax(dim=(-2, -1)) > acts.amin(dim=(-2, -1))
    jobs = varied.nonzero()

    def masked(rows: slice) -> Tensor:
        images, channels = jobs[rows].T
        masks = unit(upsample(acts[images, channels], view.size, align_corners))
        seen = view.images[images] * masks[:, None]
        return view.forward(seen.to(memory_format=torch.channels_last)).gather(1, classes[images])

    blank = view.forward(torch.zeros_like(view.images[:1]))[0]
    scores = blank[classes][:, None].repeat(1, acts.shape[1], 1)
    if len(jobs):
        scores[varied] = view.chunks(len(jobs), masked)
    return scores
