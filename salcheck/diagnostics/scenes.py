"""Two objects in one picture: how much of the map for a class is on its own object, how much on the other's.

salcheck's own: CASE's first question (arXiv 2506.07327, section 4) asks whether the maps for two classes differ, which
noise does best; where both objects are known there is a right answer. With m(R) the positive mass of the map in R:

    own   = m(own object) / m(picture)       right = m(own object) / (m(own object) + m(other object))
    other = m(other object) / m(picture)

Each is the mean over both classes. A map that is the same for both has a `right` of exactly 1/2. Pixels that belong to
both objects are left out, as if the picture did not have them. An image has no score where an object has no pixel of
its own in what the model is fed, or where either map is blank; no `right` where a map is on neither object.
"""

import torch
from torch import Tensor

from salcheck.diagnostics import Scores, scored
from salcheck.diagnostics._places import blanks, lying_on, own_and_other, pointing, positive
from salcheck.inputs.truth import Truth
from salcheck.maps.agreement import agreement
from salcheck.maps.notes import Kind, Note, first
from salcheck.maps.ranking import order, upsample
from salcheck.network.view import View

HIDDEN = Note(Kind.EXCLUDED, "an object has no pixel of its own in the picture")


def score(view: View, classes: Tensor, maps: Tensor, *, truth: Truth) -> Scores:
    """`right`, `own`, `other`, `most`, `pointing`, `auprc` and `area`, each (B,) in 0...1; maps (B, 2, h, w)."""
    masks = truth.masks(classes)
    both = masks.all(1, keepdim=True)
    masks &= ~both
    own, other = own_and_other(lying_on(positive(maps, view.size).masked_fill(both, 0), masks))
    pixels = upsample(maps, view.size).masked_fill(both, -torch.inf)  # they come last, and are on no object
    ranked = agreement(order(pixels.flatten(0, 1), view.size), masks.flatten(0, 1))
    values = {
        "right": own / (own + other),
        "own": own,
        "other": other,
        "most": (own > other).float(),
        "pointing": pointing(pixels, masks),
        "auprc": ranked.average_precision().unflatten(0, classes.shape),
        "area": masks.sum((-2, -1)) / (~both).sum((-2, -1)),
    }
    seen = masks.any(-1).any(-1).all(-1).tolist()
    notes = first([None if one else HIDDEN for one in seen], blanks(maps, view.size))
    means = {name: value.mean(-1) for name, value in values.items()}
    return scored(means, notes, gap=Note(Kind.BLANK, "a map without mass on either object"))
