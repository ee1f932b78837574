"""Ablation-CAM: channels weighted by how far the class score falls without them.

Desai and Ramaswamy, WACV 2020, section 3:

    w_k = s_u - s_u without channel k          (channel k of the layer set to zero)
    map[i, j] = ReLU(sum over k of w_k * A[k, i, j])

s_u is the logit of class u, A the activations at the layer. A channel that is zero everywhere has w_k = 0 and
costs nothing. Where the head is affine, w_k = sum over i, j of d s_u / d A[k, i, j] * A[k, i, j] exactly,
and no forward is run. At a layer inside the network a head forward is a whole one, but for the part before the layer
where the network lets one image serve many activations.

Departure: the paper divides w_k by s_u. That is one number per map: it changes no ranking where s_u > 0, and where
s_u < 0 it turns the map into its opposite. Without it the weights are in logits for every class.
"""

import torch
from torch import Tensor

from salcheck.maps.channels import weighted_sum
from salcheck.methods._cost import C, Cost, M
from salcheck.network.chunks import in_chunks
from salcheck.network.view import View

SOURCE = "Desai and Ramaswamy, WACV 2020"
COST = Cost(head_forwards=C, head_backwards=M)

VALUES = 2**22  # activations in a chunk: a head alone is small and wants many rows at a time


def saliency(view: View, classes: Tensor) -> Tensor:
    """Ablation-CAM maps (B, M, h, w), not negative, for classes (B, M)."""
    return weighted_sum(falls(view, classes), view.acts).clamp(min=0)


def falls(view: View, classes: Tensor) -> Tensor:
    """How far the logits of classes (B, M) fall without each channel: (B, M, C)."""
    if view.affine:
        return torch.einsum("bmchw,bchw->bmc", view.grads(classes), view.acts)
    return (view.logits.gather(1, classes)[:, None] - _without(view, classes)).transpose(1, 2)


def _without(view: View, classes: Tensor) -> Tensor:
    """Logits (B, C, M) of classes (B, M) with each channel set to zero in turn."""
    acts = view.acts
    alive = (acts != 0).flatten(2).any(-1)
    jobs = alive.nonzero()

    def ablated(rows: slice) -> Tensor:
        images, channels = jobs[rows].T
        changed = acts[images]
        changed[torch.arange(len(images), device=acts.device), channels] = 0
        return view.head(changed, images).gather(1, classes[images])

    scores = view.logits.gather(1, classes)[:, None].repeat(1, acts.shape[1], 1)
    if len(jobs):
        together = VALUES // acts[0].numel() if view.has_head else 0
        scores[alive] = in_chunks(len(jobs), max(view.batch_size, together), ablated)
    return scores
