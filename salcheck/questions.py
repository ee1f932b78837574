"""Table of questions: what is measured, what is claimed of it, and when the claim holds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

HIGHER, LOWER, NEITHER = 1, -1, 0


@dataclass(frozen=True)
class Metric:
    """One number of a diagnostic: what it is in words, and whether higher or lower is better, or neither.

    `digits` after the point in tables. `curve`: it is a curve over levels, and drawn.
    """

    title: str
    better: int = HIGHER
    digits: int = 3
    curve: bool = False


@dataclass(frozen=True)
class Question:
    """A diagnostic asked of many images.

    `roles` are the classes that each method explains. The claim is on `metric`, one of `metrics`: with a `threshold`,
    it holds for a method whose scores are better than that; without one, for a method that is better than every
    control on the same images; an empty claim is none. `paired` says whether methods are compared with each other at
    all, `level` what a score's level is, `variants` which settings the field disagrees on (`layer` is the model's, all
    others are the diagnostic's).
    """

    name: str
    title: str
    diagnostic: str
    roles: tuple[str, ...]
    metric: str
    metrics: Mapping[str, Metric]
    claim: str
    source: str
    level: str = ""
    threshold: float | None = None
    paired: bool = True
    parameters: Mapping[str, Any] = field(default_factory=dict)
    variants: Sequence[Mapping[str, Any]] = ()


BETTER = "better than every control"


def _quality_metrics() -> dict[str, Metric]:
    """Libra-CAM's measures of the map as it is, calibrated on what it is measured with, and on something else."""
    metrics: dict[str, Metric] = {}
    for suffix, words in (("_out_of_loop", "calibrated elsewhere"), ("_in_loop", "calibrated here"), ("", "as it is")):
        metrics |= {
            f"change{suffix}": Metric(f"score through the map minus score, {words}", HIGHER),
            f"api{suffix}": Metric(f"increase (API), {words}", HIGHER),
            f"apd{suffix}": Metric(f"decrease (APD), {words}", LOWER),
            f"api_relative{suffix}": Metric(f"increase, relative to the score, {words}", HIGHER),
            f"apd_relative{suffix}": Metric(f"decrease, relative to the score, {words}", LOWER),
            f"ir{suffix}": Metric(f"1 where the score rises (IR), {words}", HIGHER),
            f"dr{suffix}": Metric(f"1 where the score falls (DR), {words}", LOWER),
            f"mask_mean{suffix}": Metric(f"mean of the mask, {words}", NEITHER),
            f"kept{suffix}": Metric(f"share of pixels that are not zero, {words}", NEITHER),
        }
    return metrics | {
        "auc_api_index": Metric("area under API over the thresholds 0...9", HIGHER),
        "through": Metric("score through the map without its lowest pixels", HIGHER, curve=True),
        "insertion": Metric("area under the insertion curve", HIGHER),
        "deletion": Metric("area under the deletion curve", LOWER),
    }


