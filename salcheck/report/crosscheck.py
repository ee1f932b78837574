"""Whether the ranking of methods holds when the same question is asked under the field's differing readings."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from salcheck.naming.parameters import write
from salcheck.questions import HIGHER, Question, find
from salcheck.report.section import Section
from salcheck.report.stats import rank_agreement
from salcheck.store.results import Store

SAME = ("question", "model", "weights", "transform", "device", "dtype", "dataset_digest", "seed", "drawn", "reference")

SCORES = """
SELECT spec, level, image_id, value FROM scores JOIN methods ON methods.id = method_id
WHERE run_id = :run AND metric = :metric AND value IS NOT NULL
"""


@dataclass(frozen=True)
class Reading:
    """One way to ask: `words` say what differs. images: on how many of them, at one level or more, all methods have a
    score. ranking: methods and controls by their mean there, the best first. tau: Kendall's tau-b with the first
    reading, over the methods that both have, each that goes by two names once; None where there is no ranking.
    """

    run: int
    words: str
    images: int
    ranking: Sequence[tuple[str, float]]
    tau: float | None
    tau_with_controls: float | None


@dataclass(frozen=True)
class CrossCheck:
    """The readings of one question of one model on images of one draw, the reading that the section tells of first."""

    question: Question
    about: Mapping[str, Any]
    readings: Sequence[Reading]


def families(abouts: Sequence[dict[str, Any]]) -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Runs that are told of in full, each with those that ask the same under one other reading; every run is in it."""
    bases = [about for about in abouts if not any(_comes_before(other, about) for other in abouts)]
    home = {
        about["run"]: next((base["run"] for base in bases if variant_of(about, base)), about["run"])
        for about in abouts
        if about not in bases
    }
    told = [about for about in abouts if home.get(about["run"], about["run"]) == about["run"]]
    return [
        (base, [about for about in abouts if home.get(about["run"]) == base["run"] != about["run"]]) for base in told
    ]


def _comes_before(base: Mapping[str, Any], about: Mapping[str, Any]) -> bool:
    """Whether a run varies another one; where each varies the other, the earlier is the one that is varied."""
    return variant_of(about, base) and not (variant_of(base, about) and about["run"] < base["run"])


def variant_of(about: Mapping[str, Any], base: Mapping[str, Any]) -> bool:
    """Whether a run asks what another one asked, with one setting changed that `questions` calls a variant.

    Where no methods are asked there is nothing to rank: every run is told of in full.
    """
    if about["run"] == base["run"] or any(about[name] != base[name] for name in SAME):
        return False
    if not find(base["question"]).roles:
        return False
    own, others = _settings(about), _settings(base)
    if about["layer"] != base["layer"]:
        return own == others and about["run"] > base["run"]
    changes = [change for change in find(base["question"]).variants if "layer" not in change]
    return own != others and any(own == others | dict(change) for change in changes)


def _settings(about: Mapping[str, Any]) -> dict[str, Any]:
    """A run's parameters, less those that follow from the others."""
    return {k: v for k, v in json.loads(about["parameters"]).items() if k not in ("roles", "levels")}


def cross_check(store: Store, section: Section, others: Sequence[Mapping[str, Any]]) -> CrossCheck:
    """The rankings of all readings, and how far they agree with that of the section."""
    controls = {line.method for line in section.lines if line.control or line.floor}
    twins = {line.method for line in section.lines if line.same_as}
    first, _ = _means(store, section.about, section.question)
    readings = []
    for about in (section.about, *others):
        means, images = _means(store, about, section.question)
        own = about is section.about
        both = [name for name in first if name in means and name not in twins and not own]
        agreements = [
            rank_agreement([first[name] for name in names], [means[name] for name in names])
            for names in ([name for name in both if name not in controls], both)
        ]
        words = "as above" if own else _words(about, section.about)
        readings.append(Reading(about["run"], words, images, _ranking(means, section.question), *agreements))
    return CrossCheck(section.question, section.about, readings)


def _means(store: Store, about: Mapping[str, Any], question: Question) -> tuple[dict[str, float], int]:
    """The mean score of every method over the images and levels at which all have one, and how many images are left."""
    rows = store.query(SCORES, run=about["run"], metric=question.metric)
    table: pd.DataFrame = rows.pivot(index=["image_id", "level"], columns="spec", values="value").dropna()
    means = {str(name): float(mean) for name, mean in table.mean().items()} if len(table) else {}
    return means, table.index.get_level_values("image_id").nunique()


def _ranking(means: Mapping[str, float], question: Question) -> list[tuple[str, float]]:
    sign = -1 if question.metrics[question.metric].better == HIGHER else 1
    return sorted(means.items(), key=lambda pair: sign * pair[1])


def _words(about: Mapping[str, Any], base: Mapping[str, Any]) -> str:
    if about["layer"] != base["layer"]:
        return f"layer={about['layer']}"
    own, others = _settings(about), _settings(base)
    return ", ".join(f"{name}={write(value)}" for name, value in own.items() if value != others.get(name))
