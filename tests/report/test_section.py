"""What is said of methods that are compared with each other on the same images."""

import numpy as np
import pytest
from scipy import stats as scipy_stats

from salcheck.questions import QUESTIONS
from salcheck.report.build import make_report
from salcheck.report.stats import bands, compare, summarise
from salcheck.store.results import Store
from tests.databases import add_facts, add_maps, add_metric, add_run

GOOD, BAD = (
    [0.9, 0.8, 0.85, 0.95, 0.7, 0.75, 0.88, 0.91, 0.99, 0.93],
    [0.1, 0.2, 0.15, 0.3, 0.25, 0.12, 0.22, 0.18, 0.0, 0.05],
)


@pytest.fixture
def store(tmp_path):
    with Store(str(tmp_path / "salcheck.db")) as opened:
        yield opened


def ask(store, scores, *, question="rq2", metric="drop", levels=(5.0,), **more):
    number = add_run(store, scores, question=question, metric=metric, levels=levels, **more)
    (section,) = make_report(store, runs=[number]).sections
    return section


def line(section, method, level=5.0):
    return next(line for line in section.lines if (line.method, line.level) == (method, level))


def test_a_method_that_beats_every_control_is_said_to(store):
    section = ask(store, {"gradcam": GOOD, "random": BAD, "center": BAD[::-1], "edges": BAD[3:] + BAD[:3]})
    assert line(section, "gradcam").verdict == "better than every control"
    assert {line(section, name).verdict for name in ("random", "center", "edges")} == {"control"}


def test_one_control_that_is_not_beaten_leaves_no_evidence(store):
    section = ask(store, {"gradcam": GOOD, "random": BAD, "center": GOOD[::-1], "edges": GOOD[5:] + GOOD[:5]})
    assert line(section, "gradcam").verdict == "no evidence (not better than center and edges)"
    assert line(section, "gradcam").hardest.against in ("center", "edges")


def test_where_lower_is_better_the_lower_method_is(store):
    section = ask(
        store,
        {"gradcam": BAD, "case": GOOD, "random": GOOD[::-1]},
        question="deletion",
        metric="deletion",
        levels=(0.0,),
    )
    assert line(section, "gradcam", 0.0).verdict == "better than every control"
    assert line(section, "gradcam", 0.0).anchor.comparison.effect == 1
    assert line(section, "gradcam", 0.0).anchor.comparison.difference < 0
    assert line(section, "case", 0.0).verdict == "no evidence (not better than random)"


def test_pairs_are_by_image_against_case_and_every_control_and_holm_is_over_all_of_them(store):
    rng = np.random.default_rng(0)
    scores = {name: rng.uniform(0, 1, (30, 2)) for name in ("gradcam", "case", "layercam", "random", "center")}
    section = ask(store, {name: values.tolist() for name, values in scores.items()}, levels=(5.0, 50.0))
    expected = [
        (level, method, other, scipy_stats.wilcoxon(scores[method][:, place], scores[other][:, place]).pvalue)
        for place, level in enumerate((5.0, 50.0))
        for method in ("gradcam", "case", "layercam")
        for other in ("case", "random", "center")
        if method != other
    ]
    assert [(p.level, p.method, p.against) for p in section.pairs] == [row[:3] for row in expected]
    ps = [row[3] for row in expected]
    assert [p.comparison.wilcoxon for p in section.pairs] == pytest.approx(ps)
    order = np.argsort(ps)
    adjusted = np.minimum(1, np.maximum.accumulate(np.array(ps)[order] * np.arange(len(ps), 0, -1)))
    assert [section.pairs[i].holm for i in order] == pytest.approx(adjusted)
    assert f"Holm over the {len(ps)} comparisons" in " ".join(section.remarks)


