"""Eigen-Grad-CAM: gradient times activation, projected on its first principal direction.

Gildenblat, pytorch-grad-cam, 2021 (no paper): Eigen-CAM of g * A in place of A, with g = d s_u / d A. With O the
product as a matrix of h w rows and C columns:

    O = U S V^T,    map = O v_1 = s_1 u_1

Signed. The sign of a singular vector is free: the one that makes the map's product with the HiResCAM map, the sum of
g * A over channels, positive is taken. The package leaves the sign to chance and centres O; `centred` does the latter.
"""

from torch import Tensor

from salcheck.methods._cost import Cost, M
from salcheck.methods.eigencam import first_projection
from salcheck.network.view import View

SOURCE = "Gildenblat, pytorch-grad-cam, 2021"
COST = Cost(head_backwards=M)


def saliency(view: View, classes: Tensor, *, centred: bool = False) -> Tensor:
    """Eigen-Grad-CAM maps (B, M, h, w), signed, for classes (B, M)."""
    return first_projection(view.grads(classes) * view.acts[:, None], centred)
