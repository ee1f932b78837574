"""The values that a report is made of. Nothing here computes a statistic, reads the database or decides a verdict."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from salcheck.naming.parameters import write
from salcheck.questions import HIGHER, LOWER, Metric, Question
from salcheck.report.derived import Auroc
from salcheck.report.stats import ALPHA, Comparison, Summary
from salcheck.report.stored import ScoredMethod

APART = ("correct_only", "images", "roles", "levels")  # parameters that are no setting, or that remarks report


class Kind(StrEnum):
    """What a verdict says. The values are stable: programs read them in the column `verdict_kind`."""

    HOLDS = "holds"
    QUALIFIED = "qualified"  # it holds, but another question did not show that the maps are in the right place
    FAILS = "fails"  # the scores are not significantly on the claimed side of the threshold
    NO_EVIDENCE = "no-evidence"  # controls or floors meet the claim too, are not beaten, or are missing
    NO_SCORES = "no-scores"
    NO_CLAIM = "no-claim"  # the question claims nothing
    NO_CONTROL = "no-control"  # no control or floor has scores to compare with
    CONTROL = "control"  # the method is a control, of a question without a threshold
    CONTROL_PASSES = "control-passes"
    CONTROL_FAILS = "control-fails"
    FLOOR = "floor"
    FLOOR_PASSES = "floor-passes"
    FLOOR_FAILS = "floor-fails"


class Why(StrEnum):
    """What a reason says of the methods (or, for MISPLACED, the questions) that it names."""

    BEATEN = "beaten"  # these floors are beaten, as every control is
    MISSING = "missing"  # these standing controls are not in the run
    UNSCORED = "unscored"  # these are in the run and have no score
    PASSES = "passes"  # these controls or floors meet the claim too
    UNBEATEN = "unbeaten"  # the method is not better than these
    MISPLACED = "misplaced"  # these questions did not show that the maps are in the right place


@dataclass(frozen=True)
class Reason:
    kind: Why
    names: tuple[str, ...]


@dataclass(frozen=True)
class Verdict:
    """The decision on a question's claim for one method at one level. `formats/_verdicts.py` puts it into words."""

    kind: Kind
    claim: str
    reasons: tuple[Reason, ...] = ()


@dataclass(frozen=True)
class Entry:
    """One method's scores at one level; `notes` counts the images without a score by the kind of their note."""

    method: ScoredMethod
    level: float
    summary: Summary
    notes: Mapping[str, int]


@dataclass(frozen=True)
class Pair:
    """Two methods of one run, compared on the same images at one level.

    method, against: their specs. holm, holm_t: p of the Wilcoxon and of the t test, adjusted over all pairs of the run.
    gain: the mean difference, positive where the first is better.
    """

    level: float
    method: str
    against: str
    comparison: Comparison
    holm: float | None
    holm_t: float | None
    gain: float

    @property
    def better(self) -> bool:
        """Whether the first is better by ranks and by the mean. Where the two disagree, nothing is claimed."""
        return self.holm is not None and self.holm < ALPHA and (self.comparison.effect or 0) > 0 and self.gain > 0


@dataclass(frozen=True)
class Line:
    """One method of one run at one level of the tested metric.

    method: its spec. holm: adjusted p against the threshold. blank, excluded, failed: images without a score, by
    reason. tied: images where position or chance chose among equal values. same_as: the spec of the method that it
    duplicates. anchor: comparison with the first anchor of the run. hardest: comparison with the strongest control or
    floor.
    """

    question: str
    run: int
    arch: str
    method: str
    control: bool
    floor: bool
    metric: str
    level: float
    level_name: str
    summary: Summary
    holm: float | None
    blank: int
    tied: int
    excluded: int
    failed: int
    same_as: str | None
    verdict: Verdict
    anchor: Pair | None = None
    hardest: Pair | None = None


