"""What a diagnostic is: maps in, per-image scores out. It never touches SQL.

A diagnostic file has `score(view, maps, *, parameter, ...) -> Scores` with maps (B, M, h, w), one map per
role of the question. The first line of its docstring is its help.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Scores:
    """Numbers for B images: by metric, (B,). `notes` says for each image why it has none, or is None."""

    values: Mapping[str, Tensor]
    notes: Sequence[str | None]
