"""Decides verdicts: whether a question's claim holds for a method, and why not.

A claim is no evidence where a control or floor meets it too, or is not beaten.
"""

from collections.abc import Collection, Sequence

from salcheck.questions import BETTER, Question
from salcheck.report.records import Entry, Kind, Pair, Reason, Verdict, Why
from salcheck.report.stats import ALPHA


def margin(pair: Pair, question: Question) -> tuple[float, float]:
    """How much better the method is, for sorting: by effect size, then by mean difference."""
    better = question.metrics[question.metric].better
    return pair.comparison.effect or 0.0, better * (pair.comparison.difference or 0.0)


def verdict(
    question: Question,
    entry: Entry,
    p: float | None,
    hurdles: Sequence[Entry],
    beside: Sequence[Pair],
    standing: Collection[str],
) -> Verdict:
    """The verdict on one method at one level.

    p: of the test against the threshold, after Holm. hurdles: the controls and floors of the run at this level.
    beside: the method's comparisons with them. standing: the controls that belong in every run.
    """
    passes = question.threshold is not None and _passes(entry)
    if entry.summary.n == 0:
        kind = Kind.NO_SCORES
    elif entry.method.hurdle:
        kind = _of_hurdle(entry, question, passes)
    elif not question.claim:
        kind = Kind.NO_CLAIM
    elif question.threshold is not None and (p is None or p >= ALPHA or not passes):
        kind = Kind.FAILS
    elif question.threshold is None and not beside:
        kind = Kind.NO_CONTROL
    else:
        return _evidence(question, hurdles, beside, standing)
    return Verdict(kind, question.claim)


def qualified(given: Verdict, questions: Sequence[str]) -> Verdict:
    """The verdict, qualified by the questions that did not show the method's maps to be in the right place."""
    if given.kind is not Kind.HOLDS or not questions:
        return given
    return Verdict(Kind.QUALIFIED, given.claim, (*given.reasons, Reason(Why.MISPLACED, tuple(questions))))


def _passes(entry: Entry) -> bool:
    """By ranks and by the median: a rank test alone can reject where most scores lie on the other side."""
    summary = entry.summary
    return summary.wilcoxon is not None and summary.wilcoxon < ALPHA and (summary.beyond or 0) > 0.5


def _of_hurdle(entry: Entry, question: Question, passes: bool) -> Kind:
    floor = entry.method.floor
    if question.threshold is None:
        return Kind.FLOOR if floor else Kind.CONTROL
    if passes:
        return Kind.FLOOR_PASSES if floor else Kind.CONTROL_PASSES
    return Kind.FLOOR_FAILS if floor else Kind.CONTROL_FAILS


def _evidence(
    question: Question, hurdles: Sequence[Entry], beside: Sequence[Pair], standing: Collection[str]
) -> Verdict:
    """The claim holds, unless a control or floor is missing, has no scores, meets the claim too, or is not beaten."""
    floors = [h.method.spec for h in hurdles if h.method.floor]
    needed = [h for h in hurdles if h.method.floor or h.method.spec in standing]
    against = {
        Why.MISSING: [spec for spec in standing if spec not in {h.method.spec for h in hurdles}],
        Why.UNSCORED: [h.method.spec for h in needed if h.summary.n == 0],
        Why.PASSES: [h.method.spec for h in hurdles if question.threshold is not None and _passes(h)],
        Why.UNBEATEN: [pair.against for pair in beside if question.threshold is None and not pair.better],
    }
    reasons = _reasons(against)
    if reasons:
        return Verdict(Kind.NO_EVIDENCE, question.claim, reasons)
    return Verdict(Kind.HOLDS, question.claim, _reasons({Why.BEATEN: floors if question.claim == BETTER else []}))


def _reasons(names: dict[Why, list[str]]) -> tuple[Reason, ...]:
    return tuple(Reason(kind, tuple(own)) for kind, own in names.items() if own)
