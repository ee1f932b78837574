"""Whether the ranking of methods holds when the same question is asked under the field's differing readings."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from salcheck.parameters import write
from salcheck.questions import HIGHER, QUESTIONS, Question
from salcheck.stats import rank_agreement
from salcheck.store import Store

SAME = ("question", "model", "weights", "transform", "device", "dtype", "dataset_digest", "seed", "drawn", "reference")

MEANS = """
SELECT spec, control, image_id, AVG(value) AS value FROM scores JOIN methods ON methods.id = method_id
WHERE run_id = :run AND metric = :metric AND value IS NOT NULL
GROUP BY spec, control, image_id
"""


@dataclass(frozen=True)
class Reading:
    """One way to ask: `words` say what differs. ranking: methods and controls by their mean score over all images and
    levels, the best first. tau: Kendall's tau-b with the first reading, over the methods that both have.
    """

    run: int
    words: str
    ranking: Sequence[tuple[str, float]]
    tau: float | None


@dataclass(frozen=True)
class CrossCheck:
    """The readings of one question of one model on the same images, the reading that the section tells of first."""

    question: Question
    about: Mapping[str, Any]
    readings: Sequence[Reading]

    @property
    def lowest(self) -> float | None:
        return min((reading.tau for reading in self.readings[1:] if reading.tau is not None), default=None)


def variant_of(about: Mapping[str, Any], base: Mapping[str, Any]) -> bool:
    """Whether a run asks what another one asked, with one setting changed that `questions.py` calls a variant."""
    if about["run"] == base["run"] or any(about[name] != base[name] for name in SAME):
        return False
    own, others = json.loads(about["parameters"]), json.loads(base["parameters"])
    if about["layer"] != base["layer"]:
        return own == others and about["run"] > base["run"]
    changes = [change for change in QUESTIONS[base["question"]].variants if "layer" not in change]
    return own != others and any(own == others | change for change in changes)


def cross_check(store: Store, base: Mapping[str, Any], others: Sequence[Mapping[str, Any]]) -> CrossCheck:
    """The rankings of all readings, and how far they agree with the first."""
    question = QUESTIONS[base["question"]]
    means = [_means(store, about, question) for about in (base, *others)]
    readings = [Reading(base["run"], "as above", _ranking(means[0], question), None)]
    for about, own in zip(others, means[1:], strict=True):
        both = [name for name in means[0] if name in own]
        tau = rank_agreement([means[0][name] for name in both], [own[name] for name in both])
        readings.append(Reading(about["run"], _words(about, base), _ranking(own, question), tau))
    return CrossCheck(question, base, readings)


def _means(store: Store, about: Mapping[str, Any], question: Question) -> dict[str, float]:
    """The mean score of every method over the images that all methods have a score of."""
    rows = store.query(MEANS, run=about["run"], metric=question.metric)
    table: pd.DataFrame = rows.pivot(index="image_id", columns="spec", values="value").dropna()
    return {str(name): float(mean) for name, mean in table.mean().items()}


def _ranking(means: Mapping[str, float], question: Question) -> list[tuple[str, float]]:
    sign = -1 if question.metrics[question.metric].better == HIGHER else 1
    return sorted(means.items(), key=lambda pair: sign * pair[1])


def _words(about: Mapping[str, Any], base: Mapping[str, Any]) -> str:
    if about["layer"] != base["layer"]:
        return f"layer={about['layer']}"
    own, others = json.loads(about["parameters"]), json.loads(base["parameters"])
    return ", ".join(f"{name}={write(value)}" for name, value in own.items() if value != others.get(name))