ROWS = (
    Question(
        name="rq1",
        title="Class sensitivity: do the maps for the two most likely classes differ?",
        diagnostic="overlap",
        roles=("top1", "top2"),
        metric="overlap",
        metrics={
            "overlap": Metric("% of the most salient pixels shared", LOWER, 1),
            "tied": Metric("% of the sets chosen by position among equal values", NEITHER, 1),
        },
        claim="class-distinct",
        source="CASE, arXiv 2506.07327 v3, section 4 (research question 1)",
        level="% of the picture",
        threshold=50.0,
        paired=False,
        variants=({"percent": 20.0}, {"layer": "paper"}),
    ),
    Question(
        name="rq2",
        title="Confidence drop: how much of the class's score goes with the most salient pixels?",
        diagnostic="confidence-drop",
        roles=("top1",),
        metric="drop",
        metrics={
            "drop": Metric("score lost, relative to what it was, not below 0", HIGHER, curve=True),
            "difference": Metric("score before minus score after", HIGHER, curve=True),
            "before": Metric("score on the whole image", NEITHER),
            "after": Metric("score without the pixels", LOWER),
            "tied": Metric("% of the set chosen among equal values", NEITHER, 1),
        },
        claim=BETTER,
        source="CASE, arXiv 2506.07327 v3, section 4 (research question 2)",
        level="% removed",
        variants=(
            {"output": "logit"},
            {"fill": "blur"},
            {"fill": "inpaint"},
            {"fill": "zero"},
            {"ties": "random"},
            {"ranking": "native"},
            {"layer": "paper"},
        ),
    ),
    Question(
        name="road",
        title="ROAD: how much of the score goes with pixels that are removed and linearly imputed?",
        diagnostic="road",
        roles=("top1",),
        metric="morf",
        metrics={
            "morf": Metric("score lost with the most relevant pixels", HIGHER, curve=True),
            "lerf": Metric("score lost with the least relevant pixels", LOWER, curve=True),
            "gap": Metric("score lost with the most relevant minus that with the least", HIGHER, curve=True),
            "before": Metric("score on the whole image", NEITHER),
            "tied": Metric("% of the most relevant chosen among equal values", NEITHER, 1),
        },
        claim=BETTER,
        source="Rong et al., ICML 2022; as asked by DiffCAM, CVPR 2025, section 4.1",
        level="% removed",
        variants=(
            {"output": "logit"},
            {"space": "pixels"},
            {"ties": "position"},
            {"ranking": "native"},
            {"layer": "paper"},
        ),
    ),
    Question(
        name="deletion",
        title="Deletion: how soon does the score fall when pixels go in the order of the map?",
        diagnostic="deletion",
        roles=("top1",),
        metric="deletion",
        metrics={
            "deletion": Metric("area under the curve of the score", LOWER),
            "removed": Metric("score without so many of the pixels", LOWER, curve=True),
        },
        claim=BETTER,
        source="Petsiuk et al., BMVC 2018, section 4.2",
        level="% removed",
        variants=(
            {"output": "logit"},
            {"fill": "blur"},
            {"fill": "grey"},
            {"fill": "zero"},
            {"ties": "position"},
            {"ranking": "native"},
            {"layer": "paper"},
        ),
    ),
    Question(
        name="insertion",
        title="Insertion: how soon does the score rise when pixels come in the order of the map?",
        diagnostic="insertion",
        roles=("top1",),
        metric="insertion",
        metrics={
            "insertion": Metric("area under the curve of the score", HIGHER),
            "inserted": Metric("score with so many of the pixels", HIGHER, curve=True),
        },
        claim=BETTER,
        source="Petsiuk et al., BMVC 2018, section 4.2",
        level="% inserted",
        variants=(
            {"output": "logit"},
            {"fill": "mean"},
            {"fill": "grey"},
            {"fill": "zero"},
            {"ties": "position"},
            {"ranking": "native"},
            {"layer": "paper"},
        ),
    ),
    Question(
        name="quality",
        title="Map quality: what is left of the score when the image is seen through the map?",
        diagnostic="quality",
        roles=("top1",),
        metric="change_out_of_loop",
        metrics=_quality_metrics(),
        claim=BETTER,
        source="Libra-CAM, Lee and Han, IJCAI 2022",
        level="% of the pixels zeroed, the lowest first",
        variants=(
            {"output": "logit"},
            {"fill": "zero"},
            {"fill": "blur", "calibrate_on": "mean"},
            {"mode": "unrectified"},
            {"layer": "paper"},
        ),
    ),
    Question(
        name="averagedrop",
        title="Average drop, increase, gain and ADCC: does the score survive where the map is high?",
        diagnostic="averagedrop",
        roles=("top1",),
        metric="adcc",
        metrics={
            "adcc": Metric("harmonic mean of coherency, 1 - complexity, 1 - drop", HIGHER),
            "drop": Metric("average drop: score lost through the map, relative, not below 0", LOWER),
            "increase": Metric("increase in confidence: 1 where the score rises, else 0", HIGHER),
            "gain": Metric("average gain: part of the missing score that is gained", HIGHER),
            "coherency": Metric("correlation with the map of the image seen through the map, in 0...1", HIGHER),
            "complexity": Metric("mean of the map, scaled to 0...1", LOWER),
        },
        claim=BETTER,
        source="Chattopadhyay et al., WACV 2018; Zhang et al., 2024 (gain); Poppi et al., CVPR Workshops 2021 (ADCC)",
        variants=({"output": "logit"}, {"fill": "blur"}, {"fill": "zero"}, {"layer": "paper"}),
    ),
    Question(
        name="infidelity",
        title="Infidelity: does the map say how the score changes when the image is disturbed?",
        diagnostic="infidelity",
        roles=("top1",),
        metric="unexplained",
        metrics={
            "unexplained": Metric("share of the squared change of the score that the map does not foretell", LOWER),
            "infidelity": Metric("mean squared error of the change that the map foretells, at its best scale", LOWER),
        },
        claim=BETTER,
        source="Yeh et al., NeurIPS 2019",
        variants=(
            {"output": "softmax"},
            {"scale": "signed"},
            {"fill": "blur"},
            {"perturbation": "noise"},
            {"layer": "paper"},
        ),
    ),
    Question(
        name="sensitivity",
        title="Sensitivity: how far does the map move when the image hardly changes?",
        diagnostic="sensitivity",
        roles=("top1",),
        metric="sensitivity",
        metrics={
            "sensitivity": Metric("largest relative change of the map", LOWER),
            "mean_change": Metric("mean relative change of the map", LOWER),
        },
        claim="",  # nothing moves less than a map that does not look at the image
        source="Yeh et al., NeurIPS 2019",
        variants=({"radius": 0.2}, {"layer": "paper"}),
    ),
    Question(
        name="faithfulness-correlation",
        title="Faithfulness correlation: does the score fall as much as the map says of random subsets?",
        diagnostic="faithfulness-correlation",
        roles=("top1",),
        metric="correlation",
        metrics={"correlation": Metric("Pearson correlation over random subsets", HIGHER)},
        claim=BETTER,
        source="Bhatt et al., IJCAI 2020",
        variants=({"output": "softmax"}, {"fill": "zero"}, {"fill": "blur"}, {"cells": 14}, {"layer": "paper"}),
    ),
    Question(
        name="contrastive",
        title="Contrastive faithfulness: does a class lose more to its own map than to its rival's?",
        diagnostic="contrastive",
        roles=("top1", "top2"),
        metric="contrast",
        metrics={
            "contrast": Metric("fall of s_u - s_v by the map of u, minus that by the map of v", HIGHER, curve=True),
            "own": Metric("fall of s_u - s_v without the top of the map of u", HIGHER, curve=True),
            "other": Metric("fall of s_u - s_v without the top of the map of v", LOWER, curve=True),
        },
        claim="contrastive",
        source="salcheck, after CASE, arXiv 2506.07327, question 2, which asks of one class only",
        level="% removed",
        threshold=0.0,
        variants=(
            {"output": "softmax"},
            {"fill": "blur"},
            {"fill": "inpaint"},
            {"fill": "zero"},
            {"ties": "random"},
            {"ranking": "native"},
            {"layer": "paper"},
        ),
    ),
)

QUESTIONS = {question.name: question for question in ROWS}
