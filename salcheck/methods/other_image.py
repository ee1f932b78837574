"""Control: the Grad-CAM map of another image for what that one shows, drawn for every image and class.

It is as smooth, as large and as central as real maps are, but knows nothing of this picture. A method that scores no
higher has not shown that it depends on the picture.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from salcheck.errors import SalcheckError
from salcheck.methods._cost import Cost
from salcheck.network.view import View

SOURCE = ""
COST = Cost()
CONTROL = True


def saliency(view: View, classes: Tensor, *, reference: Mapping[str, Any]) -> Tensor:
    """Maps (B, M, h, w) of held-out images for their own predicted class; the same in every run of one seed."""
    gallery = reference["gallery"]
    if not len(gallery):
        raise SalcheckError("other-image has no other image: none was read, give others with --reference DIR")
    drawn = (view.uniform(classes, ()) * len(gallery)).long()
    return gallery.to(view.acts.device)[drawn]


def needs() -> dict[str, dict[str, Any]]:
    """Maps of held-out images, and the run's seed to draw from them."""
    return {"gallery": {}, "seed": {}}
