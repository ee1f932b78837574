"""XGrad-CAM: channels weighted by the gradient averaged over where they are active.

Fu et al., BMVC 2020, with g = d s_u / d A:

    w[n]      = sum over i, j of g[n, i, j] * A[n, i, j] / sum over i, j of A[n, i, j]
    map[i, j] = ReLU(sum over n of w[n] * A[n, i, j])

So w[n] keeps what the channel adds to the score: before the ReLU a map sums to what the HiResCAM map sums to.

Departure: a channel whose activations cancel, |sum of A| below 1e-4 of the sum of |A|, is left out instead of being
divided by an epsilon. After a ReLU those are the silent channels alone; at a signed layer the quotient would be
rounding noise, and channels that nearly cancel still get large weights: prefer a layer after a ReLU.
"""

import torch
from torch import Tensor

from salcheck.maps.channels import weighted_sum
from salcheck.methods._cost import Cost, M
from salcheck.network.view import View

SOURCE = "Fu et al., BMVC 2020"
COST = Cost(head_backwards=M)


def saliency(view: View, classes: Tensor) -> Tensor:
    """XGrad-CAM maps (B, M, h, w), not negative, for classes (B, M)."""
    acts = view.acts
    total, size = acts.sum(dim=(-2, -1)), acts.abs().sum(dim=(-2, -1))
    part = torch.einsum("bmchw,bchw->bmc", view.grads(classes), acts)
    w = part / torch.where(total.abs() > 1e-4 * size, total, torch.inf)[:, None]
    return weighted_sum(w, acts).clamp(min=0)
