"""Which of an image's classes a map is for."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Role:
    """How a class is chosen: by its `rank` among the model's (`top`), by its place in the annotation (`label`), or at
    random (`random`: a class that the image neither shows nor seems to show, drawn by the run's seed).
    """

    kind: Literal["top", "label", "random"]
    rank: int = 1

    def __str__(self) -> str:
        return self.kind if self.kind == "random" else f"{self.kind}{self.rank}"

    def stored(self, seed: int) -> str:
        """Its name in the database and the map cache: a class that is drawn depends on the seed."""
        return f"{self}-{seed}" if self.kind == "random" else str(self)


TOP1, TOP2, LABEL1, LABEL2, RANDOM = Role("top"), Role("top", 2), Role("label"), Role("label", 2), Role("random")


def against(names: Sequence[str]) -> list[str]:
    """The names under which maps of two classes against each other are stored; none for another number of classes."""
    return [f"{names[0]} against {names[1]}", f"{names[1]} against {names[0]}"] if len(names) == 2 else []
