"""What autocast costs: how far a map made in half precision lies from the one made in float32."""

import math
from dataclasses import dataclass

from torch import Tensor

from salcheck.maps.ranking import top_set, upsample

PERCENT = 5.0


@dataclass(frozen=True)
class Drift:
    """Of one map. `error`: the largest difference between the two, as a share of the largest value of the one in
    float32 (both in absolute value). `shared`: % of the top 5 % of its pixels that both have.
    """

    error: float
    shared: float


def drift(cast: Tensor, exact: Tensor, size: tuple[int, int]) -> list[list[Drift | None]]:
    """How far maps (B, M, h, w) made under autocast lie from those in float32, for each image and class.

    None where a map is not finite, or the one in float32 zero everywhere.
    """
    error = (cast - exact).abs().amax(dim=(-2, -1)) / exact.abs().amax(dim=(-2, -1))
    (one, _), (other, _) = (top_set(upsample(maps.float(), size), PERCENT) for maps in (cast, exact))
    common = (one & other).count_nonzero(dim=(-2, -1)) / other.count_nonzero(dim=(-2, -1))
    return [
        [Drift(e, 100 * shared) if math.isfinite(e) else None for e, shared in zip(errors, shares, strict=True)]
        for errors, shares in zip(error.tolist(), common.tolist(), strict=True)
    ]
