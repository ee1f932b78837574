"""Average drop, increase, gain and ADCC: does the score survive where the map is high?

With m the map at pixel resolution, shifted and scaled to 0...1, Y the score of the class on the image x, and O that
on x seen through m (m * x, what is hidden being the fill):

    drop       = max(0, Y - O) / Y             average drop; Chattopadhyay et al., WACV 2018, section 4
    increase   = 1 where O > Y, else 0         increase in confidence; the same
    gain       = max(0, O - Y) / (1 - Y)       average gain; Zhang et al. (Opti-CAM), 2024
    coherency  = (1 + r) / 2                   r: Pearson correlation of the map of x and the map of x seen through m
    complexity = mean of m                     its L1 norm, of as many pixels
    adcc       = 3 / (1 / coherency + 1 / (1 - complexity) + 1 / (1 - drop))

The last three are of Poppi et al., CVPR Workshops 2021; (1 + r) / 2 and the correlation at pixel resolution are their
released code's, and so is an ADCC for each image. A mean of these is at most the ADCC of the mean parts. A
map that does not read the image (`random`, `center`) has a coherency of 1, for nothing.

Departures from the code: the second map is for the class of the first one, whatever the model now sees; a second map
that is blank leaves `coherency` and `adcc` without a score, where the code has 0 for the one and divides by it. ADCC is
0 where a part is 0. Each method makes its maps once more, and its one forward per image answers for the score too;
methods whose maps agree do not share it.

Logits: a drop is relative to the size of Y and may be above 1, where `adcc` is 0; they have no ceiling to gain on, and
`gain` is left out.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from salcheck.diagnostics import Scores, scored
from salcheck.maps.notes import Kind, Note
from salcheck.maps.ranking import blank, unit, upsample
from salcheck.network.view import View
from salcheck.perturb.answers import Answers, clean
from salcheck.perturb.canvas import veiler

Explain = Callable[[View, Tensor], Tensor]


def score(
    view: View,
    classes: Tensor,
    maps: Tensor,
    *,
    explain: Explain,
    fill: Literal["mean", "zero", "grey", "blur"] = "mean",
    output: Literal["softmax", "logit"] = "softmax",
) -> Scores:
    """`adcc`, `drop`, `increase`, `gain`, `coherency` and `complexity` (B,), shares in 0...1; maps (B, 1, h, w)."""
    notes = blank(maps[:, 0], 0)  # of the grid: a constant map is no longer quite that when upsampled
    ranked = [row for row, note in enumerate(notes) if note is None]
    pixels = maps.new_full((len(view), *view.size), torch.nan)
    pixels[ranked] = unit(upsample(maps[ranked, 0], view.size))
    after, coherency = _through(view, classes, pixels, ranked, explain, fill)
    Y, O = clean(view, classes).output(output)[:, 0], after.output(output)[:, 0]  # noqa: E741
    values = {
        "drop": (Y - O).clamp(min=0) / Y.abs(),
        "increase": torch.where(O.isnan(), torch.nan, (O > Y).to(O.dtype)),
        "coherency": coherency,
        "complexity": pixels.mean((-2, -1)),
    }
    if output == "softmax":
        values["gain"] = (O - Y).clamp(min=0) / (1 - Y).clamp(min=torch.finfo(Y.dtype).eps)
    values["adcc"] = _harmonic_mean(coherency, 1 - values["complexity"], 1 - values["drop"])
    return scored(values, notes, gap=Note(Kind.BLANK, "the map of the image seen through the map"), answers=O)


def _through(
    view: View, classes: Tensor, pixels: Tensor, ranked: list[int], explain: Explain, fill: str
) -> tuple[Answers, Tensor]:
    """The answers (B, 1) to the images seen through their masks (B, H, W), and the coherency (B,) of the maps made of
    what is then seen; NaN for images that are not among those `ranked`.
    """
    paint = veiler(view, fill)
    rows = torch.tensor(ranked, dtype=torch.long, device=pixels.device)
    table = pixels.new_full((len(view), 3), torch.nan)

    def work(part: slice) -> Tensor:
        of = rows[part]
        seen = view.again(paint(of, pixels[of]), of)
        agreement = _coherency(pixels[of], explain(seen, classes[of])[:, 0])
        after = clean(seen, classes[of])  # of the forward that the map was made from
        return torch.stack([after.logits[:, 0], after.softmax[:, 0], agreement], dim=1)

    if ranked:
        table[rows] = view.chunks(len(ranked), work)
    logits, softmax, agreement = table.split(1, dim=1)
    return Answers(logits, softmax), agreement[:, 0]


def _coherency(masks: Tensor, maps: Tensor) -> Tensor:
    """Pearson correlation of masks (B, H, W) and maps (B, h, w), moved to 0...1: (B,), NaN where a map is blank."""
    missing = torch.tensor([note is not None for note in blank(maps, 0)], device=maps.device)
    pixels = unit(upsample(maps, (masks.shape[1], masks.shape[2])))
    flat = [values.flatten(1).cpu().double() for values in (masks, pixels)]
    a, b = (values - values.mean(1, keepdim=True) for values in flat)
    r = (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1))
    return ((1 + r) / 2).to(masks).masked_fill(missing, torch.nan)


def _harmonic_mean(*parts: Tensor) -> Tensor:
    """Of positive parts (B,); 0 where one is 0 or less."""
    together = torch.stack(parts)
    return len(parts) / together.clamp(min=0).reciprocal().sum(0)