def test_images_are_matched_whatever_has_no_score(store):
    """A blank map here and another there: only images that both methods have are compared."""
    first = ["blank: constant", *GOOD[1:]]
    second = [*BAD[:9], "blank: constant"]
    section = ask(store, {"gradcam": first, "random": second})
    pair = section.pairs[0]
    assert pair.comparison.n == 8
    assert pair.comparison.difference == pytest.approx(np.mean(np.subtract(GOOD[1:9], BAD[1:9])))
    assert (line(section, "gradcam").blank, line(section, "gradcam").summary.n) == (1, 9)


def test_a_level_at_which_a_map_has_no_set_is_counted_there_alone(store):
    section = ask(
        store, {"gradcam": [[0.5, None], [0.6, 0.7]], "random": [[0.1, 0.2], "blank: constant"]}, levels=(5.0, 50.0)
    )
    counts = {(one.method, one.level): (one.summary.n, one.blank) for one in section.lines}
    assert counts["gradcam", 5.0] == (2, 0)
    assert counts["gradcam", 50.0] == (1, 1)
    assert counts["random", 5.0] == counts["random", 50.0] == (1, 1)


def test_twins_are_compared_once_and_share_the_verdict(store):
    number = add_run(store, {"gradcam": GOOD, "hirescam": GOOD, "random": BAD}, question="rq2", metric="drop")
    for method, shift in (("gradcam", 0), ("hirescam", 0), ("random", 2)):
        add_maps(store, number, method, [shift + place / 10 for place in range(10)])
    (section,) = make_report(store, runs=[number]).sections
    assert [(pair.method, pair.against) for pair in section.pairs] == [("gradcam", "random")]
    assert line(section, "hirescam").verdict == "better than every control"
    assert {curve.method for curve in section.curves} == {"gradcam", "random"}


def test_what_only_ranks_the_positive_part_alike_is_no_twin_where_all_of_it_counts(store):
    """Grad-CAM stops at zero and HiResCAM does not: the same at 5 %, another at 75 %."""
    scores = {
        "gradcam": [[0.2, 0.9 - 0.05 * i] for i in range(10)],
        "hirescam": [[0.2, 0.4 + 0.05 * i] for i in range(10)],
    }
    scores["random"] = [[0.1, 0.1]] * 10
    number = add_run(store, scores, question="rq2", metric="drop", levels=(5.0, 75.0))
    for method, shift in (("gradcam", 0), ("hirescam", 0), ("random", 2)):
        add_maps(store, number, method, [shift + place / 10 for place in range(10)])
    (section,) = make_report(store, runs=[number]).sections
    assert not any(one.same_as for one in section.lines)
    assert {pair.method for pair in section.pairs} == {"gradcam", "hirescam"}


def test_maps_of_other_roles_do_not_part_twins(store):
    number = add_run(store, {"gradcam": GOOD, "hirescam": GOOD, "random": BAD}, question="rq2", metric="drop")
    for method in ("gradcam", "hirescam"):
        add_maps(store, number, method, [place / 10 for place in range(10)])
    add_maps(store, number, "gradcam", [0.5] * 10, role="top2")  # of a question that asks of two classes
    (section,) = make_report(store, runs=[number]).sections
    assert line(section, "hirescam").same_as == "gradcam"


def test_a_standing_control_without_scores_is_not_beaten_by_default(store):
    section = ask(store, {"gradcam": GOOD, "random": BAD, "center": ["blank: constant"] * 10})
    assert line(section, "gradcam").verdict == "no evidence (no scores of center)"
    section = ask(
        store,
        {"gradcam": GOOD, "random": BAD, "uniform": ["blank: constant"] * 10},
        controls=("random", "uniform"),
        digest="e" * 64,
    )
    assert line(section, "gradcam").verdict == "better than every control"


def test_a_question_without_a_claim_has_none(store):
    section = ask(store, {"gradcam": BAD, "random": GOOD}, question="sensitivity", metric="sensitivity", levels=(0.0,))
    assert line(section, "gradcam", 0.0).verdict == "no claim"
    assert section.pairs[0].comparison.effect == 1


