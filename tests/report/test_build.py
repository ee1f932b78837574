import sqlite3

import numpy as np
import pandas as pd
import pytest
from scipy import stats as scipy_stats

from salcheck.errors import SalcheckError
from salcheck.formats._verdicts import words
from salcheck.maps.notes import Kind, Note
from salcheck.report.build import make_report
from salcheck.store.results import Store, to_json
from tests.databases import add_facts, add_maps, add_run
from tests.elsewhere import run

WRONG = Note(Kind.EXCLUDED, "not correctly classified")
BLANK = Note(Kind.BLANK, "3 positive pixels of 5")
LOW = [10.0, 20.0, 30.0, 35.0, 12.0, 22.0, 32.0, 37.0]
HIGH = [60.0, 70.0, 80.0, 90.0, 62.0, 72.0, 82.0, 92.0]
SAME = [100.0] * 8
CONTROLS = {"random": HIGH, "center": SAME, "edges": SAME}


@pytest.fixture
def store(tmp_path):
    with Store(str(tmp_path / "salcheck.db")) as opened:
        yield opened


def lines(store, **choice):
    (section,) = make_report(store, **choice).sections
    return {line.method: line for line in section.lines}


def remarks(store, **choice):
    (section,) = make_report(store, **choice).sections
    return " ".join(section.remarks)


# Numbers


def test_every_figure_is_that_of_the_raw_rows_by_another_route(store, tmp_path):
    rng = np.random.default_rng(0)
    add_run(store, {m: rng.uniform(0, 90, 60).round(1).tolist() for m in ("case", "gradcam", "random")})
    with sqlite3.connect(tmp_path / "salcheck.db") as connection:
        raw = pd.read_sql(
            "SELECT spec, value FROM scores JOIN methods ON methods.id = method_id WHERE metric = 'overlap'", connection
        )
    table = raw.groupby("spec")["value"].agg(["count", "mean", "median", "std", lambda v: (v < 50).mean()])
    for method, (n, mean, median, sd, below) in zip(table.index, table.to_numpy(), strict=True):
        summary = lines(store)[method].summary
        values = raw.loc[raw["spec"] == method, "value"]
        p = scipy_stats.wilcoxon(values - 50, alternative="less", zero_method="pratt").pvalue
        sign = scipy_stats.binom.sf((values < 50).sum() - 1, (values != 50).sum(), 0.5)
        assert [summary.n, summary.mean, summary.median, summary.sd, summary.beyond] == pytest.approx(
            [n, mean, median, sd, below]
        )
        assert [summary.wilcoxon, summary.sign] == pytest.approx([p, sign])
        assert summary.low < median < summary.high


def test_images_without_a_score_are_counted_by_their_reason(store):
    add_run(
        store,
        {
            "case": [*LOW, WRONG, WRONG, BLANK, "cannot read a.jpg: truncated"],
            "random": [*HIGH, WRONG, WRONG, 50.0, "x"],
        },
        tied={"case": 3},
    )
    case, random = lines(store)["case"], lines(store)["random"]
    assert (case.summary.n, case.excluded, case.blank, case.failed, case.tied) == (8, 2, 1, 1, 3)
    assert (random.summary.n, random.excluded, random.blank, random.failed, random.tied) == (9, 2, 0, 1, 0)
    assert random.summary.at_threshold == 1
    assert "No score for 1 image(s): cannot read a.jpg: truncated" in remarks(store)
    assert WRONG.why not in remarks(store)


def test_of_many_reasons_the_commonest_are_spelt_out_and_the_rest_counted(store):
    reasons = [f"cannot read {place}.jpg" for place in range(30)]
    add_run(store, {"case": ["out of memory"] * 3 + reasons, "random": ["out of memory"] * 3 + reasons})
    said = remarks(store)
    assert "No score for 3 image(s): out of memory" in said
    assert said.count("cannot read") == 4
    assert "No score for 26 more image(s)" in said


def test_holm_is_over_the_methods_and_not_the_controls(store):
    add_run(store, {"case": LOW, "gradcam": HIGH, "layercam": [40.0, 60.0] * 4, "random": HIGH, "center": SAME})
    found = lines(store)
    assert found["case"].holm == pytest.approx(3 * found["case"].summary.wilcoxon)
    assert found["random"].holm is None
    assert found["center"].holm is None
    assert "Holm over the distinct methods of this run (3)" in remarks(store)


