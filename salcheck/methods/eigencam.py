"""Eigen-CAM: activations projected on their first principal direction, the same for every class.

Muhammad and Yeasin, IJCNN 2020. With O the activations as a matrix of h w rows and C columns:

    O = U S V^T,    map = O v_1 = s_1 u_1

Signed: the definition has no ReLU.

- A singular vector has no sign: the one that makes the map's product with the channel mean positive is taken.
- O is not centred, as in the paper; `centred` subtracts each channel's mean first, as the grad-cam package does.
- u_1 or v_1, whichever is shorter, is found as an eigenvector of O O^T or O^T O.
"""

import torch
from torch import Tensor

from salcheck.methods._cost import Cost
from salcheck.network.view import View

SOURCE = "Muhammad and Yeasin, IJCNN 2020"
COST = Cost()
BLIND = True
HEAD = False


def saliency(view: View, classes: Tensor, *, centred: bool = False) -> Tensor:
    """Eigen-CAM maps (B, M, h, w), signed, the same for all classes (B, M)."""
    return first_projection(view.acts, centred)[:, None].expand(-1, classes.shape[1], -1, -1)


def first_projection(acts: Tensor, centred: bool) -> Tensor:
    """Acts (..., C, h, w) projected on their first right-singular direction, (..., h, w)."""
    matrix = acts.flatten(-2).transpose(-2, -1)
    reference = matrix.mean(dim=-1)
    if centred:
        matrix = matrix - matrix.mean(dim=-2, keepdim=True)
    positions, channels = matrix.shape[-2:]
    if positions <= channels:
        first, value = _leading(matrix @ matrix.transpose(-2, -1))
        projection = value.sqrt() * first
    else:
        first, _ = _leading(matrix.transpose(-2, -1) @ matrix)
        projection = (matrix @ first[..., None])[..., 0]
    opposed = (projection * reference).sum(dim=-1, keepdim=True) < 0
    return torch.where(opposed, -projection, projection).unflatten(-1, acts.shape[-2:])


def _leading(gram: Tensor) -> tuple[Tensor, Tensor]:
    """The leading eigenvector (..., n) of symmetric matrices (..., n, n), and its eigenvalue (..., 1)."""
    sound = gram.isfinite().all(-1, keepdim=True).all(-2, keepdim=True)  # others would fail for the whole batch
    values, vectors = torch.linalg.eigh(gram.where(sound, 0).cpu().double())  # not every accelerator has either
    first, value = vectors[..., -1].to(gram), values[..., -1:].clamp(min=0).to(gram)
    return first.where(sound[..., 0], torch.nan), value
