"""Counterfactual swaps: how much likelier the rival gets when a cell is replaced by one of a picture of it.

Goyal et al., ICML 2019, section 3 (exhaustive search). With A the activations of the image, B those of a distractor, a
held-out image of the rival v, and A[i <- B[j]] the image with its cell i replaced by the distractor's cell j:

    map[i] = max over j of log p_v(A[i <- B[j]]) - log p_v(A)

p is the softmax of what the head makes of it. The logarithm leaves the ranks as they are, also where p_v is next to 0.
The published method takes the one best cell, and then greedily one more until the model says v. Here no cell is ever
left replaced: the map ranks all cells by what each does alone, and its maximum is the published first swap.

The rival is the other one of two classes; where one class is asked for, or more than two, the likeliest other class.
The distractor shows v and is predicted as v where any held-out image is. A rival that no held-out image shows gives no
map (NaN).

At a head that pools positions and is affine, logits of all swaps follow from those of each cell alone, and all are
compared. What a swap takes and what it gives then add up, so that the same cell j is best for all i: with
`output=margin` the map is that of `difference` and a constant, and the distractor leaves no trace in its ranks.

At other heads each swap is a forward of the head: for each cell i the `tries` cells j that a gradient ranks highest are
swapped in, all of them with tries = 0, as published.

The script released with SCOUT (CVPR 2020) for this method never takes a swap back, so that it ranks cells of an image
that changes all the while; that is not reproduced.
"""

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from salcheck.errors import SalcheckError
from salcheck.methods._cost import Cost, M, either, h, parameter, w
from salcheck.methods._rivals import against, no_rival, rivals
from salcheck.network.model import Model
from salcheck.network.outputs import Outputs
from salcheck.network.view import View

SOURCE = "Goyal et al., ICML 2019"
COST = Cost(head_forwards=(either(parameter("tries"), parameter("n") * h * w) * M + 1) * h * w, head_backwards=M)

NEARLY = 0.05  # of the logits' spread: less is rounding, even under autocast

Output = Literal["softmax", "margin"]