def test_a_claim_above_a_threshold_that_no_control_earns(store):
    centred = [-0.4, 0.3, 0.2, -0.1, 0.05, -0.25, 0.35, -0.3, 0.15, -0.02]
    scores = {"gradcam": GOOD, "layercam": centred[::-1], "random": centred, "center": [0.0] * 10}
    section = ask(store, scores, question="contrastive", metric="contrast", threshold=0.0)
    verdicts = {one.method: one.verdict for one in section.lines}
    assert verdicts["gradcam"] == "contrastive"
    assert verdicts["layercam"] == "not contrastive"
    assert verdicts["center"] == "control: does not pass"
    assert line(section, "gradcam").summary.beyond == 1
    assert "lie above 0" in " ".join(section.remarks)


def test_a_run_without_controls_claims_nothing(store):
    assert line(ask(store, {"gradcam": GOOD}), "gradcam").verdict == "no control to compare with"


def test_curves_are_means_over_the_images_at_each_level(store):
    values = np.random.default_rng(0).uniform(0, 1, (12, 3))
    section = ask(store, {"gradcam": values.tolist(), "random": values[::-1].tolist()}, levels=(5.0, 10.0, 50.0))
    curve = next(curve for curve in section.curves if (curve.metric, curve.method) == ("drop", "gradcam"))
    assert curve.levels.tolist() == [5, 10, 50]
    assert curve.mean == pytest.approx(values.mean(0))
    assert (curve.low < curve.mean).all()
    assert (curve.mean < curve.high).all()


def test_every_question_names_the_metric_that_its_claim_is_on():
    for question in QUESTIONS.values():
        assert question.metric in question.metrics
        assert question.metrics[question.metric].better != 0 or not question.claim
        assert all(len(metric) <= 32 for metric in question.metrics)  # the database's column


# Floors and anchors


def test_a_floor_must_be_beaten_as_a_control_must(store):
    low, high, middle = BAD, GOOD, [0.5 + 0.01 * i for i in range(10)]
    scores = {"gradcam": middle, "lafam": high, "diffcam": [v + 0.1 for v in high], "random": low}
    section = ask(store, scores, question="localization", metric="auprc", levels=(0.0,))
    verdicts = {one.method: one.verdict for one in section.lines}
    assert verdicts == {
        "gradcam": "no evidence (not better than lafam)",
        "diffcam": "better than every control and lafam",
        "lafam": "floor",
        "random": "control",
    }
    assert [one.method for one in section.lines] == ["gradcam", "diffcam", "lafam", "random"]
    assert [(one.floor, one.control) for one in section.lines] == [(False, False)] * 2 + [(True, False), (False, True)]
    assert line(section, "gradcam", 0.0).hardest.against == "lafam"
    assert {pair.method for pair in section.pairs} == {"gradcam", "diffcam"}


def test_a_method_is_a_floor_only_where_the_question_says_so_and_with_its_defaults(store):
    section = ask(store, {"lafam": GOOD, "random": BAD})
    assert line(section, "lafam").verdict == "better than every control"
    scores = {"lafam:power=2": GOOD, "lafam": BAD, "random": BAD[::-1]}
    section = ask(store, scores, question="scenes", metric="right", levels=(0.0,), digest="e" * 64)
    assert {one.method for one in section.lines if one.floor} == {"lafam"}
    assert line(section, "lafam:power=2", 0.0).verdict == "better than every control and lafam"


def test_a_floor_without_scores_is_not_beaten_by_default(store):
    scores = {"gradcam": GOOD, "lafam": ["blank: constant"] * 10, "random": BAD}
    section = ask(store, scores, question="mosaic", metric="own", levels=(0.0,))
    assert line(section, "gradcam", 0.0).verdict == "no evidence (no scores of lafam)"


