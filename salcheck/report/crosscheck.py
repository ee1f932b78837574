"""Whether the ranking of methods stays the same when a question is asked with other settings from the literature."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from salcheck.naming.parameters import write
from salcheck.questions import HIGHER, Question, find
from salcheck.report.records import Section
from salcheck.report.stats import rank_agreement
from salcheck.report.stored import NEWEST
from salcheck.store.results import Store

SAME = ("question", "model", "weights", "transform", "dtype", "dataset_digest", "seed", "drawn", "reference")

SCORES = f"""
SELECT spec, level, image_id, value FROM scores JOIN methods ON methods.id = method_id
WHERE run_id = :run AND metric = :metric AND value IS NOT NULL AND {NEWEST}
"""


@dataclass(frozen=True)
class Reading:
    """One question with one set of settings; `words` say what differs from the first reading.

    images: the number of images on which all methods have a score, at one level or more. ranking: (spec, mean over
    these images) of methods and controls, the best first. tau: Kendall's tau-b with the first reading, over the methods
    of both, duplicate methods counted once; None where it is undefined. tau_with_controls: the same with controls.
    """

    run: int
    words: str
    images: int
    ranking: Sequence[tuple[str, float]]
    tau: float | None
    tau_with_controls: float | None


@dataclass(frozen=True)
class CrossCheck:
    """The readings of one question, asked of one model on the same images. The first is that of the section."""

    question: Question
    about: Mapping[str, Any]
    readings: Sequence[Reading]


def families(abouts: Sequence[dict[str, Any]]) -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Runs with a section of their own, each with the runs that are readings of it. Every run appears once."""
    bases = [about for about in abouts if not any(_comes_before(other, about) for other in abouts)]
    home = {
        about["run"]: next((base["run"] for base in bases if variant_of(about, base)), about["run"])
        for about in abouts
        if about not in bases
    }
    heads = [about for about in abouts if home.get(about["run"], about["run"]) == about["run"]]
    return [
        (base, [about for about in abouts if home.get(about["run"]) == base["run"] != about["run"]]) for base in heads
    ]


def _comes_before(base: Mapping[str, Any], about: Mapping[str, Any]) -> bool:
    """Whether a run is a variant of `base`. Where each is a variant of the other, the later run is the variant."""
    return variant_of(about, base) and not (variant_of(base, about) and about["run"] < base["run"])


def variant_of(about: Mapping[str, Any], base: Mapping[str, Any]) -> bool:
    """Whether a run asks the question of `base` with one change that `questions` lists as a variant.

    Never for a question of the model itself: there are no methods to rank.
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
    """A run's parameters, without those that follow from the others."""
    return {k: v for k, v in json.loads(about["parameters"]).items() if k not in ("roles", "levels")}


def cross_check(store: Store, section: Section, others: Sequence[Mapping[str, Any]]) -> CrossCheck:
    """The ranking of every reading, and its agreement with the ranking of the section."""
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
    """The mean score by spec, over the images and levels at which all methods have one; and the number of images."""
    rows = store.query(SCORES, run=about["run"], metric=question.metric)
    table: pd.DataFrame = rows.pivot(index=["image_id", "level"], columns="spec", values="value").dropna()
    means = {str(spec): float(mean) for spec, mean in table.mean().items()} if len(table) else {}
    return means, table.index.get_level_values("image_id").nunique()


def _ranking(means: Mapping[str, float], question: Question) -> list[tuple[str, float]]:
    sign = -1 if question.metrics[question.metric].better == HIGHER else 1
    return sorted(means.items(), key=lambda pair: sign * pair[1])


def _words(about: Mapping[str, Any], base: Mapping[str, Any]) -> str:
    if about["layer"] != base["layer"]:
        return f"layer={about['layer']}"
    own, others = _settings(about), _settings(base)
    return ", ".join(f"{name}={write(value)}" for name, value in own.items() if value != others.get(name))
