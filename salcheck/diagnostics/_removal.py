"""What diagnostics share that take pixels away in the order of a map and watch the model."""

from collections.abc import Sequence

import torch
from torch import Tensor

from salcheck.maps.ranking import Order
from salcheck.network.view import View
from salcheck.perturb.answers import Answers, Memory, Paint, ask, clean


def without(
    view: View,
    memory: Memory,
    classes: Tensor,
    order: Order,
    sizes: Sequence[int],
    paint: Paint,
    how: str,
    *,
    least: bool = False,
) -> Answers:
    """The scores (J, L, M) of images without the sizes[l] most salient pixels of each of J maps, or the least salient.

    classes: (B, M). order: of J maps, J / B of each image in a row. paint(of, removed) fills the pixels, `how` names
    it (`salcheck.perturb.answers.ask`). Where nothing is removed the image is not run again.
    """
    J, L, pixels = len(order.place), len(sizes), order.place[0].numel()
    ends = torch.tensor(sizes, device=order.place.device).repeat(J)
    maps = torch.arange(J, device=order.place.device).repeat_interleave(L)
    of = maps // (J // len(view))
    changed = ends.nonzero()[:, 0]

    def masks(jobs: Tensor) -> Tensor:
        place = order.place[maps[changed[jobs]]]
        return (pixels - 1 - place if least else place) < ends[changed[jobs], None, None]

    whole = clean(view, classes)
    logits, softmax = whole.logits[of], whole.softmax[of]
    if len(changed):
        found = ask(view, memory, classes, of[changed], masks, paint, how)
        logits[changed], softmax[changed] = found.logits, found.softmax
    return Answers(logits.unflatten(0, (J, L)), softmax.unflatten(0, (J, L)))
