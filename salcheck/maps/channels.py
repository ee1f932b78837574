"""A map from channels: what class activation maps are made of."""

import torch
from torch import Tensor


def weighted_sum(weights: Tensor, acts: Tensor) -> Tensor:
    """sum over n of weights[n] * A[n, i, j], (B, M, h, w), for weights (B, M, C) and acts (B, C, h, w)."""
    return torch.einsum("bmc,bchw->bmhw", weights, acts)