def saliency(
    view: View,
    classes: Tensor,
    *,
    n: int = 1,
    tries: int = 4,
    output: Output = "softmax",
    reference: Mapping[str, Any],
) -> Tensor:
    """Maps (B, M, h, w), signed, for classes (B, M): what the best swap of each cell does for the rival.

    n: distractors of each class, whose cells all compete. tries: how many cells are swapped into each where the head is
    not affine, 0 for all. output: the increase of log p_v, or of the margin s_v - s_u of v over the class itself.
    Raises SalcheckError for n or tries that make no sense.
    """
    if n < 1 or tries < 0:
        raise SalcheckError(f"goyal:n={n},tries={tries} does not fit: n is at least 1, tries at least 0")
    v = rivals(view, classes)
    acts, there = reference["exemplars"].of(v)
    cells = acts.movedim(3, -1).flatten(2, 4)  # (B, M, J, C) for J = n * h * w
    there = there.repeat_interleave(cells.shape[2] // n, dim=-1)[:, :, None]
    swapped = _all(view, cells, classes, v, output) if view.affine else None
    if swapped is None:
        chosen = _promising(view, cells, there, classes, v, output, tries)
        swapped = _tried(view, cells, chosen, classes, v, output)
        there = there.expand(*chosen.shape[:3], -1).gather(-1, chosen)
    best = swapped.masked_fill(~there, -torch.inf).amax(-1)
    logits = view.logits[:, None].double().expand(-1, classes.shape[1], -1)
    gain = best - _score(view.outputs, logits, classes, v, output)[..., None]
    return gain.masked_fill(gain.isinf(), torch.nan).unflatten(-1, view.acts.shape[2:]).float()


def unfit(model: Model) -> str | None:
    """Why there is nothing to compare a class with; None where there is."""
    return no_rival(model)


def needs(*, n: int, **_: Any) -> dict[str, dict[str, Any]]:
    """Held-out images of every class."""
    return {"exemplars": {"n": n}}


def paired(**_: Any) -> bool:
    """Whether a map depends on which two classes are asked for together."""
    return True


def confident(*, output: Output, **_: Any) -> bool:
    """Whether it reads confidences."""
    return output == "softmax"


def _score(outputs: Outputs, logits: Tensor, u: Tensor, v: Tensor, output: Output) -> Tensor:
    """What a swap is to raise (...), of logits (..., N) and classes (...)."""
    if output == "margin":
        return (logits.gather(-1, v[..., None]) - logits.gather(-1, u[..., None]))[..., 0]
    return outputs.log_confidence(logits, v)


def _all(view: View, cells: Tensor, u: Tensor, v: Tensor, output: Output) -> Tensor | None:
    """Scores (B, M, h * w, J) of all swaps; None where the logits are not the mean of those of each cell alone."""
    own = _alone(view, view.acts.flatten(2).mT)
    logits = view.logits.double()
    error = (own.mean(1) - logits).abs().amax(-1)
    if bool((error > NEARLY * logits.std(-1)).any()):
        return None
    rest = (logits[:, None] - own / own.shape[1])[:, None]  # (B, 1, h * w, N), without the cell's share
    given = _alone(view, cells.flatten(1, 2)).unflatten(1, cells.shape[1:3]) / own.shape[1]  # (B, M, J, N)
    s_v, s_u = (
        rest.take_along_dim(c, -1) + given.take_along_dim(c, -1).mT for c in (v[..., None, None], u[..., None, None])
    )
    if output == "margin":
        return s_v - s_u
    if view.outputs.kind == "sigmoid":
        return torch.nn.functional.logsigmoid(s_v)
    high, highest = rest.amax(-1, keepdim=True), given.amax(-1, keepdim=True)
    total = (rest - high).exp() @ (given - highest).exp().mT
    return s_v - (total.log() + high + highest.mT)


def _alone(view: View, cells: Tensor) -> Tensor:
    """Logits (B, K, N) of maps that are the same cell everywhere, for cells (B, K, C), in double precision."""
    flat, of = cells.flatten(0, 1), torch.arange(len(cells)).repeat_interleave(cells.shape[1])
    size = view.acts.shape[2:]
    logits = view.chunks(len(flat), lambda rows: view.head(flat[rows, :, None, None].expand(-1, -1, *size), of[rows]))
    return logits.double().unflatten(0, cells.shape[:2])


def _promising(view: View, cells: Tensor, there: Tensor, u: Tensor, v: Tensor, output: Output, tries: int) -> Tensor:
    """Which of J cells (B, M, J, C) are tried in each of the image's, by a first-order estimate: (B, M, h * w, K)."""
    one_hot, rival = against(view, u)
    less = one_hot if output == "margin" else view.confidences[:, None]
    if output == "softmax" and view.outputs.kind == "sigmoid":
        less = torch.zeros_like(one_hot)  # log p_v rises with s_v alone
    grads = view.vjp(rival - less).flatten(3)
    estimate = torch.einsum("bmci,bmjc->bmij", grads, cells)  # what the cell itself gave is the same for all j
    return estimate.masked_fill(~there, -torch.inf).topk(min(tries or cells.shape[2], cells.shape[2])).indices


def _tried(view: View, cells: Tensor, chosen: Tensor, u: Tensor, v: Tensor, output: Output) -> Tensor:
    """Scores (B, M, h * w, K) of the chosen swaps, each a forward of the head."""
    acts = view.acts

    def swap(rows: slice) -> Tensor:
        jobs = torch.arange(chosen.numel(), device=chosen.device)[rows]
        b, m, i, k = torch.unravel_index(jobs, chosen.shape)
        changed = acts[b].flatten(2)
        changed[torch.arange(len(jobs), device=jobs.device), :, i] = cells[b, m, chosen[b, m, i, k]]
        return _score(
            view.outputs, view.head(changed.unflatten(2, acts.shape[2:]), b).double(), u[b, m], v[b, m], output
        )

    return view.chunks(chosen.numel(), swap).view(chosen.shape)
