"""Linear imputation: removed pixels are filled so that each is the weighted mean of its neighbours.

The system. Every removed pixel i obeys sum_j w_ij (x_i - x_j) = 0 over its 8 neighbours j inside the image, w = 2 for
the 4 direct and w = 1 for the 4 diagonal ones (twelve times the paper's 1/6 and 1/12: whole numbers round less). Known
pixels enter as they are. With the blur B = [1 2 1] x [1 2 1], whose middle weight is 4, it reads A x = centre x - B x,
centre_i = 4 + sum_j w_ij: one symmetric system per image, positive definite as soon as one pixel is known, with one
right-hand side per channel.

The method. Conjugate gradients for each image and channel, preconditioned by one multigrid V-cycle with one damped
Jacobi step, x <- (r + B x) / centre, before and after. A coarser level halves the grid and keeps B; a pixel of its mask
is removed where at least half of the finer ones are, and its centre is raised until the row sums are those of the
Galerkin operator R A P. That carries scattered known pixels to the coarse levels; without it the steps are several
times as many. P is bilinear within the mask, R its transpose; the last level is solved by its inverse.

Accuracy. It ends with the step that changes no pixel by more than TOLERANCE standard deviations of the known pixels;
the next would be about a quarter as large. Beside a sparse direct solver in double precision, with 5 to 99.9 % of
224 x 224 pixels removed in 75 ways, the largest error was 2e-4 standard deviations of the image, after 9 steps at most.
Float32 sets a floor: below 1e-4 at 224 x 224, higher for larger images.

Cost. A step is 2 to 3 ms for a whole 224 x 224 image on one core. On a CPU only the window around the removed pixels
is worked on, so small regions are cheaper. `python -m tests.benchmarks.bench_imputation` measures it.

Source: ROAD, Rong et al., ICML 2022 (the system; its noise is left to the caller).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from salcheck.network.chunks import in_chunks

TOLERANCE = 3e-4  # of the known pixels' standard deviation
MOST_STEPS = 50
COARSEST = 64  # pixels


class _Level(NamedTuple):
    """One grid: mask (J, 1, h, w) is 1 where removed, inverse = mask / centre; on the coarsest, that of the matrix."""

    mask: Tensor
    centre: Tensor
    inverse: Tensor


def impute(images: Tensor, removed: Tensor) -> Tensor:
    """Images (J, 3, H, W) with the pixels of `removed` (J, H, W), a bool mask, filled from those that are known.

    Known pixels stay as they are, bit for bit; what was at the removed ones does not matter. Filled pixels lie
    between the known ones (up to the accuracy above). Where nothing is known the image is 0, the mean colour of a
    normalised dataset. A filled pixel is NaN where a known one is not finite, and where MOST_STEPS did not do.
    """
    with torch.no_grad():
        if images.device.type != "cpu":
            return in_chunks(len(images), len(images), lambda rows: _fill(images[rows], removed[rows, None]))
        with _one_thread():
            return in_chunks(len(images), 1, lambda rows: _fill_window(images[rows], removed[rows, None]))


@contextmanager
def _one_thread() -> Iterator[None]:
    """Thousands of operations of some microseconds each: to share them out gains little where the processor is
    free, and costs many times the work where it is not, since the threads wait for each other after each."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _fill_window(image: Tensor, removed: Tensor) -> Tensor:
    """One image alone, which stays in the processor's cache, cut down to the removed pixels and those around them."""
    y, x = (removed[0, 0].any(dim).nonzero().flatten().tolist() for dim in (1, 0))
    if not y:
        return image
    window = (..., slice(max(y[0] - 1, 0), y[-1] + 2), slice(max(x[0] - 1, 0), x[-1] + 2))
    filled = image.clone()
    filled[window] = _fill(image[window], removed[window], _tolerance(image, removed))
    return filled


def _fill(images: Tensor, removed: Tensor, tolerance: Tensor | None = None) -> Tensor:
    """All images (J, 3, H, W) together, without the pixels of a mask (J, 1, H, W)."""
    tolerance = _tolerance(images, removed) if tolerance is None else tolerance
    mask = removed.to(images)
    # Values are taken relative to the mean at the rim, near which large regions come to lie: less is rounded.
    links = (1 - mask) * _blur(mask)
    rim = _dot(images.masked_fill(removed, 0), links) / links.sum((-2, -1), keepdim=True).clamp(min=1)
    known = (images - rim).masked_fill_(removed, 0)
    return torch.where(removed, _solve(_hierarchy(mask), _blur(known), tolerance) + rim, images)


def _tolerance(images: Tensor, removed: Tensor) -> Tensor:
    """How small a step ends the search, (J, 3, 1, 1): by the known pixels' deviation from their channel's mean."""
    count = (~removed).sum((-2, -1), keepdim=True).clamp(min=1)
    mean = images.masked_fill(removed, 0).sum((-2, -1), keepdim=True) / count
    variance = (images - mean).masked_fill_(removed, 0).square().sum((-2, -1), keepdim=True) / count
    return TOLERANCE * variance.mean(1, keepdim=True).sqrt() + 8 * torch.finfo(images.dtype).eps * mean.abs()


