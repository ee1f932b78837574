"""Soundness: does the map depend on the class and on the model, and on nothing else?"""

from salcheck.naming.roles import TOP1, TOP2
from salcheck.questions._row import HIGHER, LOWER, NEITHER, Metric, Question


def _sanity_metrics() -> dict[str, Metric]:
    """How like the trained model's map the map of a model with random weights is."""
    measures = {"spearman_abs": "rank correlation without signs", "spearman": "rank correlation", "ssim": "SSIM"}
    modes = {
        "": "weights random from the head down to the layer",
        "_independent": "weights random in this layer alone",
        "_frozen": "as the first, references those of the trained model",
        "_independent_frozen": "in this layer alone, references those of the trained model",
    }
    metrics = {
        f"{name}{suffix}": Metric(f"{words}, {how}", LOWER, curve=True)
        for name, words in measures.items()
        for suffix, how in modes.items()
    }
    metrics |= {f"{name}_pair": Metric(f"{words} of maps of two images", NEITHER) for name, words in measures.items()}
    metrics |= {
        f"{name}_labels": Metric(f"{words}, model trained on permuted labels", LOWER)
        for name, words in measures.items()
    }
    return {
        "excess": Metric("mean likeness from the head to the input, above halfway from two images' to 1", LOWER),
        "excess_last": Metric("likeness left when all weights are random, above that of two images", LOWER),
    } | metrics


ROWS = (
    Question(
        name="rq1",
        title="Class sensitivity: do the maps for the two most likely classes differ?",
        diagnostic="overlap",
        roles=(TOP1, TOP2),
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
        name="sensitivity",
        title="Sensitivity: how far does the map move when the image hardly changes?",
        diagnostic="sensitivity",
        roles=(TOP1,),
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
        name="stability",
        title="Stability: does the map stay when the image changes in ways that leave the class as it is?",
        diagnostic="stability",
        roles=(TOP1,),
        metric="agreement",
        metrics={
            "agreement": Metric("% of the most salient pixels that stay, mean over the changes", HIGHER, 1),
            "shared": Metric("% of the most salient pixels that stay", HIGHER, 1, curve=True),
            "spearman": Metric("rank correlation of the two maps", HIGHER, curve=True),
            "same_class": Metric("1 where the predicted class stays", HIGHER, curve=True),
        },
        claim="",  # nothing stays better than a map that does not look at the image
        source="salcheck, the same-class control that rq1 lacks; changes after Adebayo et al. and Bansal et al., 2020",
        level="change",
        variants=({"percent": 20.0}, {"layer": "paper"}),
    ),
    Question(
        name="sanity",
        title="Sanity: does the map change when the weights of the model are random?",
        diagnostic="sanity",
        roles=(TOP1,),
        metric="excess",
        metrics=_sanity_metrics(),
        claim="weight-driven",
        source="Adebayo et al., NeurIPS 2018; baseline of random pairs after Arun et al., 2021",
        level="layer",
        threshold=0.0,
        variants=({"layer": "paper"},),
    ),
    Question(
        name="layers",
        title="Layers: does a method tell classes apart wherever the model is cut?",
        diagnostic="layers",
        roles=(TOP1, TOP2),
        metric="overlap",
        metrics={
            "overlap": Metric("% of the most salient pixels shared", LOWER, 1, curve=True),
            "tied": Metric("% of the sets chosen by position among equal values", NEITHER, 1),
        },
        claim="class-distinct",
        source="CASE, arXiv 2506.07327 v3, section 4.2 (Table 2)",
        level="layer",
        threshold=50.0,
        paired=False,
        variants=({"percent": 20.0},),
    ),
    Question(
        name="channels",
        title="Channels: how many channels are active at all, layer by layer?",
        diagnostic="channels",
        roles=(),
        metric="active",
        metrics={
            "active": Metric("share of channels whose mean is above the threshold", NEITHER, curve=True),
            "active_0": Metric("share above 0", NEITHER, curve=True),
            "active_001": Metric("share above 0.01", NEITHER, curve=True),
            "active_01": Metric("share above 0.1", NEITHER, curve=True),
            "active_relative": Metric("share above a tenth of the highest mean", NEITHER, curve=True),
            "channels": Metric("channels of the layer", NEITHER, 0, curve=True),
        },
        claim="",
        source="CASE, arXiv 2506.07327 v3, section 4.3 (equation 10), as shares and not as counts",
        level="layer",
        paired=False,
        variants=({"tau": 0.1},),
    ),
    Question(
        name="completeness",
        title="Completeness: does the map sum to what its method says it sums to?",
        diagnostic="completeness",
        roles=(TOP1,),
        metric="error",
        metrics={
            "error": Metric("|sum of the map - what it should be|, relative to the latter", LOWER, 4),
            "sum": Metric("sum of the map", NEITHER),
            "total": Metric("what the method says it sums to", NEITHER),
        },
        claim="",  # who claims no sum has no error
        source="Sundararajan et al., ICML 2017 (completeness); Montavon et al., 2018 (conservation)",
        variants=({"layer": "paper"},),
    ),
)
