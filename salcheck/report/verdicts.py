"""What is claimed of a method, in words, and why a claim is no evidence."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from salcheck.questions import BETTER, Question

if TYPE_CHECKING:
    from salcheck.report.section import Entry, Pair

ALPHA = 0.05
STANDING = ("random", "center", "edges")  # the controls of every run


def margin(pair: "Pair", question: Question) -> tuple[float, float]:
    """How clearly the method is better: by the effect, and where that is the same, by the difference."""
    better = question.metrics[question.metric].better
    return pair.comparison.effect or 0.0, better * (pair.comparison.difference or 0.0)


def _passes(entry: "Entry") -> bool:
    """By ranks, and by the median too: a test of ranks can reject where most scores lie on the other side."""
    summary = entry.summary
    return summary.wilcoxon is not None and summary.wilcoxon < ALPHA and (summary.beyond or 0) > 0.5


def verdict(
    question: Question, entry: "Entry", p: float | None, hurdles: Sequence["Entry"], beside: Sequence["Pair"]
) -> str:
    """In words: a claim that a control or floor earns as well, or does not lose to, is no evidence for anything.

    hurdles: the controls and floors; beside: the method's comparisons with them.
    """
    passes = question.threshold is not None and _passes(entry)
    if entry.summary.n == 0:
        told = "no scores"
    elif entry.method.hurdle:
        kind = "floor" if entry.method.floor else "control"
        told = kind if question.threshold is None else f"{kind}: {'passes' if passes else 'does not pass'}"
    elif not question.claim:
        told = "no claim"
    elif question.threshold is not None and (p is None or p >= ALPHA or not passes):
        told = f"not {question.claim}"
    elif question.threshold is None and not beside:
        told = "no control to compare with"
    else:
        told = _evidence(question, hurdles, beside)
    return told


def _evidence(question: Question, hurdles: Sequence["Entry"], beside: Sequence["Pair"]) -> str:
    """The claim, unless a control or floor earns it too, is not beaten, or has no scores to be compared with."""
    must = [h for h in hurdles if h.method.floor or h.method.name in STANDING]
    silent = [h.method.name for h in must if h.summary.n == 0]
    passed = [h.method.name for h in hurdles if _passes(h)] if question.threshold is not None else []
    unbeaten = [pair.against for pair in beside if not pair.better] if question.threshold is None else []
    reasons = [f"no scores of {listing(silent)}"] if silent else []
    reasons += [f"{listing(passed)} {'passes' if len(passed) == 1 else 'pass'} too"] if passed else []
    reasons += [f"not better than {listing(unbeaten)}"] if unbeaten else []
    if reasons:
        return f"no evidence ({'; '.join(reasons)})"
    floors = [h.method.name for h in hurdles if h.method.floor]
    return f"{BETTER} and {listing(floors)}" if floors and question.claim == BETTER else question.claim


def listing(names: Sequence[str]) -> str:
    """a, b and c."""
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
