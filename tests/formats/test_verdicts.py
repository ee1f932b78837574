import dataclasses

import pytest

from salcheck.formats._verdicts import listing, words
from salcheck.report.records import Kind, Reason, Verdict, Why

NO = Kind.NO_EVIDENCE


@pytest.mark.parametrize(
    ("kind", "reasons", "expected"),
    [
        (Kind.HOLDS, [], "sharp"),
        (Kind.HOLDS, [(Why.BEATEN, "lafam")], "sharp and lafam"),
        (Kind.QUALIFIED, [(Why.MISPLACED, "mosaic")], "sharp, but not shown to be in the right place (mosaic)"),
        (
            Kind.QUALIFIED,
            [(Why.BEATEN, "lafam"), (Why.MISPLACED, "mosaic", "scenes")],
            "sharp and lafam, but not shown to be in the right place (mosaic and scenes)",
        ),
        (Kind.FAILS, [], "not sharp"),
        (NO, [(Why.PASSES, "random")], "no evidence (random passes too)"),
        (NO, [(Why.PASSES, "random", "edges")], "no evidence (random and edges pass too)"),
        (NO, [(Why.MISSING, "random")], "no evidence (random is not in the run)"),
        (NO, [(Why.MISSING, "random", "edges")], "no evidence (random and edges are not in the run)"),
        (
            NO,
            [(Why.UNSCORED, "a", "b", "c"), (Why.UNBEATEN, "d")],
            "no evidence (no scores of a, b and c; not better than d)",
        ),
        (Kind.NO_SCORES, [], "no scores"),
        (Kind.NO_CLAIM, [], "no claim"),
        (Kind.NO_CONTROL, [], "no control to compare with"),
        (Kind.CONTROL, [], "control"),
        (Kind.CONTROL_PASSES, [], "control: passes"),
        (Kind.CONTROL_FAILS, [], "control: does not pass"),
        (Kind.FLOOR, [], "floor"),
        (Kind.FLOOR_PASSES, [], "floor: passes"),
        (Kind.FLOOR_FAILS, [], "floor: does not pass"),
    ],
)
def test_every_verdict_has_its_words(kind, reasons, expected):
    assert words(Verdict(kind, "sharp", tuple(Reason(why, names) for why, *names in reasons))) == expected


def test_no_two_kinds_have_the_same_words():
    reasons = {Kind.QUALIFIED: (Reason(Why.MISPLACED, ("mosaic",)),), NO: (Reason(Why.PASSES, ("random",)),)}
    assert len({words(Verdict(kind, "sharp", reasons.get(kind, ()))) for kind in Kind}) == len(Kind)


def test_a_verdict_is_a_value():
    one = Verdict(Kind.HOLDS, "sharp", (Reason(Why.BEATEN, ("lafam",)),))
    assert one == Verdict(Kind("holds"), "sharp", (Reason(Why("beaten"), ("lafam",)),))
    assert len({one, dataclasses.replace(one)}) == 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.kind = Kind.FAILS


@pytest.mark.parametrize(
    ("names", "expected"), [(["a"], "a"), (["a", "b"], "a and b"), (["a", "b", "c"], "a, b and c")]
)
def test_a_listing(names, expected):
    assert listing(names) == expected