def test_a_method_that_is_a_floor_under_another_name_is_said_to_be_and_is_no_evidence(store):
    scores = {"eigencam": GOOD, "lafam": GOOD, "random": BAD}
    number = add_run(store, scores, question="mosaic", metric="own", levels=(0.0,))
    for method in ("eigencam", "lafam"):
        add_maps(store, number, method, [place / 10 for place in range(10)], role="label1")
    (section,) = make_report(store, runs=[number]).sections
    assert line(section, "eigencam", 0.0).same_as == "lafam"
    assert line(section, "eigencam", 0.0).verdict == "no evidence (not better than lafam)"
    assert line(section, "lafam", 0.0).same_as is None
    assert "eigencam is lafam (a floor)." in " ".join(section.remarks)


def test_pairs_are_against_every_anchor_floor_and_control_and_two_anchors_meet_once(store):
    rng = np.random.default_rng(0)
    names = ("gradcam", "libracam", "case", "case:contrast=logits", "diffcam", "lafam", "random")
    scores = {name: rng.uniform(0, 1, 20).tolist() for name in names}
    section = ask(store, scores, question="localization", metric="auprc", levels=(0.0,))
    hurdles = {"lafam", "random"}
    assert {(pair.method, pair.against) for pair in section.pairs} == {
        *((name, other) for name in ("gradcam", "case:contrast=logits") for other in ("case", "diffcam", "libracam")),
        ("diffcam", "case"),
        ("libracam", "case"),
        ("libracam", "diffcam"),
        *((name, other) for name in names if name not in hurdles for other in hurdles),
    }
    assert len(section.pairs) == 6 + 3 + 5 * 2
    assert f"Holm over the {len(section.pairs)} comparisons" in " ".join(section.remarks)
    anchors = {one.method: one.anchor and one.anchor.against for one in section.lines}
    assert anchors["gradcam"] == anchors["diffcam"] == "case"
    assert anchors["case"] is anchors["random"] is None


def test_the_first_anchor_that_is_there_is_the_one_beside(store):
    section = ask(store, {"gradcam": GOOD, "libracam": BAD, "diffcam": BAD[::-1], "random": BAD})
    assert line(section, "gradcam").anchor.against == "diffcam"


def test_a_method_is_not_compared_with_itself_under_the_name_of_an_anchor(store):
    number = add_run(store, {"gradcam": GOOD, "case": GOOD, "layercam": BAD}, question="rq2", metric="drop")
    for method, shift in (("gradcam", 0), ("case", 0), ("layercam", 2)):
        add_maps(store, number, method, [shift + place / 10 for place in range(10)])
    (section,) = make_report(store, runs=[number]).sections
    assert [(pair.method, pair.against) for pair in section.pairs] == [("layercam", "case")]


# Levels with names


NAMES = ["fc", "layer4", "conv1"]


def test_levels_have_the_names_that_the_run_gives_them_and_a_scalar_has_none(store):
    values = np.random.default_rng(0).uniform(0, 1, (8, 3))
    scores = {"gradcam": values[:, 0].tolist(), "random": values[:, 1].tolist()}
    number = add_run(store, scores, question="sanity", metric="excess", levels=(0.0,), named=NAMES, threshold=0.0)
    add_metric(store, number, "gradcam", "spearman", values.tolist(), (1.0, 2.0, 3.0))
    (section,) = make_report(store, runs=[number]).sections
    assert {one.level_name for one in section.lines} == {""}
    curve = next(curve for curve in section.curves if curve.metric == "spearman")
    assert [section.level_name(level) for level in curve.levels] == NAMES
    assert curve.mean == pytest.approx(values.mean(0))
    assert "levels" not in section.asked
    assert not section.placed


def test_a_level_without_a_name_is_its_number(store):
    values = [[0.1, 0.2, 0.3, 0.4]] * 8
    section = ask(store, {"gradcam": values, "random": values}, levels=(1.0, 2.0, 3.0, 50.0), named=NAMES)
    assert [one.level_name for one in section.lines if one.method == "gradcam"] == [*NAMES, "50"]
    assert section.place(2.0) == "% removed layer4"
    section = ask(store, {"gradcam": values, "random": values}, levels=(0.0, 2.0, 2.5, 50.0), digest="e" * 64)
    assert [section.level_name(level) for level in section.levels] == ["2", "2.5", "50"]
    assert section.place(2.5) == "2.5 % removed"