def test_the_threshold_is_the_run_s_own(store):
    add_run(store, {"case": [60.0] * 8, **CONTROLS}, threshold=70.0)
    assert words(lines(store)["case"].verdict) == "class-distinct"
    assert lines(store)["case"].summary.beyond == 1
    assert "scores lie below 70" in remarks(store)


# Verdicts


def test_a_claim_that_no_control_earns_is_stated(store):
    add_run(store, {"case": LOW, **CONTROLS})
    verdicts = [words(line.verdict) for line in lines(store).values()]
    assert verdicts == ["class-distinct", *["control: does not pass"] * 3]


def test_a_claim_that_a_control_earns_too_is_no_evidence(store):
    add_run(store, {"case": LOW, **CONTROLS, "random": LOW[::-1]})
    assert words(lines(store)["case"].verdict) == "no evidence (random passes too)"
    assert words(lines(store)["random"].verdict) == "control: passes"


def test_all_controls_that_pass_are_named(store):
    add_run(store, {"case": LOW, "random": LOW[::-1], "center": LOW, "edges": SAME})
    assert words(lines(store)["case"].verdict) == "no evidence (random and center pass too)"


def test_a_claim_that_is_not_earned_is_denied(store):
    add_run(store, {"gradcam": HIGH, "random": LOW})
    assert words(lines(store)["gradcam"].verdict) == "not class-distinct"


def test_the_verdict_goes_by_holm_s_p_and_not_the_single_one(store):
    almost = [10.0, 20.0, 30.0, 40.0, 45.0]  # p = 1/32
    add_run(store, {"case": almost, "gradcam": almost[::-1], "random": HIGH[:5]})
    assert lines(store)["case"].summary.wilcoxon == 1 / 32
    assert lines(store)["case"].holm == 2 / 32
    assert words(lines(store)["case"].verdict) == "not class-distinct"


def test_a_method_without_scores_has_no_verdict_and_no_numbers(store):
    add_run(store, {"case": [BLANK] * 8, "random": HIGH})
    case = lines(store)["case"]
    assert words(case.verdict) == "no scores"
    assert (case.summary.n, case.summary.mean, case.holm, case.blank) == (0, None, None, 8)
    assert lines(store)["random"].summary.n == 8


def test_methods_come_before_controls(store):
    add_run(store, {"random": HIGH, "case": LOW, "center": SAME, "gradcam": HIGH})
    assert list(lines(store)) == ["case", "gradcam", "random", "center"]


# Methods under another name


def test_a_method_under_another_name_is_said_and_counted_once(store):
    number = add_run(store, {"gradcam": LOW, "hirescam": LOW, "case": LOW[::-1], "random": HIGH})
    for method, shift in (("gradcam", 0), ("hirescam", 0), ("case", 1), ("random", 2)):
        add_maps(store, number, method, [shift + place / 10 for place in range(8)])
    found = lines(store)
    assert {name: line.same_as for name, line in found.items() if line.same_as} == {"hirescam": "gradcam"}
    assert found["gradcam"].holm == found["hirescam"].holm == pytest.approx(2 * found["case"].summary.wilcoxon)
    assert "counted once: hirescam is gradcam." in remarks(store)


def test_a_method_that_is_a_control_under_another_name_has_its_own_test_and_is_no_evidence(store):
    number = add_run(store, {"noise": LOW, "case": LOW[::-1], **CONTROLS, "random": LOW})
    for method in ("noise", "random"):
        add_maps(store, number, method, [0.1] * 8)
    noise = lines(store)["noise"]
    assert (noise.same_as, words(noise.verdict)) == ("random", "no evidence (random passes too)")
    assert lines(store)["random"].same_as is None


def test_maps_of_images_outside_the_run_do_not_part_twins(store):
    add_run(store, {"gradcam": HIGH, "hirescam": HIGH}, digest="a" * 64)
    number = add_run(store, {"gradcam": HIGH, "hirescam": HIGH}, digest="b" * 64)
    add_maps(store, 1, "gradcam", [0.1] * 8)
    add_maps(store, 1, "hirescam", [0.2] * 8)
    add_maps(store, number, "gradcam", [0.3] * 8)
    add_maps(store, number, "hirescam", [0.3] * 8)
    assert lines(store, runs=[number])["hirescam"].same_as == "gradcam"
    assert lines(store, runs=[1])["hirescam"].same_as is None


# Remarks


