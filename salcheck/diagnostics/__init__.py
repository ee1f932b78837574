"""What a diagnostic is: maps in, per-image scores out. It never touches SQL.

A diagnostic file has `score(view, classes, maps, *, parameter=default, ...) -> Scores`: maps (B, M, h, w) or at pixel
resolution (B, M, H, W) that one method made for classes (B, M), one for each role of the question. It is called for
one method after another with the same view, which remembers what the model answers to changed images
(`salcheck.answers`). A keyword `explain` without a default is given the method itself, `explain(view, classes) ->
maps`, for other images. It may have

    check(**parameters)    raises SalcheckError for values that make no sense
    IMAGES = False         it reads the maps alone, and images need not be read where the maps are stored

The first line of its docstring is its help. Every score is of one image: no mean, no test, no rank is taken here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Scores:
    """Numbers for B images: by metric, (B,), or (B, L) over `levels`, the metric's own axis: a percentage, a step.

    `notes` says for each image why it has none, or is None. A single NaN of an image without a note is stored with
    the words of `gap`. Values are on any device, in single or double precision.
    """

    values: Mapping[str, Tensor]
    notes: Sequence[str | None]
    levels: Sequence[float] = ()
    gap: str = "undefined for this image"
