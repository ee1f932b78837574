"""Remarks below a section's tables: where its numbers come from, how they were tested, what is missing."""

import json
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from salcheck.naming.words import fed
from salcheck.questions import HIGHER, Metric
from salcheck.report.records import Line
from salcheck.report.stats import CONFIDENCE, RESAMPLES, ZERO_METHOD
from salcheck.report.stored import FEWEST, Stored
from salcheck.store.accuracy import accuracy

TIES = (
    "ties: images where position or chance, not value, chose some pixels of a set; blank: images without a score "
    "because a map has too few positive pixels."
)
COUNTED_APART = ("blank", "excluded")  # kinds of notes with columns of their own
REASONS = 5  # the most that are listed; the rest are counted

FACTS = """
SELECT facts.method_id, role, facts.name, facts.image_id, facts.flag, facts.value
FROM facts JOIN runs ON runs.model_id = facts.model_id
JOIN run_images ON run_images.run_id = runs.id AND run_images.image_id = facts.image_id
WHERE runs.id = :run AND role IN :roles
"""

ATTEMPTS = "SELECT batch_size, device, versions FROM attempts WHERE run_id = :run ORDER BY id"
OLDER = """
SELECT DISTINCT methods.spec FROM scores JOIN methods ON methods.id = scores.method_id
WHERE scores.run_id = :run AND scores.method_id NOT IN :shown
"""


def remarks_of(stored: Stored, lines: Sequence[Line], pairs: int) -> list[str]:
    """The remarks on one run. pairs: the number of comparisons."""
    hurdles = {line.method: "floor" if line.floor else "control" for line in lines if line.floor or line.control}
    twins = dict.fromkeys(
        f"{line.method} is {line.same_as}{f' (a {hurdles[line.same_as]})' if line.same_as in hurdles else ''}"
        for line in lines
        if line.same_as
    )
    same = f"Same ranking of pixels in every image (proportional maps), counted once: {', '.join(twins)}."
    return [
        *_model(stored),
        *_images(stored),
        *_classes(stored),
        *_tests(stored, lines, pairs),
        *([TIES] if "tied" in stored.question.metrics else []),
        *([same] if twins else []),
        *_failures(stored),
        *_attempts(stored),
        *_older(stored),
        # Where levels have names, they are layers or changed images: facts are stored of one of them only.
        *([] if json.loads(stored.about["parameters"]).get("levels") else _facts(stored)),
        *([] if stored.question.roles else _extremes(stored, lines)),
    ]


def _model(stored: Stored) -> list[str]:
    """What the model was fed, how many images it classifies correctly, and what had to be decided about it."""
    given, seen = json.loads(stored.about["input"]), accuracy(stored.store, stored.run)
    said = [*([fed(given)] if given else []), *([str(seen)] if seen.of and seen.chance < 1 else [])]
    doubt = ["Chance alone could give this many right."] if seen.no_better_than_chance else []
    notes = [f"Of the model: {note}." for note in json.loads(stored.about["notes"])]
    return [*([f"Model: {', '.join(said)}."] if said else []), *doubt, *notes]


def _images(stored: Stored) -> list[str]:
    about, main = stored.about, stored.main
    parameters, drawn = json.loads(about["parameters"]), about["drawn"]
    done = int(main.groupby("method_id")["image_id"].nunique().min()) if len(main) else 0
    kept = "correctly classified ones only" if parameters["correct_only"] else "right or wrong"
    source = f"{about['dataset']} (seed {about['seed']})"
    left = _excluded(main)
    unfinished = f"UNFINISHED: every method is scored on {done} of {drawn} images; `salcheck eval -n {drawn}` goes on."
    return [
        *([unfinished] if done < drawn else []),
        f"{drawn} images drawn from {source}, {kept}{left}; reference: {about['reference']}.",
    ]