def test_facts_are_counted_over_the_maps_that_have_a_score(store):
    number = add_run(store, {"case": [*LOW[:6], WRONG, BLANK], "random": HIGH})
    add_facts(store, number, "case", "negative_dot", [True, False, False, True, False, False, True, True])
    assert "case: negative dot in 2 of 6 maps." in remarks(store)


def test_facts_that_are_numbers_have_a_median_and_a_range(store):
    number = add_run(store, {"case": [*LOW[:6], WRONG, BLANK], "random": HIGH})
    add_facts(store, number, "case", "references kept", [1, 0, 30, 20, 12, 4, 999, 999])
    assert "case: references kept 8 (0 to 30, 6 maps)." in remarks(store)


def test_the_images_are_parted_by_whether_the_rival_was_a_contrast(store):
    number = add_run(store, {"case": [10.0, 50.0, 20.0, 60.0, 30.0, 70.0, WRONG], "random": HIGH[:7]})
    add_facts(store, number, "case", "rival_in_contrast", [True, False, True, False, True, False, True])
    said = "median 20.0 in the 3 images whose top 2 is a contrast of top 1, 60.0 in the other 3"
    assert said in remarks(store)


def test_where_the_rival_always_was_a_contrast_nothing_is_parted(store):
    number = add_run(store, {"case": LOW, "random": HIGH})
    add_facts(store, number, "case", "rival_in_contrast", [True] * 8)
    assert "rival in contrast in 8 of 8 maps" in remarks(store)
    assert "the other" not in remarks(store)


def test_an_unfinished_run_is_said_to_be(store):
    add_run(store, {"case": LOW, "random": HIGH}, drawn=20)
    assert "UNFINISHED: every method is scored on 8 of 20 images" in remarks(store)


def test_a_method_that_joined_late_leaves_the_run_unfinished(store):
    add_run(store, {"case": LOW, "layercam": LOW[:3]})
    assert "UNFINISHED: every method is scored on 3 of 8 images" in remarks(store)


def test_a_finished_run_is_not_called_unfinished(store):
    add_run(store, {"case": [*LOW, WRONG, BLANK], "random": [*HIGH, WRONG, BLANK]})
    assert "UNFINISHED" not in remarks(store)


def test_a_run_killed_before_its_first_chunk_hides_nothing(store):
    add_run(store, {"case": LOW})
    add_run(store, {}, drawn=20)
    assert [section.about["run"] for section in make_report(store).sections] == [1]


def test_where_references_come_from_is_said_and_that_they_were_evaluated_too(store):
    add_run(store, {"case": LOW}, reference="/refs, 9 images, 8 of its images EVALUATED TOO")
    assert "reference: /refs, 9 images, 8 of its images EVALUATED TOO." in remarks(store)


# Where the maps lie

PLACED = {"question": "mosaic", "metric": "own", "levels": (0.0,), "grid": 2, "digest": "e" * 64}
OWN = [0.6, 0.7, 0.65, 0.72, 0.61, 0.74, 0.69, 0.66, 0.63, 0.71, 0.75, 0.64]
CELL = [0.2, 0.3, 0.25, 0.27, 0.26, 0.24, 0.23, 0.28, 0.22, 0.29, 0.21, 0.31]
LEFT = {"random": CELL[3:] + CELL[:3], "center": CELL[::-1], "edges": CELL[5:] + CELL[:5]}  # controls


def test_without_a_place_the_report_asks_for_one(store):
    add_run(store, {"case": LOW, **CONTROLS})
    assert "ask `salcheck eval mosaic` (or scenes) of this model" in remarks(store)
    assert "mosaic" not in remarks(store, questions=["rq1"]).replace("eval mosaic", "")


def test_a_map_in_the_right_place_keeps_its_claim_and_another_is_qualified(store):
    number = add_run(store, {"case": LOW, "gradcam": LOW[::-1], "layercam": HIGH, **CONTROLS})
    add_run(
        store,
        {"case": OWN, "gradcam": CELL, "layercam": CELL, "lafam": CELL[::-1], **LEFT},
        **PLACED,
    )
    found = lines(store, questions=["rq1"])
    assert words(found["case"].verdict) == "class-distinct"
    assert words(found["gradcam"].verdict) == "class-distinct, but not shown to be in the right place (mosaic)"
    assert words(found["layercam"].verdict) == "not class-distinct"
    (section,) = make_report(store, runs=[number]).sections
    (location,) = section.locations
    assert (location.question, location.run, location.chance, location.right) == ("mosaic", 2, 0.25, {"case"})
    mean, low, high = location.means["case"]
    assert mean == pytest.approx(np.mean(OWN))
    assert low < mean < high
    assert "mosaic (run 2): mean own cell, chance 0.25" in " ".join(section.remarks)
    assert "ask `salcheck eval" not in " ".join(section.remarks)


