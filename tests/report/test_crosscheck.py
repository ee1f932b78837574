"""The same question under other readings: which runs belong together, and how far their rankings agree."""

import pytest

from salcheck.report.build import make_report
from salcheck.store.results import Store
from tests.databases import add_run

BASE = {"fill": "mean", "output": "softmax", "percent": [5.0, 50.0]}


@pytest.fixture
def store(tmp_path):
    with Store(str(tmp_path / "salcheck.db")) as opened:
        yield opened


def ask(store, best_first, *, model=None, digest="d" * 64, **changes):
    """A run of rq2 in which methods are ranked so at both levels."""
    scores = {
        name: [[0.9 - 0.1 * place + 0.01 * image, 0.95 - 0.1 * place] for image in range(4)]
        for place, name in enumerate(best_first)
    }
    settings = BASE | changes
    return add_run(
        store, scores, question="rq2", metric="drop", levels=(5.0, 50.0), model=model, digest=digest, **settings
    )


def test_readings_are_told_of_beside_the_run_that_they_vary(store):
    base = ask(store, ["gradcam", "case", "layercam", "random"])
    blur = ask(store, ["case", "gradcam", "layercam", "random"], fill="blur")
    logit = ask(store, ["random", "layercam", "case", "gradcam"], output="logit")
    report = make_report(store)
    assert [section.about["run"] for section in report.sections] == [base]
    (check,) = report.checks
    assert [(reading.run, reading.words) for reading in check.readings] == [
        (base, "as above"),
        (blur, "fill=blur"),
        (logit, "output=logit"),
    ]
    assert [reading.tau for reading in check.readings] == [None, pytest.approx((2 - 1) / 3), -1]
    assert [reading.tau_with_controls for reading in check.readings] == [None, pytest.approx((5 - 1) / 6), -1]
    assert [reading.images for reading in check.readings] == [4, 4, 4]
    assert [name for name, _ in check.readings[1].ranking] == ["case", "gradcam", "layercam", "random"]
    assert dict(check.readings[0].ranking)["gradcam"] == pytest.approx((0.915 + 0.95) / 2)
    assert report.remarks == []


def test_a_setting_that_the_field_agrees_on_is_a_run_of_its_own(store):
    ask(store, ["gradcam", "random"])
    ask(store, ["gradcam", "random"], percent=[20.0, 30.0])
    ask(store, ["gradcam", "random"], fill="blur", output="logit")  # two at once
    report = make_report(store)
    assert len(report.sections) == 3
    assert report.checks == []


def test_another_layer_is_a_reading_and_other_weights_images_or_precision_are_not(store):
    ask(store, ["gradcam", "case", "random"])
    ask(store, ["case", "gradcam", "random"], model={"layer": "layer4.2.conv3"})
    ask(store, ["gradcam", "random"], fill="blur", model={"weights": "v" * 64})
    ask(store, ["gradcam", "random"], fill="blur", model={"dtype": "float32, bf16 autocast"})
    ask(store, ["gradcam", "random"], fill="blur", digest="e" * 64)
    report = make_report(store)
    assert len(report.sections) == 4
    (check,) = report.checks
    assert check.readings[1].words == "layer=layer4.2.conv3"


def test_where_lower_is_better_the_lowest_comes_first(store):
    scores = {"gradcam": [0.1] * 4, "random": [0.3] * 4}
    for fill in ("mean", "blur"):
        add_run(store, scores, question="deletion", metric="deletion", levels=(0.0,), fill=fill)
    (check,) = make_report(store).checks
    assert [name for name, _ in check.readings[1].ranking] == ["gradcam", "random"]


def test_methods_that_only_one_reading_has_are_left_out_of_tau(store):
    ask(store, ["gradcam", "case", "layercam", "random"])
    ask(store, ["layercam", "gradcam", "random"], fill="blur")
    (check,) = make_report(store).checks
    assert check.readings[1].tau == -1
    assert check.readings[1].tau_with_controls == pytest.approx((2 - 1) / 3)


