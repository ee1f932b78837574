"""Overlap of the most salient pixels of two maps of one image, made for two classes.

Krishna et al. 2022 (feature agreement), as used by CASE, equation 7:

    overlap = 100 * |top_K(map_u) and top_K(map_v)| / K,    K = round(percent / 100 * H * W)

The positive part of a map is upsampled to pixels first, as in the released code; without the clipping a
signed map would differ from its ReLU'd twin around every negative cell. Departures from that code: sets hold
exactly K pixels, chosen by rank with a fixed tie-break, and a map without K positive pixels gets no score
instead of 100 %.
"""

from torch import Tensor

from salcheck.diagnostics import Scores, scored
from salcheck.maps.ranking import blank, check_percent, set_size, top_set, upsample
from salcheck.network.view import View

IMAGES = False


def check(*, percent: float) -> None:
    check_percent(percent)


def score(view: View, classes: Tensor, maps: Tensor, *, percent: float = 5.0) -> Scores:
    """`overlap` in percent of K, and `tied`, percent of the sets chosen by position among equal values.

    maps: (B, 2, h, w). Both values are NaN where either map is blank; the note names the first that is.
    """
    B = len(maps)
    positive = maps.clamp(min=0)
    pixels = upsample(positive, view.size)
    why = blank(pixels.flatten(0, 1), percent, positive.flatten(0, 1))
    notes = [why[2 * i] or why[2 * i + 1] for i in range(B)]
    mask, tied = top_set(pixels, percent)
    K = set_size(percent, view.size[0] * view.size[1])
    common = (mask[:, 0] & mask[:, 1]).count_nonzero(dim=(-2, -1))
    # In double precision scores equally far from a threshold stay equally far: tests rank those distances.
    values = {"overlap": 100 * common.cpu().double() / K, "tied": 50 * tied.sum(dim=1).cpu().double() / K}
    return scored({name: value[:, None] for name, value in values.items()}, notes, [percent])