def test_a_map_that_beats_the_controls_and_not_chance_is_not_in_the_right_place(store):
    add_run(store, {"case": LOW, **CONTROLS})
    low = [value - 0.2 for value in CELL]
    scores = {"case": [value - 0.05 for value in CELL], "random": low, "center": low, "edges": low}
    number = add_run(store, scores, **PLACED)
    assert words(lines(store, runs=[number])["case"].verdict) == "better than every control"
    case = lines(store, questions=["rq1"])["case"]
    assert words(case.verdict) == "class-distinct, but not shown to be in the right place (mosaic)"
    assert case.verdict.kind == "qualified"


def test_no_evidence_stays_no_evidence_wherever_the_map_lies(store):
    add_run(store, {"case": LOW, **CONTROLS, "random": LOW[::-1]})
    add_run(store, {"case": OWN, "lafam": CELL, **LEFT}, **PLACED)
    assert words(lines(store, questions=["rq1"])["case"].verdict) == "no evidence (random passes too)"


def test_a_method_that_was_not_asked_where_its_map_lies_is_not_qualified(store):
    add_run(store, {"case": LOW, **CONTROLS})
    add_run(store, {"gradcam": OWN, **LEFT}, **PLACED)
    assert words(lines(store, questions=["rq1"])["case"].verdict) == "class-distinct"


@pytest.mark.parametrize("other", [{"weights": "v" * 64}, {"layer": "layer3"}, {"dtype": "float16"}])
def test_places_are_those_of_the_same_weights_layer_and_precision(store, other):
    number = add_run(store, {"case": LOW, **CONTROLS})
    add_run(store, {"case": OWN, "random": CELL}, model=other, **PLACED)
    (section,) = make_report(store, runs=[number]).sections
    assert section.locations == ()


def test_scenes_have_a_chance_of_a_half_and_the_newest_run_counts(store):
    number = add_run(store, {"case": LOW, **CONTROLS})
    for values, digest in ((CELL, "f"), (OWN, "g")):
        scores = {"case": values, **LEFT}
        add_run(store, scores, question="scenes", metric="right", levels=(0.0,), digest=digest * 64)
    (section,) = make_report(store, runs=[number]).sections
    (location,) = section.locations
    assert (location.question, location.run, location.chance) == ("scenes", 3, 0.5)
    assert words(section.lines[0].verdict) == "class-distinct"


# Which runs


def test_of_runs_alike_but_for_their_reference_the_newest_is_shown_and_the_others_named(store):
    add_run(store, {"case": LOW}, reference="some")
    add_run(store, {"case": LOW}, arch="vgg")
    add_run(store, {"case": LOW}, reference="others")
    add_run(store, {"case": LOW}, percent=10.0)
    report = make_report(store)
    assert [section.about["run"] for section in report.sections] == [2, 3, 4]
    assert report.remarks == ["Not shown, each with its own salcheck report --run: run 1."]
    alone = make_report(store, runs=[1])
    assert [section.about["run"] for section in alone.sections] == [1]
    assert alone.remarks == []


def test_other_images_under_the_same_name_are_another_dataset(store):
    add_run(store, {"case": LOW}, digest="a" * 64)
    add_run(store, {"case": HIGH}, digest="b" * 64)
    assert [section.about["run"] for section in make_report(store).sections] == [1, 2]


def test_a_run_that_is_not_there_is_one_line_with_those_that_are(store):
    for arch in ("vgg", "resnet"):
        add_run(store, {"case": LOW}, arch=arch)
    with pytest.raises(SalcheckError, match="no run 7 in this database: there is 1, 2"):
        make_report(store, runs=[7])


def test_a_question_that_is_not_there_offers_the_nearest(store):
    with pytest.raises(SalcheckError, match=r"unknown question 'rq11': did you mean rq1"):
        make_report(store, questions=["rq11"])


def test_a_database_without_runs_says_what_to_do(store):
    with pytest.raises(SalcheckError, match="no scores yet: run `salcheck eval rq1` first"):
        make_report(store)
    with pytest.raises(SalcheckError, match="no scores yet for question rq1: run `salcheck eval rq1` first"):
        make_report(store, questions=["RQ1"])


