"""What is said of methods that are compared with each other on the same images."""

import numpy as np
import pytest
from scipy import stats as scipy_stats

from salcheck.questions import QUESTIONS
from salcheck.report import make_report
from salcheck.store import Store
from tests.databases import add_maps, add_run

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
    (section,) = make_report(store, run=number).sections
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
    (section,) = make_report(store, run=number).sections
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
    (section,) = make_report(store, run=number).sections
    assert not any(one.same_as for one in section.lines)
    assert {pair.method for pair in section.pairs} == {"gradcam", "hirescam"}


def test_maps_of_other_roles_do_not_part_twins(store):
    number = add_run(store, {"gradcam": GOOD, "hirescam": GOOD, "random": BAD}, question="rq2", metric="drop")
    for method in ("gradcam", "hirescam"):
        add_maps(store, number, method, [place / 10 for place in range(10)])
    add_maps(store, number, "gradcam", [0.5] * 10, role="top2")  # of a question that asks of two classes
    (section,) = make_report(store, run=number).sections
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
