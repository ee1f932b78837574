"""The decision, from entries and comparisons that are written down here."""

import dataclasses

import pytest

from salcheck.questions import BETTER, QUESTIONS
from salcheck.report.records import Entry, Kind, Pair, Reason, Verdict, Why
from salcheck.report.stats import Comparison, Summary
from salcheck.report.stored import ScoredMethod
from salcheck.report.verdicts import qualified, verdict

STANDING = ("center", "random")
PAIRED, THRESHOLD = QUESTIONS["rq2"], QUESTIONS["rq1"]
GOOD = Summary(n=20, wilcoxon=0.001, beyond=0.9)
BAD = Summary(n=20, wilcoxon=0.9, beyond=0.2)


def entry(spec, summary, *, control=False, floor=False):
    return Entry(ScoredMethod(1, spec, control, floor), 0.0, summary, {})


def controls(**summaries):
    return [entry(spec, summary, control=True) for spec, summary in summaries.items()]


def pair(against, holm=0.001, effect=0.8, gain=0.1):
    comparison = Comparison(n=20, difference=gain, effect=effect)
    return Pair(0.0, "case", against, comparison, holm, None, gain)


def decide(question, summary=GOOD, p=0.001, hurdles=(), beside=()):
    return verdict(question, entry("case", summary), p, hurdles, beside, STANDING)


def test_a_claim_holds_where_every_control_is_beaten():
    beside = [pair("random"), pair("center")]
    assert decide(PAIRED, hurdles=controls(random=BAD, center=BAD), beside=beside) == Verdict(Kind.HOLDS, BETTER)


def test_floors_that_are_beaten_are_named():
    hurdles = [*controls(random=BAD, center=BAD), entry("lafam", BAD, floor=True)]
    found = decide(PAIRED, hurdles=hurdles, beside=[pair("random"), pair("center"), pair("lafam")])
    assert found == Verdict(Kind.HOLDS, BETTER, (Reason(Why.BEATEN, ("lafam",)),))


def test_every_reason_is_kept_in_order():
    hurdles = [*controls(random=Summary(n=0)), entry("lafam", Summary(n=0), floor=True)]
    found = decide(PAIRED, hurdles=hurdles, beside=[pair("edges", holm=0.06), pair("uniform", effect=-0.1)])
    assert found.kind is Kind.NO_EVIDENCE
    assert found.reasons == (
        Reason(Why.MISSING, ("center",)),
        Reason(Why.UNSCORED, ("random", "lafam")),
        Reason(Why.UNBEATEN, ("edges", "uniform")),
    )


def test_a_control_that_does_not_stand_may_lack_scores():
    hurdles = controls(random=BAD, center=BAD, uniform=Summary(n=0))
    assert decide(PAIRED, hurdles=hurdles, beside=[pair("random"), pair("center")]).kind is Kind.HOLDS


def test_against_a_threshold_a_claim_holds_where_no_control_passes():
    hurdles = controls(random=BAD, center=BAD)
    assert decide(THRESHOLD, hurdles=hurdles) == Verdict(Kind.HOLDS, THRESHOLD.claim)
    passing = decide(THRESHOLD, hurdles=controls(random=GOOD, center=BAD))
    assert passing == Verdict(Kind.NO_EVIDENCE, THRESHOLD.claim, (Reason(Why.PASSES, ("random",)),))


@pytest.mark.parametrize(
    ("summary", "p"),
    [
        (GOOD, 0.05),
        (GOOD, None),
        (dataclasses.replace(GOOD, beyond=0.5), 0.001),
        (dataclasses.replace(GOOD, wilcoxon=0.05), 0.001),
    ],
)
def test_against_a_threshold_it_fails_by_p_or_by_the_median(summary, p):
    assert decide(THRESHOLD, summary, p, controls(random=BAD, center=BAD)).kind is Kind.FAILS


@pytest.mark.parametrize(
    ("question", "summary", "floor", "kind"),
    [
        (PAIRED, GOOD, False, "control"),
        (PAIRED, GOOD, True, "floor"),
        (THRESHOLD, GOOD, False, "control-passes"),
        (THRESHOLD, BAD, False, "control-fails"),
        (THRESHOLD, GOOD, True, "floor-passes"),
        (THRESHOLD, BAD, True, "floor-fails"),
        (THRESHOLD, Summary(n=0), True, "no-scores"),
    ],
)
def test_controls_and_floors_have_kinds_of_their_own(question, summary, floor, kind):
    own = entry("lafam", summary, control=not floor, floor=floor)
    assert verdict(question, own, None, [own], [], STANDING) == Verdict(Kind(kind), question.claim)


def test_without_scores_a_claim_or_a_control_there_is_nothing_to_decide():
    assert decide(PAIRED, Summary(n=0)).kind is Kind.NO_SCORES
    assert decide(QUESTIONS["sensitivity"]) == Verdict(Kind.NO_CLAIM, "")
    assert decide(PAIRED).kind is Kind.NO_CONTROL


def test_only_a_claim_that_holds_is_qualified():
    holds = Verdict(Kind.HOLDS, "class-distinct")
    found = qualified(holds, ["mosaic", "scenes"])
    assert found == Verdict(Kind.QUALIFIED, "class-distinct", (Reason(Why.MISPLACED, ("mosaic", "scenes")),))
    assert qualified(holds, []) is holds
    for kind in set(Kind) - {Kind.HOLDS}:
        other = Verdict(kind, "class-distinct")
        assert qualified(other, ["mosaic"]) is other
