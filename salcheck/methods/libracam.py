"""Libra-CAM: gradient times difference from reference activations, averaged and cut at a calibrated threshold.

Lee and Han, IJCAI 2022, after the authors' released code, for the paper's text was not at hand. The best linear
approximation of logit u at the activations A is taken between A and references R, held-out images that show another
class, that the model classifies surely, and that give class u next to no softmax:

    B_R[i, j] = sum over n of d s_u / d A[n, i, j] * (A[n, i, j] - R[n, i, j])
    M_R       = B_R less its minimum, over its range, upsampled
    d_R       = p_u(M_R * image) - p_u(image)
    S         = the R with d_R > 0
    K         = the R of S with d_R >= m - s, m and s the mean and (population) deviation of d over S;
                where S is empty, all R with d_R > m + s over all R, or all R if there is none
    map       = the mean of M_R over K, without the lowest pixels (threshold: `salcheck.perturb.calibration`)

Departures:
- The chosen threshold is applied; the code applies the next one (`calibrate=compat`).
- A constant B_R gives zeros where the code divides by zero; the range has no absolute epsilon.
- The library is not released: its rule is that of the authors' earlier code, and the references of lowest p_u come
  first. A class without any reference is compared with zero activations, and counted.
- The means are taken on the grid, before upsampling, which is linear. With `calibrate=none` the map stays there.

At a pooled linear head B_R is the class activation map of the image less that of R, an unrelated picture, and at
any affine one the library keeps only these maps. Rejection and calibration choose by the softmax under the mask: a
score that rewards just this says little about the map, unless others are calibrated alike.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from salcheck.errors import SalcheckError
from salcheck.maps.ranking import unit, upsample
from salcheck.methods._cost import Cost, M, parameter
from salcheck.network.view import View
from salcheck.perturb import calibration
from salcheck.references import Library

SOURCE = "Lee and Han, IJCAI 2022"
COST = Cost(forwards=M * (parameter("n") + 10), head_forwards=1, head_backwards=M)
FALLBACK = "libracam compares with zero activations: gradient times activation"

Against = Literal["contrast", "same", "random", "zero", "mean"]


@dataclass(frozen=True)
class Compared:
    """J = B * M pairs of image and class, each with up to n references: B_R (J, n, h, w), and which of the n there
    are (J, n). `lacking` (J,): there was none, and zero activations serve as the one.
    """

    base: Tensor
    known: Tensor
    lacking: Tensor


def saliency(view: View, classes: Tensor, **parameters: Any) -> Tensor:
    """Libra-CAM maps in 0...1 for classes (B, M), with the parameters of `decide`."""
    return decide(view, classes, **parameters)[0]


def decide(
    view: View,
    classes: Tensor,
    *,
    against: Against = "contrast",
    n: int = 30,
    p_top: float = 0.8,
    p_target: float = 1e-4,
    rejection: bool = True,
    calibrate: Literal["intended", "compat", "unrectified", "none"] = "intended",
    normalise: Literal["each", "mean"] = "each",
    reference: Mapping[str, Any],
) -> tuple[Tensor, dict[str, Tensor]]:
    """Libra-CAM maps in 0...1 for classes (B, M): (B, M, H, W), with `calibrate=none` (B, M, h, w); and what was
    decided for each, (B, M).

    against: where the references come from. n images with a top softmax of at least p_top: `contrast`, of other
    classes and with p_u of at most p_target; `same`, of class u; `random`, any. Or one: `zero` activations, or the
    `mean` of all held-out images. rejection: false, for all R in K. normalise: `each` B_R, or only their `mean`.

    Decided: `no_reference`, zero activations had to serve; `none_raises_softmax`, S is empty; `references_kept`, the
    size of K; `threshold`, the share of pixels that calibration took out; against zero or the mean
    `completeness_error`, by how much the sum of B_R misses s_u(A) - s_u(R), as a share of it.
    """
    library = reference.get("library")
    compared = compare(view, classes, against, library)
    before = view.confidences.gather(1, classes).flatten()
    masked = partial(calibration.masked_softmax, view, classes)
    found = {"no_reference": compared.lacking}
    if against in ("zero", "mean"):
        activations = _one_reference(view, against, library)
        found["completeness_error"] = completeness_error(view, classes, compared.base[:, 0], activations)
    kept = compared.known
    if rejection:
        kept, found["none_raises_softmax"] = reject(_rises(compared, before, masked, view.size), kept.cpu())
        found["references_kept"] = kept.sum(-1)
    maps = _mean(compared.base, kept.to(compared.base.device), normalise)
    if calibrate != "none":
        maps, removed, _ = calibration.calibrate(upsample(maps, view.size), before, masked, calibrate)
        found["threshold"] = removed / calibration.STEPS
    shape = classes.shape
    return maps.unflatten(0, shape), {name: values.reshape(shape) for name, values in found.items()}


def needs(*, against: Against, n: int, p_top: float, p_target: float, **_: Any) -> dict[str, dict[str, Any]]:
    """The library, unless the reference is zero; the mean is in the library of `contrast`."""
    if n < 1 or not 0 <= p_top <= 1 or not 0 <= p_target <= 1:
        given = f"n={n}, p_top={p_top}, p_target={p_target}"
        raise SalcheckError(f"libracam: {given} does not fit: n is 1 or more, p_top and p_target are 0 to 1")
    if against == "zero":
        return {}
    rule = "contrast" if against == "mean" else against
    return {"library": {"rule": rule, "n": n, "p_top": p_top, "p_target": p_target}}


def confident(**_: Any) -> bool:
    """Whether it reads confidences."""
    return True


def compare(view: View, classes: Tensor, against: Against, library: Library | None) -> Compared:
    """Base maps of classes (B, M) with each of their references."""
    grads, acts = view.grads(classes).flatten(0, 1), view.acts.repeat_interleave(classes.shape[1], dim=0)
    base = base_maps(grads, acts, _one_reference(view, against, library))[:, None]
    if library is not None and against not in ("zero", "mean"):
        return _compare_with_library(view, classes, library, base)
    known = torch.ones(len(base), 1, dtype=torch.bool, device=base.device)
    return Compared(base, known, torch.full_like(known[:, 0], library is None and against != "zero"))


def base_maps(grads: Tensor, acts: Tensor, references: Tensor) -> Tensor:
    """B_R (J, h, w) of gradients, activations and references, (J, C, h, w) or the last one for all."""
    return (grads * (acts - references)).sum(dim=1)


def reject(rises: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """K (J, n) by the rises d_R (J, n) of the references that there are (J, n), and whether S is empty (J,)."""
    rose = known & (rises > 0)
    empty = ~rose.any(-1, keepdim=True)
    sample = torch.where(empty, known, rose)
    count = sample.sum(-1, keepdim=True)
    m = (rises * sample).sum(-1, keepdim=True) / count
    s = ((rises - m).square() * sample).sum(-1, keepdim=True).div(count).sqrt()
    # m - s of two rises is the lower one, m + s the higher one, that of equal ones their value: up to rounding.
    slack = 1e-9 * (rises.abs() * sample).amax(-1, keepdim=True)
    chosen = sample & torch.where(empty, rises > m + s + slack, rises >= m - s - slack)
    return torch.where(chosen.any(-1, keepdim=True), chosen, sample), empty[:, 0]


def completeness_error(view: View, classes: Tensor, base: Tensor, activations: Tensor) -> Tensor:
    """|sum of B_R - (s_u(A) - s_u(R))| over |s_u(A) - s_u(R)|, (J,), for base maps (J, h, w) with one R (C, h, w)."""
    change = (view.logits - view.head(activations.expand_as(view.acts))).gather(1, classes).flatten()
    return (base.sum(dim=(-2, -1)) - change).abs() / change.abs()


def _one_reference(view: View, against: Against, library: Library | None) -> Tensor:
    """The mean activations of the held-out images (C, h, w) where they are asked for and known, else zero."""
    zero = torch.zeros_like(view.acts[0])
    return zero + library.mean.to(zero) if against == "mean" and library is not None else zero


def _compare_with_library(view: View, classes: Tensor, library: Library, with_zero: Tensor) -> Compared:
    """Each pair with the references of its class; `with_zero` (J, 1, h, w) stays where there are none."""
    wanted = classes.flatten().cpu()
    index = library.index[wanted]
    known = (index >= 0).to(with_zero.device)
    base = with_zero.repeat(1, index.shape[1], 1, 1)
    if library.projected is not None:
        base -= library.projected[wanted].to(base)  # zero where there is no reference
    elif library.pool is not None and known.any():
        base[known] = _with_pool(view, classes, library.pool, known.nonzero()[:, 0], index[index >= 0])
    lacking = ~known.any(-1)
    known[lacking, 0] = True
    return Compared(base, known, lacking)


def _with_pool(view: View, classes: Tensor, pool: Tensor, pairs: Tensor, rows: Tensor) -> Tensor:
    """B_R (K, h, w) of pairs (K,), counted row by row, each with a row of the pool (K,)."""
    grads = view.grads(classes).flatten(0, 1)

    def work(part: slice) -> Tensor:
        of = pairs[part]
        return base_maps(grads[of], view.acts[of // classes.shape[1]], pool[rows[part]].to(view.acts))

    return view.chunks(len(pairs), work)


def _rises(compared: Compared, before: Tensor, masked: calibration.Masked, size: tuple[int, int]) -> Tensor:
    """d_R (J, n), zero where there is no reference; in double precision, which not every device has, on the CPU."""
    pairs, masks = compared.known.nonzero()[:, 0], unit(compared.base[compared.known])
    after = masked(pairs, lambda rows: upsample(masks[rows], size))
    rises = torch.zeros(compared.known.shape, dtype=torch.float64)
    rises[compared.known.cpu()] = after.cpu().double() - before[pairs].cpu().double()
    return rises


def _mean(base: Tensor, kept: Tensor, normalise: Literal["each", "mean"]) -> Tensor:
    """The map (J, h, w) that base maps (J, n, h, w) have in common, over those kept (J, n)."""
    each = unit(base) if normalise == "each" else base
    mean = (each * kept[..., None, None]).sum(1) / kept.sum(-1)[:, None, None]
    return mean if normalise == "each" else unit(mean)
