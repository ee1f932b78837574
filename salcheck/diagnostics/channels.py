"""Channels: which share of a layer's channels an image makes active. It takes no method and no map.

CASE, arXiv 2506.07327, section 4.3 (equation 10): a channel is active where its mean over all positions is above tau.
The paper takes tau = 0.001 and the authors' code 0.1; it counts channels, and a layer with few of them then looks
sparse. Here they are shares, and `channels` says of how many. Level k is the k-th layer, as by `layers`.

    active                          share of channels whose mean is above `tau`
    active_0, active_001, active_01 above 0, 0.01 and 0.1
    active_relative                 above a tenth of the image's highest mean at this layer: none where that is negative
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from salcheck.diagnostics import Scores, Seen, layers, scored
from salcheck.network.model import Model
from salcheck.network.view import View

RELATIVE = 0.1  # of the highest mean


def subjects(model: Model, *, at: tuple[str, ...] = (), **rest: object) -> dict[str, Model]:
    """The model cut at every layer in `at`, else at its stages; by the layer."""
    return layers.subjects(model, at=at)


def score(
    view: View,
    classes: Tensor,
    maps: Tensor,
    *,
    tau: float = 0.001,
    at: tuple[str, ...] = (),
    subjects: Sequence[Seen],
) -> Scores:
    """Shares in 0...1 and `channels` (B, L) by layer; classes (B, 0) and maps (B, 0, 1, 1) are not read."""
    tables = [_shares(one.view.acts.mean(dim=(-2, -1)), tau) for one in subjects]
    values = {name: torch.stack([table[name] for table in tables], dim=1) for name in tables[0]}
    levels = [float(level) for level in range(1, len(tables) + 1)]
    return scored(values, [None] * len(view), levels)


def _shares(means: Tensor, tau: float) -> dict[str, Tensor]:
    """Metrics (B,) of the channels' means (B, C); NaN for an image of which one is not finite."""
    highest = means.amax(dim=1, keepdim=True)
    bars = {"active": tau, "active_0": 0.0, "active_001": 0.01, "active_01": 0.1}
    shares = {name: (means > bar).float().mean(dim=1) for name, bar in bars.items()}
    shares["active_relative"] = (means > RELATIVE * highest).float().mean(dim=1)
    shares["channels"] = torch.full_like(shares["active"], means.shape[1])
    broken = ~means.isfinite().all(dim=1)
    return {name: share.masked_fill(broken, torch.nan) for name, share in shares.items()}
