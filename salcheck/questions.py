"""Table of questions: what is measured, what is claimed of it, and when the claim holds."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Question:
    """A diagnostic asked of many images.

    `roles` are the classes that each method explains, `level` the parameter that a score's level is. The
    claim holds for a method where `metric` lies below `threshold` by a one-sided Wilcoxon signed-rank test.
    """

    title: str
    diagnostic: str
    roles: tuple[str, ...]
    metric: str
    level: str
    unit: str
    threshold: float
    claim: str
    source: str
    parameters: Mapping[str, Any] = field(default_factory=dict)


QUESTIONS = {
    "rq1": Question(
        title="Class sensitivity: do the maps for the two most likely classes differ?",
        diagnostic="overlap",
        roles=("top1", "top2"),
        metric="overlap",
        level="percent",
        unit="% of the most salient pixels shared",
        threshold=50.0,
        claim="class-distinct",
        source="CASE, arXiv 2506.07327 v3, section 4 (research question 1)",
        parameters={"percent": 5.0},
    ),
}
