"""What is read off the scores of many images: levels chosen on other images, and areas under the ROC."""

import numpy as np
import pandas as pd
import pytest

from salcheck.questions import HIGHER, LOWER
from salcheck.report.build import make_report
from salcheck.report.derived import best_of, half_of
from salcheck.store.results import Store
from tests.databases import add_metric, add_run

LEVELS = (10.0, 20.0, 30.0)


@pytest.fixture
def store(tmp_path):
    with Store(str(tmp_path / "salcheck.db")) as opened:
        yield opened


def rows_of(curves):
    """(method, image, level) to rows, as the database gives them."""
    return pd.DataFrame(
        [
            (method, level, image, value)
            for method, table in curves.items()
            for image, values in enumerate(table)
            for level, value in zip(LEVELS, values, strict=True)
        ],
        columns=["method_id", "level", "image_id", "value"],
    )


def test_each_half_is_read_at_the_level_that_is_best_for_the_other_by_hand():
    curves = {7: [[0.9, 0.1, 0.0], [0.7, 0.3, 0.0], [0.2, 0.4, 0.5], [0.0, 0.2, 0.7]]}
    halves = {0: 0, 1: 0, 2: 1, 3: 1}  # half 0 is best at 10, half 1 at 30
    found, levels = best_of(rows_of(curves), halves, HIGHER)
    assert levels == {7: (30.0, 10.0)}
    assert dict(zip(found["image_id"], found["value"], strict=True)) == {0: 0.0, 1: 0.0, 2: 0.2, 3: 0.0}
    assert set(found["level"]) == {0.0}
    found, levels = best_of(rows_of(curves), halves, LOWER)
    assert levels == {7: (10.0, 30.0)}
    assert dict(zip(found["image_id"], found["value"], strict=True)) == {0: 0.9, 1: 0.7, 2: 0.5, 3: 0.7}


def test_every_method_has_levels_of_its_own_and_the_first_of_equal_ones():
    curves = {1: [[0.1, 0.5, 0.5]] * 4, 2: [[0.9, 0.5, 0.5]] * 4}
    _, levels = best_of(rows_of(curves), {0: 0, 1: 1, 2: 0, 3: 1}, HIGHER)
    assert levels == {1: (20.0, 20.0), 2: (10.0, 10.0)}


def test_what_has_no_score_chooses_nothing():
    rows = rows_of({1: [[0.1, 0.5, np.nan], [0.3, 0.2, np.nan]]})
    found, levels = best_of(rows, {0: 0, 1: 1}, HIGHER)
    assert levels == {1: (10.0, 20.0)}
    assert found["value"].tolist() == [0.1, 0.2]
    found, levels = best_of(rows, {0: 0, 1: 0}, HIGHER)  # nobody is in the other half
    assert levels == {1: (None, 20.0)}
    assert len(found) == 0


def test_no_image_has_a_say_in_its_own_level():
    """Whatever an image's own curve is, it is read at the same level; an oracle would follow it."""
    rng = np.random.default_rng(0)
    curves = rng.uniform(0, 1, (40, 3))
    halves = {image: half_of(0, f"{image}.jpg") for image in range(40)}
    _, levels = best_of(rows_of({1: curves}), halves, HIGHER)
    for image in range(0, 40, 7):
        for loud in range(3):
            changed = curves.copy()
            changed[image] = [1e6 * (place == loud) for place in range(3)]
            found, others = best_of(rows_of({1: changed}), halves, HIGHER)
            assert others[1][halves[image]] == levels[1][halves[image]]
            own = found.loc[found["image_id"] == image, "value"].item()
            assert own == changed[image][LEVELS.index(levels[1][halves[image]])]


def test_of_pure_noise_the_held_out_best_is_no_better_than_any_level():
    """Chosen on the same images the best of three would be 0.75 on average."""
    curves = np.random.default_rng(1).uniform(0, 1, (4000, 3))
    halves = {image: half_of(0, f"{image}.jpg") for image in range(4000)}
    found, _ = best_of(rows_of({1: curves}), halves, HIGHER)
    assert found["value"].mean() == pytest.approx(0.5, abs=0.02)


def test_halves_are_about_halves_and_depend_on_the_seed_and_the_key_alone():
    sides = [half_of(0, f"{image}.jpg") for image in range(1000)]
    assert 440 < sum(sides) < 560
    assert sides != [half_of(1, f"{image}.jpg") for image in range(1000)]
    assert half_of(0, "3.jpg") == sides[3]


def localization(store, **more):
    """Curves of IoU whose best level is 20 for gradcam and 30 for random, and average precisions."""
    rng = np.random.default_rng(2)
    scores = {name: rng.uniform(0, 1, 30).tolist() for name in ("gradcam", "random")}
    number = add_run(store, scores, question="localization", metric="auprc", levels=(0.0,), **more)
    for name, best in (("gradcam", [0.3, 0.6, 0.2]), ("random", [0.1, 0.1, 0.2])):
        curves = (np.array(best) + rng.uniform(-0.01, 0.01, (30, 3))).tolist()
        add_metric(store, number, name, "iou", curves, LEVELS, control=name == "random")
    return number


def test_a_report_has_the_held_out_mean_with_its_interval_and_names_the_levels(store):
    localization(store)
    (section,) = make_report(store).sections
    found = {curve.method: curve for curve in section.curves if curve.metric == "iou_held_out"}
    full = {curve.method: curve for curve in section.curves if curve.metric == "iou"}
    assert found["gradcam"].mean.tolist() == pytest.approx([full["gradcam"].mean[1]])
    assert found["random"].mean.tolist() == pytest.approx([full["random"].mean[2]])
    assert found["gradcam"].levels.tolist() == [0]
    assert found["gradcam"].n.tolist() == [30]
    assert found["gradcam"].low[0] < found["gradcam"].mean[0] < found["gradcam"].high[0]
    assert "iou that is best on the other one: gradcam 20, random 30." in " ".join(section.remarks)


def test_the_auroc_of_planted_against_clean_images_is_scikit_learn_s(store):
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(3)
    scores = {name: rng.uniform(0, 1, 25).tolist() for name in ("diffcam", "gradcam", "random")}
    number = add_run(store, scores, question="intraclass", metric="auprc", levels=(0.0,))
    planted, clean = rng.normal(1, 1, 25), rng.normal(0, 1, 25)
    add_metric(store, number, "diffcam", "distance_planted", [*planted[:24].tolist(), None])
    add_metric(store, number, "diffcam", "distance_clean", clean.tolist())
    (section,) = make_report(store).sections
    (one,) = section.aurocs
    expected = metrics.roc_auc_score(np.repeat([1, 0], 24), np.concatenate([planted[:24], clean[:24]]))
    assert (one.method, one.n, one.control) == ("diffcam", 24, False)
    assert one.value == pytest.approx(expected)
    assert one.low < one.value < one.high


def test_questions_without_plants_have_no_auroc(store):
    localization(store)
    (section,) = make_report(store).sections
    assert section.aurocs == []