def _attempts(stored: Stored) -> list[str]:
    """How many processes worked on the run, and in what they differ: the last bits of a score can depend on it."""
    rows = stored.store.query(ATTEMPTS, run=stored.run)
    if len(rows) < 2:
        return []
    seen: dict[str, list[str]] = {}
    for batch_size, device, versions in rows.itertuples(index=False):
        for name, value in {"batch size": batch_size, "device": device, **json.loads(versions)}.items():
            seen.setdefault(name, []).append(str(value))
    differ = [f"{name} {' and '.join(dict.fromkeys(values))}" for name, values in seen.items() if len(set(values)) > 1]
    alike = "alike in batch size, device and versions"
    return [f"Scored in {len(rows)} attempts: {', '.join(differ) or alike}."]


def _older(stored: Stored) -> list[str]:
    shown = [method.id for method in stored.methods]
    specs = sorted(stored.store.query(OLDER, run=stored.run, shown=shown)["spec"]) if shown else []
    if not specs:
        return []
    return [f"Scores by other code of {', '.join(specs)} are stored too; those of the last used are shown."]


def _excluded(main: pd.DataFrame) -> str:
    """How many images the question leaves out, with the reasons unless all were classified wrongly."""
    notes = main.loc[main["kind"] == "excluded", ["image_id", "note"]].drop_duplicates()
    counts = notes["note"].value_counts()
    if counts.empty:
        return ""
    if list(counts.index) == ["not correctly classified"]:
        return f"; {counts.iloc[0]} others are excluded"
    return f"; excluded: {', '.join(f'{count} ({reason})' for reason, count in counts.items())}"


def _classes(stored: Stored) -> list[str]:
    """Whether images were clustered by class, and why."""
    n, classes = len(stored.images), stored.images["class"].nunique()
    labelled = int(stored.images["class"].notna().sum())
    if np.unique(stored.clusters).size < n:
        return [
            f"Clustered by class: {n} images of {classes} classes; intervals resample whole classes, tests flip "
            "the signs of whole classes."
        ]
    if classes < labelled and classes < FEWEST:
        return [
            f"Not clustered by class: {n} images of {classes} classes, too few to stand for others (fewer than "
            f"{FEWEST}); images count as independent, and conclusions hold for these classes only."
        ]
    return []


def _tests(stored: Stored, lines: Sequence[Line], pairs: int) -> list[str]:
    question, threshold = stored.question, stored.threshold
    bootstrap = f"{CONFIDENCE:.0%}, {RESAMPLES} resamples"
    remarks = []
    if threshold is not None:
        distinct, levels = len(stored.distinct), len({line.level for line in lines})
        family = f"{distinct}" if levels < 2 else f"{distinct}, at {levels} levels"
        side = "above" if question.metrics[question.metric].better == HIGHER else "below"
        remarks.append(
            f"p: one-sided Wilcoxon signed-rank test that scores lie {side} {threshold:g}, zero_method={ZERO_METHOD}; "
            f"Holm over the distinct methods of this run ({family}), controls not counted; effect: rank-biserial; "
            f"CI: percentile bootstrap of the median, {bootstrap}."
        )
    if pairs:
        interval = "CI" if threshold is not None else "CI of a mean and"
        remarks.append(
            f"Differences: paired by image, two-sided Wilcoxon signed-rank test, zero_method={ZERO_METHOD}, and t; "
            f"Holm over the {pairs} comparisons of this run; effect: rank-biserial, positive where the first is better;"
            f" {interval} of a mean difference: percentile bootstrap, {bootstrap}."
        )
    elif threshold is None:
        remarks.append(f"CI of a mean: percentile bootstrap, {bootstrap}.")
    if pairs and threshold is None and question.claim:
        hurdle = "a control or floor" if any(line.floor for line in lines) else "a control"
        remarks.append(
            f"Verdict: better than {hurdle} where Holm's p of the Wilcoxon test is below .05 and the effect positive; "
            f"hardest control: that of the lowest effect."
        )
    return remarks


def chosen_levels(metric: str, row: Metric, levels: Mapping[str, tuple[float | None, float | None]]) -> list[str]:
    """The levels of the curve at which the two halves of the images were read, for each method."""
    shown = [
        f"{spec} {' and '.join(f'{level:g}' for level in dict.fromkeys(both) if level is not None)}"
        for spec, both in levels.items()
    ]
    if not shown:
        return []
    return [
        f"{metric}: images are split into halves by a seeded hash of their key, and each half is read at the level of "
        f"{row.best_of} that is best on the other one: {', '.join(shown)}."
    ]


