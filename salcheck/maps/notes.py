"""Why an image has no score."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What a note says of its image; the database keeps it in a column of its own."""

    BLANK = "blank"  # a map ranks nothing: constant, not finite, or with too few positive pixels
    EXCLUDED = "excluded"  # the question is not about this image
    UNDEFINED = "undefined"  # the score does not exist for this image, though nothing went wrong
    FAILED = "failed"  # something went wrong: it could not be read, did not fit the memory, was not finite


@dataclass(frozen=True)
class Note:
    """Why an image has no score: the kind decides how it is counted, `why` is for a reader."""

    kind: Kind
    why: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.why}" if self.kind in (Kind.BLANK, Kind.EXCLUDED) else self.why


def first(*notes: Sequence[Note | None]) -> list[Note | None]:
    """For each image the first of several notes on it."""
    return [next(filter(None, several), None) for several in zip(*notes, strict=True)]