# Images of one class


def in_classes(classes, each, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), each)
    return rng.normal(0, 1, classes)[labels] + rng.normal(0, 0.3, labels.size), labels.tolist()


def test_tests_and_intervals_are_those_of_whole_classes_where_images_share_one(store):
    values, labels = in_classes(16, 5)
    other = np.random.default_rng(1).normal(0, 1, 80)
    section = ask(store, {"gradcam": values.tolist(), "random": other.tolist()}, classes=labels)
    pair, told = section.pairs[0], line(section, "gradcam")
    expected = compare(values, other, higher_is_better=True, clusters=labels)
    assert (pair.comparison.wilcoxon, pair.comparison.t) == (expected.wilcoxon, expected.t)
    plain = compare(values, other, higher_is_better=True)
    assert pair.comparison.wilcoxon != pytest.approx(plain.wilcoxon, rel=0.2)
    _, low, high = bands(values[:, None], 0, labels)
    assert (told.summary.low, told.summary.high) == pytest.approx((low[0], high[0]))
    curve = next(curve for curve in section.curves if curve.method == "gradcam")
    assert (curve.low[0], curve.high[0]) == pytest.approx((low[0], high[0]))
    assert "Clustered by class: 80 images of 16 classes" in " ".join(section.remarks)


def test_threshold_tests_are_of_whole_classes_too(store):
    values, labels = in_classes(16, 5)
    scores = {"gradcam": (50 + 10 * values).tolist(), "random": [60.0] * 80}
    section = ask(store, scores, question="rq1", metric="overlap", classes=labels)
    told = summarise(50 + 10 * values, 50.0, 0, clusters=labels)
    assert line(section, "gradcam").summary == told
    assert told.wilcoxon != summarise(50 + 10 * values, 50.0, 0).wilcoxon


def test_classes_follow_their_images_where_a_method_has_no_score(store):
    values, labels = in_classes(16, 5)
    some = [None if place % 3 == 0 else value for place, value in enumerate(values.tolist())]
    section = ask(store, {"gradcam": [[v] for v in some], "random": [[0.0]] * 80}, classes=labels)
    there = [place for place in range(80) if place % 3]
    expected = compare(values[there], np.zeros(len(there)), higher_is_better=True, clusters=np.array(labels)[there])
    assert section.pairs[0].comparison.wilcoxon == expected.wilcoxon


def test_images_without_a_label_and_classes_of_one_image_stand_alone(store):
    values, _ = in_classes(20, 2)
    for labels, digest in (([None] * 40, "a"), (list(range(40)), "b"), ([*range(20), *[None] * 20], "c")):
        section = ask(store, {"gradcam": values.tolist(), "random": [0.0] * 40}, classes=labels, digest=digest * 64)
        expected = scipy_stats.wilcoxon(values, zero_method="pratt").pvalue
        assert section.pairs[0].comparison.wilcoxon == expected
        assert "lustered by class" not in " ".join(section.remarks)


def test_a_few_classes_are_not_taken_for_a_draw_of_classes_and_the_report_says_so(store):
    values, labels = in_classes(10, 8)
    section = ask(store, {"gradcam": values.tolist(), "random": [0.0] * 80}, classes=labels)
    assert section.pairs[0].comparison.wilcoxon == scipy_stats.wilcoxon(values, zero_method="pratt").pvalue
    assert "Not clustered by class: 80 images of 10 classes, too few" in " ".join(section.remarks)


# Questions of the model itself