@dataclass(frozen=True)
class Curve:
    """Means of one metric for one method, at each of its L levels.

    levels, mean, low, high: (L,), with a 95 % bootstrap interval. n: (L,), the number of images with a score.
    """

    metric: str
    method: str
    control: bool
    floor: bool
    levels: NDArray[np.float64]
    n: NDArray[np.int64]
    mean: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


@dataclass(frozen=True)
class Location:
    """Where the maps lie in the image, measured by another question on the same model, cut at the same layer.

    means: (mean, low, high) by method. chance: the score of a map that marks at random. right: the methods that beat
    chance and every control and floor.
    """

    question: str
    title: str
    run: int
    chance: float
    means: Mapping[str, tuple[float | None, float | None, float | None]]
    right: frozenset[str]


@dataclass(frozen=True)
class Section:
    """One run: where its numbers come from, a line for each method and level, and the remarks that belong to them."""

    question: Question
    about: Mapping[str, Any]
    lines: Sequence[Line]
    pairs: Sequence[Pair]
    curves: Sequence[Curve]
    remarks: Sequence[str]
    aurocs: Sequence[Auroc] = ()
    locations: Sequence[Location] = ()

    @cached_property
    def parameters(self) -> dict[str, Any]:
        return json.loads(self.about["parameters"])

    @cached_property
    def copies(self) -> dict[str, str]:
        """Metrics that equal an earlier one for every method, mapped to that one."""
        return copies_of(self.curves)

    @property
    def metric(self) -> Metric:
        """The one that the claim is on."""
        return self.question.metrics[self.question.metric]

    @property
    def better(self) -> str:
        """Which side of the tested metric is better, in words; empty where neither is."""
        return {HIGHER: "higher is better", LOWER: "lower is better"}.get(self.metric.better, "")

    @property
    def asked(self) -> str:
        """What was measured, which side is better, and the settings (without those that the remarks report)."""
        values = {name: write(value) for name, value in self.parameters.items() if name not in APART}
        settings = ", ".join(f"{name} {value}" for name, value in values.items() if value)
        measured = ", ".join(filter(None, [self.metric.title, self.better]))
        return "; ".join(filter(None, [measured, settings]))

    @property
    def threshold(self) -> float | None:
        return self.parameters.get("threshold")

    @cached_property
    def levels(self) -> list[float]:
        """The levels of the tested metric."""
        return sorted({line.level for line in self.lines})

    @property
    def of_methods(self) -> bool:
        """Whether the question was asked of methods; else it was asked of the model itself."""
        return bool(self.question.roles)

    @property
    def names(self) -> Sequence[str]:
        """Names of the levels 1, 2, ...; none where levels are numbers."""
        return self.parameters.get("levels", ())

    @property
    def shows_levels(self) -> bool:
        """Whether tables need a column for the level."""
        return len(self.levels) > 1 or any(line.level_name for line in self.lines if self.names)

    def level_name(self, level: float) -> str:
        return level_name(self.names, level)

    def level_title(self, level: float) -> str:
        """The level with its unit: `5 % removed`, `layer layer4`."""
        unit, name = self.question.level, self.level_name(level)
        return f"{unit} {name}" if self.names else f"{name} {unit}"


def level_name(names: Sequence[str], level: float) -> str:
    """The name of a level, or its number where levels have no names. Empty for level 0 of a run with names, which
    marks a score without a level.
    """
    if names and level == 0:
        return ""
    return names[int(level) - 1] if level in range(1, len(names) + 1) else f"{level:g}"


def copies_of(curves: Sequence[Curve]) -> dict[str, str]:
    """Metrics whose curves (of several levels) equal those of an earlier metric for every method, mapped to it."""
    first: dict[bytes, str] = {}
    copies = {}
    for metric in dict.fromkeys(curve.metric for curve in curves if len(curve.levels) > 1):
        own = [curve for curve in curves if curve.metric == metric]
        content = b"".join(curve.method.encode() + curve.n.tobytes() + curve.mean.tobytes() for curve in own)
        if first.setdefault(content, metric) != metric:
            copies[metric] = first[content]
    return copies
