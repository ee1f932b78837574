"""What diagnostics share that disturb an image at random and watch the model."""

import torch
from torch import Tensor

from salcheck.network.view import View
from salcheck.perturb.answers import Masks, Memory, Paint, ask

OWN = 0x1F1D  # turns an image's seed into another: RISE must not be tested on the masks that it was made from


def watch(
    view: View,
    memory: Memory,
    classes: Tensor,
    pixels: Tensor,
    samples: int,
    masks: Masks,
    paint: Paint,
    how: str,
    output: str,
) -> tuple[Tensor, Tensor]:
    """What maps foretell and what happens: I . map, and the score after the change, each (B, samples) in double, on
    the CPU: not every device has it.

    pixels: (B, H, W). masks(jobs): I, (j, H, W) or (j, 3, H, W), for jobs numbered image by image; paint and how as
    in `salcheck.perturb.answers.ask`.
    """
    of = torch.arange(len(view), device=pixels.device).repeat_interleave(samples)

    def products(rows: slice) -> Tensor:
        change = masks(torch.arange(rows.start, rows.stop, device=of.device))
        change = change.mean(dim=1) if change.dim() == 4 else change
        return (change * pixels[of[rows]]).sum(dim=(-2, -1))

    sums = view.chunks(len(of), products)
    after = ask(view, memory, classes, of, masks, paint, how).output(output)
    return sums.cpu().double().view(-1, samples), after.cpu().double().view(-1, samples)


def generators(view: View) -> list[torch.Generator]:
    """A fresh source of random numbers for each image, and not one that methods draw from."""
    return [torch.Generator().manual_seed(seed ^ OWN) for seed in view.seeds]


def seeds(view: View, samples: int) -> list[int]:
    """A seed for each change, image by image: one that is made again, in a smaller chunk, is the same."""
    return [int(s) for source in generators(view) for s in torch.randint(2**62, (samples,), generator=source)]
