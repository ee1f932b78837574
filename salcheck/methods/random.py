"""Control: uniform noise on the layer's grid, drawn anew for every image and class.

It knows nothing, so a method must score better. It still passes rq1, since two independent maps hardly overlap.
"""

from typing import Any

from torch import Tensor

from salcheck.methods._cost import Cost
from salcheck.network.view import View

SOURCE = ""
COST = Cost()
CONTROL = True
ALWAYS = True
HEAD = False


def saliency(view: View, classes: Tensor) -> Tensor:
    """Noise in [0, 1), (B, M, h, w); the same in every run of one seed, whatever the batch."""
    return view.uniform(classes, tuple(view.acts.shape[-2:]))


def needs() -> dict[str, dict[str, Any]]:
    """The run's seed, and nothing else."""
    return {"seed": {}}
