"""Published figures: those of the papers, and only beside the same question, metric, method, network and dataset."""

import json
import re

import numpy as np
import pytest

from salcheck.naming import registry
from salcheck.questions import QUESTIONS
from salcheck.report.build import make_report
from salcheck.report.reported import PUBLISHED, beside
from salcheck.store.results import Store
from tests.databases import add_maps, add_metric, add_run

METHODS = ("gradcam", "layercam", "diffcam", "case", "gradcam:absolute=true", "random")


@pytest.fixture
def store(tmp_path):
    with Store(str(tmp_path / "salcheck.db")) as opened:
        yield opened


def model(name):
    return {"name": name, "weights": name.ljust(64, "w")}


def localization(store, network="resnet50.a1_in1k", dataset="imagenet", **more):
    rng = np.random.default_rng(0)
    scores = {name: rng.uniform(0.05, 0.15, 12).tolist() for name in METHODS}
    number = add_run(
        store,
        scores,
        question="localization",
        metric="auprc",
        levels=(0.0,),
        model=model(network),
        dataset=dataset,
        **more,
    )
    for name in METHODS:
        add_metric(
            store, number, name, "iou", rng.uniform(0.3, 0.4, (12, 2)).tolist(), (20.0, 30.0), control=name == "random"
        )
    return number


def section(store):
    (only,) = make_report(store).sections
    return only


def reported(store):
    return {(one.metric, one.method): one.reported for one in beside(section(store))}


def value(question, metric, method, network, dataset, **more):
    rows = [
        row.value
        for row in PUBLISHED
        if (row.question, row.metric, row.method, row.network, row.dataset)
        == (question, metric, method, network, dataset)
        and all(getattr(row, name) == wanted for name, wanted in more.items())
    ]
    (found,) = rows
    return found


def test_the_figures_are_those_of_the_papers():
    """Some of every table, by its corners, against the tables as printed."""
    table = {
        ("localization", "iou_held_out", "gradcam", "resnet50", "imagenet"): 0.528,
        ("localization", "iou_held_out", "diffcam", "resnet50", "imagenet"): 0.534,
        ("localization", "iou_held_out", "xgradcam", "inception_v3", "imagenet"): 0.524,
        ("localization", "iou_held_out", "scorecam", "inception_v3", "imagenet"): 0.564,
        ("localization", "auprc", "gradcam", "resnet50", "imagenet"): 0.727,
        ("localization", "auprc", "layercam", "resnet50", "imagenet"): 0.738,
        ("localization", "auprc", "diffcam", "inception_v3", "imagenet"): 0.794,
        ("localization", "auprc", "diffcam", "inception_v3", "rsna"): 0.492,
        ("localization", "auprc", "guidedbackprop", "inception_v3", "rsna"): 0.174,
        ("localization", "auprc", "integratedgradients", "inception_v3", "siim"): 0.063,
        ("localization", "auprc", "diffcam", "inception_v3", "siim"): 0.093,
        ("rq2", "drop", "case", "convnext_large", "imagenet"): 0.2052,
        ("rq2", "drop", "ablationcam", "densenet201", "imagenet"): 0.1140,
        ("rq2", "drop", "case", "resnet50", "imagenet"): 0.1411,
        ("rq2", "drop", "gradcampp", "vgg19_bn", "imagenet"): 0.1020,
        ("rq2", "drop", "scorecam", "vgg19_bn", "imagenet"): 0.1473,
    }
    assert {key: value(*key) for key in table} == table
    pairs = {
        ("recall_at", "goyal", "random"): 0.03,
        ("recall_at", "diffcam", "random"): 0.15,
        ("recall_at", "diffcam", "similar"): 0.17,
        ("precision_at", "scout", "random"): 0.81,
        ("precision_at", "goyal", "similar"): 0.57,
        ("piou_at", "scout", "random"): 0.16,
        ("piou_at", "diffcam", "similar"): 0.20,
    }
    found = {key: value("counterfactual", key[0], key[1], "resnet50", "cub", rival=key[2]) for key in pairs}
    assert found == pairs


def test_every_figure_is_of_a_question_and_metric_and_method_that_there_is():
    for row in PUBLISHED:
        assert row.metric in QUESTIONS[row.question].metrics
        assert row.method in registry.names("methods")
        assert 0 < row.value < 1
    keys = [(r.question, r.metric, r.method, r.network, r.dataset, r.rival) for r in PUBLISHED]
    assert len(set(keys)) == len(keys) == 2 * 10 + 2 * 7 + 2 * 9 + 24


def test_ours_stands_beside_the_figure_of_the_same_metric_method_and_network(store):
    localization(store)
    shown = reported(store)
    assert shown == {
        ("iou_held_out", "gradcam"): 0.528,
        ("iou_held_out", "layercam"): 0.535,
        ("iou_held_out", "diffcam"): 0.534,
        ("auprc", "gradcam"): 0.727,
        ("auprc", "layercam"): 0.738,
        ("auprc", "diffcam"): 0.741,
    }
    told = section(store)
    one = next(one for one in beside(told) if (one.metric, one.method) == ("auprc", "gradcam"))
    line = next(line for line in told.lines if line.method == "gradcam")
    assert (one.n, one.mean) == (12, pytest.approx(line.summary.mean))
    assert (one.low, one.high) == (pytest.approx(line.summary.low), pytest.approx(line.summary.high))
    assert "weights (a1_in1k)" in one.differs
    assert "threshold" in next(one for one in beside(told) if one.metric == "iou_held_out").differs