def test_runs_of_a_question_that_this_version_does_not_know_are_left_out_and_named(store):
    add_run(store, {"case": LOW}, question="rq9")
    add_run(store, {"case": LOW})
    report = make_report(store)
    assert [section.about["run"] for section in report.sections] == [2]
    assert "run 1" in report.remarks[0]
    with pytest.raises(SalcheckError, match="unknown question 'rq9'"):
        make_report(store, runs=[1])


def test_a_report_opens_no_torch(store, tmp_path):
    add_run(store, {"case": LOW, **CONTROLS})
    code = """
import sys
from salcheck.naming import registry
from salcheck.report.build import make_report
from salcheck.store.results import Store
with Store(sys.argv[1], create=False) as store:
    texts = [registry.load("formats", name).render(make_report(store), {}) for name in registry.names("formats")]
assert all("class-distinct" in text for text in texts)
print(sorted({"torch", "timm", "torchvision", "PIL"} & set(sys.modules)))
"""
    assert run(code, tmp_path / "salcheck.db") == (0, "[]", "")


# Filters


@pytest.fixture
def several(store):
    """Runs 1 to 5: two questions of two archs, and an older run like the last."""
    for arch in ("resnet", "vgg"):
        add_run(store, {"case": LOW}, arch=arch)
        add_run(store, {"case": OWN}, arch=arch, **PLACED)
    add_run(store, {"case": LOW}, arch="vgg", reference="others")
    return store


@pytest.mark.parametrize(
    ("filters", "shown"),
    [
        ({}, [1, 2, 4, 5]),
        ({"questions": ["rq1"]}, [1, 5]),
        ({"questions": ("mosaic", "RQ1")}, [1, 2, 4, 5]),
        ({"runs": [3]}, [3]),
        ({"runs": {5, 3, 1}}, [1, 3, 5]),
        ({"archs": ["vgg"]}, [4, 5]),
        ({"archs": ["vgg", "resnet"], "questions": ["mosaic"]}, [2, 4]),
        ({"runs": [1, 3, 4], "questions": ["rq1"], "archs": ["vgg"]}, [3]),
    ],
)
def test_a_run_is_shown_where_it_passes_every_filter(several, filters, shown):
    report = make_report(several, **filters)
    assert [section.about["run"] for section in report.sections] == shown
    older = 5 in shown and "runs" not in filters
    assert report.remarks == ["Not shown, each with its own salcheck report --run: run 3."] * older


def test_an_arch_may_be_named_as_the_model(several):
    model = make_report(several, runs=[3]).sections[0].about["model"]
    assert {section.about["model"] for section in make_report(several, archs=[model]).sections} == {model}


@pytest.mark.parametrize(
    ("filters", "says"),
    [
        ({"runs": [1, 7]}, "no run 7 in this database: there is 1, 2, 3, 4, 5"),
        ({"archs": ["vgg", "vit"]}, "no arch vit in this database: there is resnet, vgg"),
        ({"questions": ["rq1", "rq11"]}, "unknown question 'rq11': did you mean rq1"),
        (
            {"questions": ["rq2"], "archs": ["vgg"]},
            "no scores yet for question rq2 and arch vgg: run `salcheck eval rq2",
        ),
        ({"questions": ["rq1"], "runs": [2]}, "no run is of question rq1 and run 2 at once"),
    ],
)
def test_a_filter_that_nothing_passes_is_one_line(several, filters, says):
    with pytest.raises(SalcheckError) as error:
        make_report(several, **filters)
    assert str(error.value).startswith(says)
    assert "\n" not in str(error.value)


def test_what_the_model_was_fed_and_what_had_to_be_decided_about_it_is_said(store):
    given = {"size": [96, 64], "channels": 1, "crop_pct": 0.9, "crop_mode": "center", "interpolation": "bicubic"}
    fed = to_json(given | {"mean": [0.5], "std": [0.25]})
    add_run(store, {"gradcam": [1.0, 2.0]}, model={"input": fed, "notes": to_json(["classes by sorted folder names"])})
    said = remarks(store)
    assert "Model: input 96×64, grey, crop .9 bicubic, mean .5, std .25." in said
    assert "Of the model: classes by sorted folder names." in said


def test_of_a_model_of_which_nothing_is_known_nothing_is_said(store):
    add_run(store, {"gradcam": [1.0, 2.0]})
    assert "model:" not in remarks(store).lower()