def test_means_are_over_the_images_and_levels_that_all_methods_have(store):
    """B is lower at every level that A has; A has no score where all are high."""
    scores = {
        "gradcam": [[0.2, None], [0.3, None]],
        "case": [[0.1, 0.9], [0.2, 0.95]],
        "random": [[0.0, 0.5], [0.1, 0.5]],
    }
    for fill in ("mean", "blur"):
        add_run(store, scores, question="rq2", metric="drop", levels=(5.0, 50.0), **(BASE | {"fill": fill}))
    (check,) = make_report(store).checks
    assert [name for name, _ in check.readings[0].ranking] == ["gradcam", "case", "random"]
    assert dict(check.readings[0].ranking)["case"] == pytest.approx(0.15)


def test_where_no_image_has_all_methods_there_is_no_ranking(store):
    scores = {"gradcam": [0.2, "blank: constant"], "case": ["blank: constant", 0.9]}
    for fill in ("mean", "blur"):
        add_run(store, scores, question="rq2", metric="drop", **(BASE | {"fill": fill}))
    (check,) = make_report(store).checks
    assert [(reading.images, reading.ranking, reading.tau) for reading in check.readings] == [(0, [], None)] * 2


@pytest.mark.parametrize(
    "asked",
    [
        ["blur", "zero"],  # each is a reading of the other, and neither is the base
        ["blur", "zero", "mean"],
        ["mean", "blur", "blur logit"],  # a reading of a reading
        ["mean", "blur", "mean paper", "blur paper"],
        ["mean seed", "blur"],
    ],
)
def test_no_run_is_lost(store, asked):
    for words in asked:
        fill, *rest = words.split()
        more = {"output": "logit"} if "logit" in rest else {}
        model = {"layer": "layer4.2.conv3"} if "paper" in rest else None
        ask(
            store,
            ["gradcam", "random"],
            fill=fill,
            model=model,
            digest="e" * 64 if "seed" in rest else "d" * 64,
            **more,
        )
    report = make_report(store)
    told = [section.about["run"] for section in report.sections]
    told += [reading.run for check in report.checks for reading in check.readings[1:]]
    assert sorted(told) == list(range(1, len(asked) + 1))
    assert report.sections[0].about["run"] == (3 if asked == ["blur", "zero", "mean"] else 1)
    assert len(report.sections) == {"zero": 1, "mean": 1, "blur logit": 2, "blur paper": 2, "blur": 2}[asked[-1]]


def test_one_run_alone_is_told_of_in_full(store):
    ask(store, ["gradcam", "random"])
    blur = ask(store, ["gradcam", "random"], fill="blur")
    report = make_report(store, runs=[blur])
    assert [section.about["run"] for section in report.sections] == [blur]
    assert report.checks == []


def test_runs_of_the_model_itself_rank_nothing_and_are_each_told_of(store):
    for threshold in (0.001, 0.1):
        add_run(
            store,
            {"model": [0.1, 0.2]},
            question="channels",
            metric="active",
            levels=(1.0,),
            threshold_active=threshold,
        )
    report = make_report(store)
    assert [section.about["run"] for section in report.sections] == [1, 2]
    assert report.checks == []


def test_a_floor_is_no_method_whose_place_in_the_ranking_counts(store):
    """Without lafam, which each reading ranks elsewhere, the rankings are the same."""
    for target, floor in (("label", 0.9), ("top1", 0.0)):
        scores = {"gradcam": [0.5] * 4, "case": [0.4] * 4, "lafam": [floor] * 4, "random": [0.1] * 4}
        add_run(store, scores, question="localization", metric="auprc", levels=(0.0,), target=target)
    (check,) = make_report(store).checks
    assert check.readings[1].tau == 1
    assert check.readings[1].tau_with_controls < 1