def _solve(levels: list[_Level], rest: Tensor, tolerance: Tensor) -> Tensor:
    """The x of A x = rest, by preconditioned conjugate gradients; `rest` becomes the residual, and is only
    meant where pixels are removed. A system that has converged is left alone, whatever the others need."""
    centre, tiny = levels[0].centre, torch.finfo(rest.dtype).tiny
    x = torch.zeros_like(rest)
    direction = _correction(levels, rest)
    energy = _dot(rest, direction)
    done = torch.zeros_like(energy, dtype=torch.bool)
    for _ in range(MOST_STEPS):
        image = (centre * direction).sub_(_blur(direction))
        step = torch.where(done, 0, energy / _dot(direction, image).clamp(min=tiny))
        x.addcmul_(step, direction)
        done = done | (step * direction.abs().amax((-2, -1), keepdim=True) <= tolerance)
        if bool(done.all()):
            break
        rest.addcmul_(step, image, value=-1)
        correction = _correction(levels, rest)
        before, energy = energy, _dot(rest, correction)
        direction.mul_(energy / before.clamp(min=tiny)).add_(correction)
    return torch.where(done, x, torch.nan)


def _correction(levels: list[_Level], rest: Tensor) -> Tensor:
    """A symmetric V-cycle: about the x of A x = rest on the first of the levels, 0 where pixels are known."""
    (mask, _, inverse), *coarser = levels
    if not coarser:
        return (inverse @ rest.flatten(2).mT).mT.reshape(rest.shape)
    x = inverse * rest
    residual = _blur(x).mul_(mask)  # rest - A x, since centre x = rest
    x.addcmul_(mask, _grow(_correction(coarser, _shrink(residual)), rest.shape))
    return _blur(x).add_(rest).mul_(inverse)


def _hierarchy(mask: Tensor) -> list[_Level]:
    centre = _blur(torch.ones_like(mask[:1]))
    levels = []
    while mask[0].numel() > COARSEST:
        levels.append(_Level(mask, centre, mask / centre))
        coarse = (F.avg_pool2d(mask, 2, ceil_mode=True) >= 0.5).to(mask)
        part = mask * _grow(coarse, mask.shape)
        row_sums = _shrink(mask * (centre * part - _blur(part)))
        mask = coarse
        centre = torch.maximum(row_sums + _blur(mask), _blur(torch.ones_like(mask[:1])))
    return [*levels, _Level(mask, centre, _inverse(mask, centre))]


def _inverse(mask: Tensor, centre: Tensor) -> Tensor:
    """The inverse of a whole level's matrix (J, h w, h w), 0 in the rows and columns of known pixels."""
    h, w = mask.shape[-2:]
    units = mask * torch.eye(h * w).to(mask).view(1, h * w, h, w)
    matrix = mask * ((centre + 1e-4) * units - _blur(units))  # the 1e-4 is for masks without a known pixel
    outside = torch.diag_embed(1 - mask.flatten(1))
    return torch.linalg.inv(matrix.flatten(2) + outside) - outside


def _blur(x: Tensor) -> Tensor:
    """[1 2 1] along rows and columns, with zeros outside: by slices, several times faster than conv2d on a CPU."""
    x = F.pad(x, (1, 1, 1, 1))
    rows = torch.add(x[..., :-2, :], x[..., 2:, :]).add_(x[..., 1:-1, :], alpha=2)
    return torch.add(rows[..., :-2], rows[..., 2:]).add_(rows[..., 1:-1], alpha=2)


def _grow(x: Tensor, shape: torch.Size) -> Tensor:
    """P: a coarse grid at twice its size, bilinear, cut to `shape`; by slices, faster than F.interpolate on a CPU."""
    J, C, h, w = x.shape
    x = F.pad(x, (1, 1, 1, 1), mode="replicate")
    rows, both = x.new_empty(J, C, 2 * h, w + 2), x.new_empty(J, C, 2 * h, 2 * w)
    torch.lerp(x[..., 1:-1, :], x[..., :-2, :], 0.25, out=rows[..., ::2, :])
    torch.lerp(x[..., 1:-1, :], x[..., 2:, :], 0.25, out=rows[..., 1::2, :])
    torch.lerp(rows[..., 1:-1], rows[..., :-2], 0.25, out=both[..., ::2])
    torch.lerp(rows[..., 1:-1], rows[..., 2:], 0.25, out=both[..., 1::2])
    return both[..., : shape[-2], : shape[-1]]


def _shrink(x: Tensor) -> Tensor:
    """R, the transpose of P: [1 3 3 1] / 4 along rows and columns at every second pixel, the rim repeated."""
    x = F.pad(x, (0, x.shape[-1] % 2, 0, x.shape[-2] % 2))
    x = F.pad(x, (1, 1, 1, 1), mode="replicate")
    rows = torch.add(x[..., :-3:2, :], x[..., 3::2, :]).add_(x[..., 1:-2:2, :] + x[..., 2:-1:2, :], alpha=3)
    both = torch.add(rows[..., :-3:2], rows[..., 3::2]).add_(rows[..., 1:-2:2] + rows[..., 2:-1:2], alpha=3)
    return both.mul_(1 / 16)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum((-2, -1), keepdim=True)