def test_a_question_of_the_model_has_lines_by_level_no_verdict_and_its_extreme_classes(store):
    values = [[0.1, 0.5], [0.3, 0.5], [0.8, 0.7], [0.6, 0.3]]
    section = ask(
        store,
        {"model": values},
        question="channels",
        metric="active",
        levels=(1.0, 2.0),
        named=NAMES[:2],
        classes=[3, 3, 5, 9],
    )
    assert [(one.level_name, one.summary.mean) for one in section.lines] == [
        ("fc", pytest.approx(0.45)),
        ("layer4", pytest.approx(0.5)),
    ]
    assert (section.better, section.of_methods, section.pairs) == ("", False, [])
    assert "higher" not in section.asked
    said = " ".join(section.remarks)
    assert (
        "fc: 0.200 (class 3, N 2) to 0.800 (class 5, N 1); layer4: 0.300 (class 9, N 1) to 0.700 (class 5, N 1)."
        in said
    )
    assert "Differences" not in said


def test_classes_that_are_all_alike_are_not_told_apart_and_settings_without_a_value_are_not_told(store):
    values = [[1.0, 0.5], [1.0, 0.6]]
    section = ask(
        store,
        {"model": values},
        question="channels",
        metric="active",
        levels=(1.0, 2.0),
        named=NAMES[:2],
        classes=[3, 5],
        at="",
        tau=0.001,
    )
    assert "fc:" not in " ".join(section.remarks)
    assert "layer4: 0.500 (class 3, N 1) to 0.600 (class 5, N 1)." in " ".join(section.remarks)
    assert section.asked == "share of channels whose mean is above the threshold; tau 0.001"


def test_whose_scores_are_missing_is_said_where_it_is_not_everybody_s(store):
    section = ask(
        store,
        {"gradcam": ["claims no sum", 0.1, "truncated"], "random": ["claims no sum", "claims no sum", "truncated"]},
        question="completeness",
        metric="error",
        levels=(0.0,),
    )
    said = " ".join(section.remarks)
    assert "No score for 1 image(s): truncated" in said
    assert "truncated (" not in said
    section = ask(store, {"gradcam": [0.1], "random": ["claims no sum"]}, digest="e" * 64, levels=(0.0,))
    assert "No score for 1 image(s): claims no sum (random)" in " ".join(section.remarks)


def test_why_images_are_excluded_is_said_where_it_is_not_for_their_class_alone(store):
    notes = ["excluded: not correctly classified"] * 2 + ["excluded: several objects of the class"]
    section = ask(store, {"gradcam": [*GOOD, *notes], "random": [*BAD, *notes]})
    said = " ".join(section.remarks)
    assert "excluded: 2 (not correctly classified), 1 (several objects of the class); reference" in said


def test_a_curve_that_is_another_s_copy_is_named_once_and_drawn_once(store):
    curve = [[1.0, 0.5], [0.8, 0.4]]
    run = add_run(
        store, {"gradcam": [0.1, 0.2]}, question="sanity", metric="excess", levels=(0.0,), roles=["top1"], threshold=0.0
    )
    for metric, values in (("spearman_abs", curve), ("spearman_abs_frozen", curve), ("ssim", [[1.0, 0.5], [0.8, 0.3]])):
        add_metric(store, run, "gradcam", metric, values, levels=(1.0, 2.0))
    (section,) = make_report(store).sections
    assert section.copies == {"spearman_abs_frozen": "spearman_abs"}
    assert "The same throughout: spearman_abs_frozen is spearman_abs." in section.remarks
    assert {curve.metric for curve in section.curves} >= {"spearman_abs_frozen", "ssim"}


@pytest.mark.parametrize(("named", "told"), [((), True), (("layer1", "layer2"), False)])
def test_what_a_method_decided_at_one_layer_is_not_told_of_several(store, named, told):
    scores = {"case": [[1.0, 2.0], [3.0, 4.0]]}
    run = add_run(store, scores, question="layers", metric="overlap", levels=(1.0, 2.0), threshold=50.0, named=named)
    add_facts(store, run, "case", "negative_dot", [1, 0])
    (section,) = make_report(store).sections
    assert any("negative dot" in remark for remark in section.remarks) == told
