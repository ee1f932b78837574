"""Published figures, and our figures beside them. They are shown in a column `reported` and nowhere else."""

from collections.abc import Iterator
from dataclasses import dataclass

from salcheck.report.records import Section

DIFFCAM = "DiffCAM, CVPR 2025, Table "
CASE = "CASE, arXiv 2506.07327 v3, Table 3"


@dataclass(frozen=True)
class Published:
    """One figure of a paper.

    network: timm's name without a weight tag. level: the level of our curve that the figure corresponds to, None where
    the paper does not say. rival: how `counterfactual` chose the other class. differs: what else may differ from ours.
    """

    question: str
    metric: str
    method: str
    network: str
    dataset: str
    value: float
    source: str
    differs: str
    level: float | None = 0.0
    rival: str = ""


@dataclass(frozen=True)
class Beside:
    """Our figure and the published one.

    Ours: the mean over n images with its 95 % interval, or the lowest and highest mean over the levels of a curve
    (`range`). reported: the published figure, None where there is none for this network.
    """

    metric: str
    method: str
    level: float | None
    n: int
    mean: float | None
    low: float | None
    high: float | None
    range: tuple[float, float] | None
    reported: float | None
    source: str
    differs: str


def _table(methods: str, **rows: str) -> Iterator[tuple[str, str, float]]:
    """(network, method, value) from a table with one row of figures per network."""
    for network, figures in rows.items():
        for method, figure in zip(methods.split(), figures.split(), strict=True):
            yield network, method, float(figure)


def _localization() -> Iterator[Published]:
    methods = "gradcam scorecam layercam xgradcam diffcam"
    iou = _table(methods, resnet50=".528 .511 .535 .447 .534", inception_v3=".524 .564 .583 .524 .583")
    for network, method, value in iou:
        unknown = "the threshold is not published; here the one that is best on other images"
        yield Published("localization", "iou_held_out", method, network, "imagenet", value, f"{DIFFCAM}1", unknown)
    auprc = _table(methods, resnet50=".727 .709 .738 .634 .741", inception_v3=".726 .771 .792 .726 .794")
    for network, method, value in auprc:
        unknown = "whether by trapezoids is not published"
        yield Published("localization", "auprc", method, network, "imagenet", value, f"{DIFFCAM}1", unknown)


def _medical() -> Iterator[Published]:
    methods = "diffcam gradcam scorecam layercam xgradcam integratedgradients guidedbackprop"
    figures = {"rsna": ".492 .467 .328 .366 .466 .317 .174", "siim": ".093 .076 .072 .071 .076 .063 .072"}
    unknown = "the network's training and whether by trapezoids are not in the paper"
    for dataset, row in figures.items():
        for network, method, value in _table(methods, inception_v3=row):
            yield Published("localization", "auprc", method, network, dataset, value, f"{DIFFCAM}3", unknown)


def _counterfactual() -> Iterator[Published]:
    figures = {  # for pairs of random classes, and of similar ones
        "recall_at": {"random": ".03 .09 .15", "similar": ".12 .16 .17"},
        "precision_at": {"random": ".77 .81 .83", "similar": ".57 .60 .61"},
        "piou_at": {"random": ".18 .16 .18", "similar": ".15 .15 .20"},
    }
    unknown = "the region's size is not published; scout stands beside GALORE"
    for metric, rows in figures.items():
        for rival, row in rows.items():
            for network, method, value in _table("goyal scout diffcam", resnet50=row):
                source = f"{DIFFCAM}2, {rival} classes"
                own = ("counterfactual", metric, method, network, "cub", value, source, unknown)
                yield Published(*own, level=None, rival=rival)


def _drop() -> Iterator[Published]:
    figures = _table(
        "ablationcam case gradcam gradcampp layercam scorecam",
        convnext_large=".1696 .2052 .1919 .1872 .1686 .2059",
        densenet201=".1140 .1163 .1131 .1244 .1248 .1248",
        resnet50=".1339 .1411 .136 .1395 .1405 .1349",
        vgg19_bn=".1354 .1317 .1328 .1020 .1539 .1473",
    )
    for network, method, value in figures:
        unknown = "the set's size is not published, 50 % in the authors' script; they cut at layer paper"
        yield Published("rq2", "drop", method, network, "imagenet", value, CASE, unknown, level=50.0)


PROTOCOLS: dict[str, dict[str, object]] = {  # settings with which a question measures what the papers measured
    "localization": {"target": "label", "single": True, "largest": 0.5},
    "counterfactual": {"percentile": 20.0},
    "rq2": {"output": "softmax", "fill": "mean", "transposed": False},
}
PUBLISHED = (*_localization(), *_medical(), *_counterfactual(), *_drop())


def beside(section: Section) -> list[Beside]:
    """Our means beside what papers report for the same question, metric, method, dataset and network.

    Rows of a network without published figures have none in `reported`. No rows for datasets or settings that are not
    those of the papers.
    """
    about = section.about
    protocol = PROTOCOLS.get(about["question"], {})
    if any(section.parameters.get(name, value) != value for name, value in protocol.items()):
        return []
    rows = [row for row in PUBLISHED if (row.question, row.dataset) == (about["question"], about["dataset"])]
    asked = "random" if section.parameters.get("rival") == "random" else "similar"
    rows = [row for row in rows if row.rival in ("", asked)]
    network = about["model"].partition(".")[0]
    own = {(row.metric, row.method): row for row in rows if row.network == network}
    shown = {(row.metric, row.method): row for row in rows} | own
    return [one for key, row in shown.items() for one in _beside(section, row, key in own)]


def _beside(section: Section, row: Published, published: bool) -> Iterator[Beside]:
    network, _, tag = section.about["model"].partition(".")
    differs = f"other images and weights ({tag}); {row.differs}" if published else f"nothing is published of {network}"
    figures = (row.value if published else None, row.source, differs)
    twins = {line.method: line.same_as for line in section.lines}
    curves = [c for c in section.curves if c.metric == row.metric and c.method in (row.method, twins.get(row.method))]
    if not curves or row.method not in twins:
        return
    curve = next((curve for curve in curves if curve.method == row.method), curves[0])
    if row.level is None:
        ends = (float(curve.mean.min()), float(curve.mean.max()))
        yield Beside(row.metric, row.method, None, int(curve.n.max()), None, None, None, ends, *figures)
        return
    for level, n, *figure in zip(curve.levels, curve.n, curve.mean, curve.low, curve.high, strict=True):
        if level == row.level:
            mean, low, high = (float(value) for value in figure)
            yield Beside(row.metric, row.method, float(level), int(n), mean, low, high, None, *figures)
