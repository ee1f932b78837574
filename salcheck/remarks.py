"""What a reader must know beside a section's figures: where they come from, how they were tested, what is missing."""

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from salcheck.questions import HIGHER, Question
from salcheck.stats import CONFIDENCE, RESAMPLES, ZERO_METHOD
from salcheck.store import Store

if TYPE_CHECKING:
    from salcheck.section import Line

TIES = (
    "ties: images where position or chance, not value, chose some pixels of a set; blank: images without a score "
    "because a map has too few positive pixels."
)
REASONS = 5  # at most so many are spelt out

FACTS = """
SELECT facts.method_id, role, facts.name, facts.image_id, facts.value
FROM facts JOIN runs ON runs.model_id = facts.model_id
JOIN run_images ON run_images.run_id = runs.id AND run_images.image_id = facts.image_id
WHERE runs.id = :run AND role IN :roles
"""


def remarks_of(
    store: Store,
    about: Mapping[str, Any],
    question: Question,
    main: pd.DataFrame,
    lines: Sequence["Line"],
    names: Mapping[int, str],
    distinct: int,
    pairs: int,
) -> list[str]:
    """The remarks on one run; main: the rows of the tested metric; distinct, pairs: how many the tests are over."""
    twins = dict.fromkeys(f"{line.method} is {line.same_as}" for line in lines if line.same_as)
    same = f"Same ranking of pixels in every image (proportional maps), counted once: {', '.join(twins)}."
    return [
        *_images(about, main, lines),
        *_tests(about, question, distinct, len({line.level for line in lines}), pairs),
        *([TIES] if "tied" in question.metrics else []),
        *([same] if twins else []),
        *_failures(main),
        *_facts(store, about["run"], question, main, names),
    ]


def _images(about: Mapping[str, Any], main: pd.DataFrame, lines: Sequence["Line"]) -> list[str]:
    parameters, drawn = json.loads(about["parameters"]), about["drawn"]
    done = int(main.groupby("method_id")["image_id"].nunique().min()) if len(main) else 0
    kept = "correctly classified ones only" if parameters["correct_only"] else "right or wrong"
    source = f"{about['dataset']} (seed {about['seed']})"
    excluded = max((line.excluded for line in lines), default=0)
    left = f"; {excluded} others are excluded" if excluded else ""
    unfinished = f"UNFINISHED: {done} of {drawn} images are scored; the same `salcheck eval` goes on with the rest."
    return [
        *([unfinished] if done < drawn else []),
        f"{drawn} images drawn from {source}, {kept}{left}; reference: {about['reference']}.",
    ]


def _tests(about: Mapping[str, Any], question: Question, distinct: int, levels: int, pairs: int) -> list[str]:
    bootstrap = f"{CONFIDENCE:.0%}, {RESAMPLES} resamples"
    threshold = json.loads(about["parameters"]).get("threshold")
    said = []
    if threshold is not None:
        family = f"{distinct}" if levels < 2 else f"{distinct}, at {levels} levels"
        side = "above" if question.metrics[question.metric].better == HIGHER else "below"
        said.append(
            f"p: one-sided Wilcoxon signed-rank test that scores lie {side} {threshold:g}, zero_method={ZERO_METHOD}; "
            f"Holm over the distinct methods of this run ({family}), controls not counted; effect: rank-biserial; "
            f"CI: percentile bootstrap of the median, {bootstrap}."
        )
    if question.paired:
        interval = "" if threshold is not None else " CI of a mean and"
        said.append(
            f"Differences: paired by image, two-sided Wilcoxon signed-rank test, zero_method={ZERO_METHOD}, and t; "
            f"Holm over the {pairs} comparisons of this run; effect: rank-biserial, positive where the first is better;"
            f"{interval} of a mean difference: percentile bootstrap, {bootstrap}."
        )
    if question.paired and threshold is None and question.claim:
        said.append(
            "Verdict: better than a control where Holm's p of the Wilcoxon test is below .05 and the effect positive; "
            "hardest control: that of the lowest effect."
        )
    return said


def _failures(main: pd.DataFrame) -> list[str]:
    """Why images have no score, the commonest reasons first; blank and excluded ones have their own counts."""
    failed = main[main["note"].notna() & ~main["note"].str.startswith(("blank", "excluded"), na=False)]
    images = failed.groupby("note")["image_id"].nunique().sort_values(ascending=False, kind="stable")
    more = [f"No score for {images[REASONS:].sum()} more image(s), for other reasons."] if len(images) > REASONS else []
    return [f"No score for {count} image(s): {note}" for note, count in images[:REASONS].items()] + more


def _facts(store: Store, run: int, question: Question, main: pd.DataFrame, names: Mapping[int, str]) -> list[str]:
    """What methods had to decide on the way, over the maps that have a score."""
    facts = store.query(FACTS, run=run, roles=list(question.roles))
    scored = main[main["value"].notna()].drop_duplicates(["method_id", "image_id"])
    scored = scored[["method_id", "image_id", "value"]].rename(columns={"value": "score"})
    facts = facts.merge(scored, on=["method_id", "image_id"])
    remarks = []
    for id, frame in facts.groupby("method_id"):
        said = [_fact_words(str(name).replace("_", " "), rows["value"]) for name, rows in frame.groupby("name")]
        remarks.append(f"{names[id]}: {'; '.join(said)}.")
        if "top2" in question.roles and main["level"].nunique() <= 2:  # one level, and 0 for what is noted
            remarks += _rival_remark(names[id], frame, question.metrics[question.metric].digits)
    return remarks


def _fact_words(name: str, values: pd.Series) -> str:
    """What is true or false is counted; a number, whose name ends in ` =`, has a median, a range and a count."""
    if not name.endswith(" ="):
        return f"{name} in {int(values.sum())} of {len(values)} maps"
    return f"{name[:-2]} {values.median():.3g} ({values.min():.3g} to {values.max():.3g}, {len(values)} maps)"


def _rival_remark(method: str, frame: pd.DataFrame, digits: int) -> list[str]:
    """CASE can only part two classes where the one is among the other's contrasts (spec: 9.5)."""
    rivals = frame[(frame["name"] == "rival_in_contrast") & (frame["role"] == "top1")]
    if rivals["value"].nunique() < 2:
        return []
    inside, outside = (rivals.loc[rivals["value"] == flag, "score"] for flag in (1.0, 0.0))
    first, second = (f"{np.median(scores):.{digits}f}" for scores in (inside, outside))
    return [
        f"{method}: median {first} in the {len(inside)} images whose top 2 is a contrast of top 1, "
        f"{second} in the other {len(outside)}."
    ]