def test_another_network_of_the_same_question_and_dataset_has_empty_cells(store):
    localization(store, "vit_tiny_patch16_224.augreg_in21k_ft_in1k")
    rows = beside(section(store))
    assert {one.method for one in rows} == {"gradcam", "layercam", "diffcam"}
    assert all(one.reported is None for one in rows)
    assert {one.differs for one in rows} == {"nothing is published of vit_tiny_patch16_224"}


def test_another_dataset_or_question_has_no_such_table(store):
    localization(store, dataset="voc")
    assert beside(section(store)) == []


def test_medical_figures_are_those_of_their_dataset(store):
    localization(store, "inception_v3.tv_in1k", "siim")
    assert reported(store) == {("auprc", "gradcam"): 0.076, ("auprc", "layercam"): 0.071, ("auprc", "diffcam"): 0.093}


def test_a_twin_has_the_figure_of_its_own_name_beside_the_mean_of_both(store):
    number = add_run(
        store,
        {name: [0.5, 0.6, 0.7] for name in ("gradcam", "xgradcam")},
        question="localization",
        metric="auprc",
        levels=(0.0,),
        model=model("inception_v3.tv_in1k"),
        dataset="imagenet",
    )
    for name in ("gradcam", "xgradcam"):
        add_maps(store, number, name, [0.1, 0.2, 0.3])
    rows = {one.method: one for one in beside(section(store))}
    assert rows["xgradcam"].reported == rows["gradcam"].reported == 0.726
    assert rows["xgradcam"].mean == rows["gradcam"].mean == pytest.approx(0.6)


def test_drops_stand_beside_the_size_that_the_authors_script_removes(store):
    scores = {"case": [[0.1, 0.5]] * 4, "scorecam": [[0.2, 0.6]] * 4, "random": [[0.1, 0.3]] * 4}
    add_run(
        store,
        scores,
        question="rq2",
        metric="drop",
        levels=(5.0, 50.0),
        model=model("vgg19_bn.tv_in1k"),
        dataset="imagenet",
    )
    rows = beside(section(store))
    assert [(one.method, one.level, one.mean, one.reported) for one in rows] == [
        ("case", 50.0, 0.5, 0.1317),
        ("scorecam", 50.0, 0.6, 0.1473),
    ]


@pytest.mark.parametrize(("rival", "figure"), [("random", 0.15), ("top2", 0.17)])
def test_counterfactuals_show_our_range_over_the_sizes_since_no_size_is_published(store, rival, figure):
    number = add_run(
        store,
        {"diffcam": [0.1, 0.2], "random": [0.1, 0.3]},
        question="counterfactual",
        metric="f1",
        levels=(0.0,),
        model=model("resnet50.cub"),
        dataset="cub",
        rival=rival,
    )
    add_metric(store, number, "diffcam", "recall_at", [[0.1, 0.4, 0.8], [0.2, 0.6, 1.0]], (1.0, 5.0, 20.0))
    (one,) = beside(section(store))
    assert (one.reported, one.mean, one.range) == (figure, None, (pytest.approx(0.15), pytest.approx(0.9)))


def test_published_figures_are_in_the_reported_column_and_nowhere_else(store):
    """Ours are below 0.45 and theirs above 0.5: whatever is above stands in that column."""
    localization(store)
    report = make_report(store)
    text = registry.load("formats", "md").render(report, {})
    table = next(block for block in text.split("\n\n") if "| reported |" in block)
    head, _, *rows = ([cell.strip() for cell in row.split("|")] for row in table.strip().splitlines())
    place = head.index("reported")
    assert [row[place] for row in rows] == ["0.528", "0.535", "0.534", "0.727", "0.738", "0.741"]
    rest = text.replace(table, "") + " ".join(cell for row in rows for at, cell in enumerate(row) if at != place)
    assert not re.findall(r"0\.[5-9]\d\d", rest)
    records = json.loads(registry.load("formats", "json").render(report, {}))
    assert {one["table"] for one in records if "reported" in one} == {"reported"}
    assert [one["reported"] for one in records if "reported" in one] == [0.528, 0.535, 0.534, 0.727, 0.738, 0.741]
    texts = [registry.load("formats", name).render(report, {}) for name in ("csv", "text")]
    assert "0.741" in texts[0]
    assert "0.741" not in texts[1]


@pytest.mark.parametrize("setting", [{"largest": 1.0}, {"single": False}, {"target": "top1"}])
def test_other_settings_than_the_papers_have_no_published_figures(store, setting):
    localization(store, **{"target": "label", "single": True, "largest": 0.5, "signed": True} | setting)
    assert reported(store) == {}
