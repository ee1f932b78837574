"""Verdicts in words. Every format uses these; nothing reads them back."""

from collections.abc import Sequence

from salcheck.report.records import Kind, Reason, Verdict, Why

FIXED = {
    Kind.NO_SCORES: "no scores",
    Kind.NO_CLAIM: "no claim",
    Kind.NO_CONTROL: "no control to compare with",
    Kind.CONTROL: "control",
    Kind.CONTROL_PASSES: "control: passes",
    Kind.CONTROL_FAILS: "control: does not pass",
    Kind.FLOOR: "floor",
    Kind.FLOOR_PASSES: "floor: passes",
    Kind.FLOOR_FAILS: "floor: does not pass",
}


def words(verdict: Verdict) -> str:
    """`class-distinct`, `not class-distinct`, `no evidence (random passes too)`, `control: passes`."""
    if verdict.kind in FIXED:
        return FIXED[verdict.kind]
    reasons = [_reason(reason) for reason in verdict.reasons]
    if verdict.kind is Kind.NO_EVIDENCE:
        return f"no evidence ({'; '.join(reasons)})"
    if verdict.kind is Kind.FAILS:
        return f"not {verdict.claim}"
    return "".join([verdict.claim, *reasons])  # it holds, perhaps qualified


def _reason(reason: Reason) -> str:
    names, several = listing(reason.names), len(reason.names) > 1
    return {
        Why.BEATEN: f" and {names}",
        Why.MISSING: f"{names} {'are' if several else 'is'} not in the run",
        Why.UNSCORED: f"no scores of {names}",
        Why.PASSES: f"{names} {'pass' if several else 'passes'} too",
        Why.UNBEATEN: f"not better than {names}",
        Why.MISPLACED: f", but not shown to be in the right place ({names})",
    }[reason.kind]


def listing(names: Sequence[str]) -> str:
    """a, b and c."""
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
