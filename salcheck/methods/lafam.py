"""LaFAM: the mean of all channels, the same for every class.

Karjauv and Albayrak, arXiv 2407.06059:

    map[i, j] = mean over n of A[n, i, j]

Signed where the layer is. A method that ranks pixels no better than this one gains nothing from the class.
No departures; the paper's min-max scaling and upsampling are left to whoever draws the map.
"""

from torch import Tensor

from salcheck.methods._cost import Cost
from salcheck.network.view import View

SOURCE = "Karjauv and Albayrak, arXiv 2407.06059"
COST = Cost()
BLIND = True
HEAD = False


def saliency(view: View, classes: Tensor) -> Tensor:
    """LaFAM maps (B, M, h, w), the same for all classes (B, M)."""
    return view.acts.mean(dim=1, keepdim=True).expand(-1, classes.shape[1], -1, -1)
