"""How like two maps are: structural similarity and rank correlation, of many maps at once and on their device."""

import torch
import torch.nn.functional as F
from torch import Tensor

from salcheck.maps.ranking import unit

SIGMA, RADIUS = 1.5, 5  # of the Gaussian window, cut off at 3.5 sigma
C1, C2 = 0.01**2, 0.03**2  # for values in 0...1


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """Structural similarity (J,) of maps (J, H, W), up to 1 and below 0 where they are opposed.

    Wang et al., IEEE TIP 2004, equations 13 to 17, with their Gaussian window of 11 x 11 and constants. Each map is
    shifted and scaled to 0...1 by its own range first; a constant one becomes 0. The mean is over the windows that lie
    within the maps, which must have 11 x 11 pixels or more.
    """
    x, y = unit(a), unit(b)
    mean_x, mean_y, xx, yy, xy = _smooth(torch.stack([x, y, x * x, y * y, x * y])).unbind(0)
    spread = (xx - mean_x**2) + (yy - mean_y**2)
    luminance = (2 * mean_x * mean_y + C1) / (mean_x**2 + mean_y**2 + C1)
    structure = (2 * (xy - mean_x * mean_y) + C2) / (spread + C2)
    return (luminance * structure).mean(dim=(-2, -1))


def spearman(a: Tensor, b: Tensor) -> Tensor:
    """Rank correlation (J,) of maps (J, H, W), in -1...1; equal values share the mean of their ranks.

    NaN where a map is constant or not finite.
    """
    return correlation(ranks(a), ranks(b))


def ranks(maps: Tensor) -> Tensor:
    """Ranks of all values of each of (J, H, W) maps, (J, H * W), around 0 and within -0.5...0.5; NaN for a map that is
    not finite.
    """
    flat = maps.flatten(1)
    values, places = flat.sort(dim=1)
    before, after = torch.searchsorted(values, values), torch.searchsorted(values, values, right=True)
    middle = (before + after - values.shape[1]).to(maps.dtype) / (2 * values.shape[1])
    found = torch.empty_like(flat).scatter_(1, places, middle)
    return found.masked_fill(~flat.isfinite().all(dim=1, keepdim=True), torch.nan)


def correlation(x: Tensor, y: Tensor) -> Tensor:
    """Pearson's correlation (J,) of rows (J, K) whose mean is 0: exactly 1 for a row and itself."""
    return (x * y).sum(1) / ((x * x).sum(1) * (y * y).sum(1)).sqrt()


def _smooth(maps: Tensor) -> Tensor:
    """The Gaussian mean around every pixel of (..., H, W) that is RADIUS or more away from the border."""
    steps = torch.arange(-RADIUS, RADIUS + 1, device=maps.device, dtype=maps.dtype)
    window = torch.exp(-(steps**2) / (2 * SIGMA**2))
    window = window / window.sum()
    flat = maps.flatten(0, -3)[:, None]
    smooth = F.conv2d(F.conv2d(flat, window[None, None, :, None]), window[None, None, None, :])[:, 0]
    return smooth.unflatten(0, maps.shape[:-2])