def _extremes(stored: Stored, lines: Sequence[Line]) -> list[str]:
    """The classes with the lowest and the highest mean of the tested metric, at every level."""
    digits = stored.question.metrics[stored.question.metric].digits
    scored = stored.main[stored.main["value"].notna()].assign(
        of=lambda rows: rows["image_id"].map(stored.images["class"])
    )
    ranges = []
    for line in lines:
        means = scored[scored["level"] == line.level].groupby("of")["value"].agg(["mean", "size"])
        if means["mean"].nunique() < 2:  # one class only, or all means equal
            continue
        ends = [
            (means.loc[u, "mean"], u, means.loc[u, "size"]) for u in (means["mean"].idxmin(), means["mean"].idxmax())
        ]
        lowest, highest = (f"{mean:.{digits}f} (class {u:.0f}, N {size:.0f})" for mean, u, size in ends)
        ranges.append(f"{line.level_name}: {lowest} to {highest}")
    return [f"Means of single classes, lowest to highest: {'; '.join(ranges)}."] if ranges else []


def _failures(stored: Stored) -> list[str]:
    """Why images have no score, the commonest reasons first. Blank and excluded images are counted elsewhere."""
    main, specs = stored.main, {method.id: method.spec for method in stored.methods}
    failed = main[main["kind"].notna() & ~main["kind"].isin(COUNTED_APART)]
    images = failed.groupby("note")["image_id"].nunique().sort_values(ascending=False, kind="stable")
    more = [f"No score for {images[REASONS:].sum()} more image(s), for other reasons."] if len(images) > REASONS else []
    remarks = []
    for note, count in images[:REASONS].items():
        concerned = failed.loc[failed["note"] == note, "method_id"].unique()
        whose = f" ({', '.join(specs[id] for id in concerned)})" if len(concerned) < len(specs) else ""
        remarks.append(f"No score for {count} image(s): {note}{whose}")
    return [*remarks, *more]


def _facts(stored: Stored) -> list[str]:
    """What methods noted about their maps, over the maps that have a score."""
    question, main = stored.question, stored.main
    specs = {method.id: method.spec for method in stored.methods}
    if not stored.roles:
        return []
    facts = stored.store.query(FACTS, run=stored.run, roles=stored.roles)
    scored = main[main["value"].notna()].drop_duplicates(["method_id", "image_id"])
    scored = scored[["method_id", "image_id", "value"]].rename(columns={"value": "score"})
    facts = facts.merge(scored, on=["method_id", "image_id"])
    remarks = []
    for id, frame in facts.groupby("method_id"):
        named = frame.groupby("name")
        words = [
            _fact_words(str(name).replace("_", " "), bool(rows["flag"].all()), rows["value"]) for name, rows in named
        ]
        remarks.append(f"{specs[id]}: {'; '.join(words)}.")
        if "top2" in stored.roles and main["level"].nunique() <= 2:  # one level, and 0 for what is noted
            remarks += _rival_remark(specs[id], frame, question.metrics[question.metric].digits)
    return remarks


def _fact_words(name: str, flag: bool, values: pd.Series) -> str:
    """What is true or false is counted; a number has a median, a range and a count."""
    if flag:
        return f"{name} in {int(values.sum())} of {len(values)} maps"
    return f"{name} {values.median():.3g} ({values.min():.3g} to {values.max():.3g}, {len(values)} maps)"


def _rival_remark(method: str, frame: pd.DataFrame, digits: int) -> list[str]:
    """CASE can separate two classes only where one is among the contrasts of the other (spec: 9.5)."""
    rivals = frame[(frame["name"] == "rival_in_contrast") & (frame["role"] == "top1")]
    if rivals["value"].nunique() < 2:
        return []
    inside, outside = (rivals.loc[rivals["value"] == flag, "score"] for flag in (1.0, 0.0))
    first, second = (f"{np.median(scores):.{digits}f}" for scores in (inside, outside))
    return [
        f"{method}: median {first} in the {len(inside)} images whose top 2 is a contrast of top 1, "
        f"{second} in the other {len(outside)}."
    ]
