"""What a row of the table of questions says."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from salcheck.naming import registry
from salcheck.naming.roles import Role

HIGHER, LOWER, NEITHER = 1, -1, 0
BETTER = "better than every control"


@dataclass(frozen=True)
class Metric:
    """One number of a diagnostic: what it is in words, and whether higher or lower is better, or neither.

    `digits` after the point in tables. `curve`: it is a curve over levels, and drawn. `best_of`: it is not stored, but
    computed at report time from this curve: for each half of the images at the level that is best on the other half.
    """

    title: str
    better: int = HIGHER
    digits: int = 3
    curve: bool = False
    best_of: str = ""


@dataclass(frozen=True)
class Question:
    """A diagnostic asked of many images.

    `roles` are the classes that each method explains; where the parameters decide, the diagnostic's own `roles` does.
    None at all: the question is asked of the model itself and takes no method. The claim is on `metric`, one of
    `metrics`: with a `threshold`, it holds for a method whose scores are better than that; without one, for a method
    that is better than every control on the same images. claim="": no verdict is given. `paired` says whether methods
    are compared with each other at all, `level` what a score's level is, `floors` which methods join every run beside
    the controls and must be beaten like them, `variants` which settings the field disagrees on (`layer` is the model's,
    all others are the diagnostic's). `version` is raised when the question comes to mean something else: its runs are
    then new ones.
    """

    name: str
    title: str
    diagnostic: str
    roles: tuple[Role, ...]
    metric: str
    metrics: Mapping[str, Metric]
    claim: str
    source: str
    level: str = ""
    threshold: float | None = None
    paired: bool = True
    floors: tuple[str, ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)
    variants: Sequence[Mapping[str, Any]] = ()
    version: int = 1

    @property
    def outside(self) -> bool:
        """Whether its diagnostic's file is not salcheck's own."""
        return self.diagnostic in registry.brought_to("diagnostics")
