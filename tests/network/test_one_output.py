"""Models of one output, held to a network that has two outputs, -z and z, of its own."""

import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from typer.testing import CliRunner

from salcheck.cli import make_app
from salcheck.store.results import Store
from tests.makers import save_images, save_model

METHODS = (
    "ablationcam,cam,diffcam:k=2,difference,eigengradcam,finercam,goyal,gradcam,gradcampp,gradient,gradxinput,"
    "guidedbackprop,hirescam,integratedgradients:steps=3,layercam,libracam:p_top=0.5,liftcam,occlusion,rise:masks=20,"
    "scorecam,scout,scout:confidence=entropy,smoothgrad:samples=2,smoothgradcampp:samples=2,xgradcam"
)
SCORES = """
SELECT question, method, image, metric, level, value, kind FROM all_scores
WHERE method NOT LIKE 'case%' AND method NOT LIKE 'relevancecam%' ORDER BY question, method, image, metric, level
"""
PREDICTIONS = "SELECT image, rank, class, logit, probability FROM all_predictions ORDER BY image, rank"


def call(words):
    result = CliRunner().invoke(make_app(), words)
    return result.exit_code, result.output


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Images of two classes; a model `one` of one output z, and its twin `two` of the outputs -z and z."""
    folder = tmp_path_factory.mktemp("outputs")
    save_images(folder / "images", classes=2, each=4)
    for name, classes in {"one": 1, "two": 2}.items():
        save_model(folder / name, classes=classes)
    one, two = (folder / name / "model.safetensors" for name in ("one", "two"))
    state = safetensors.torch.load_file(one)
    state["fc.weight"] *= 20  # or all confidences are about a half
    safetensors.torch.save_file(state, one)
    twin = {name: torch.cat([-state[name], state[name]]) for name in ("fc.weight", "fc.bias")}
    safetensors.torch.save_file(state | twin, two)
    return folder


@pytest.fixture(scope="module")
def asked(place):
    """Both models asked the same by `eval`: with the database of each."""
    for name in ("one", "two"):
        words = f"eval rq1 rq2 deletion:steps=4 --method {METHODS} --data {place / 'images'} --all-images -n 3"
        words += f" --arch local-dir:{place / name} --output sigmoid --db {place / name}.db"
        code, said = call(words.split())
        assert code == 0, said
    return {name: Store(f"{place / name}.db") for name in ("one", "two")}


def test_every_score_is_that_of_the_twin_with_two_outputs(asked):
    one, two = (asked[name].query(SCORES) for name in ("one", "two"))
    shared = sorted(set(one["method"]) & set(two["method"]))
    assert len(shared) > 25, shared
    one, two = (scores[scores["method"].isin(shared)].reset_index(drop=True) for scores in (one, two))
    assert one.drop(columns="value").equals(two.drop(columns="value"))
    assert one["value"].notna().mean() > 0.6
    same = np.isclose(one["value"].astype(float), two["value"].astype(float), rtol=1e-3, atol=1e-4, equal_nan=True)
    assert same.mean() > 0.98, one[~same].to_string()  # rounding decides between pixels that are nearly equal


def test_predictions_are_the_sigmoid_and_its_opposite(asked):
    one, two = (asked[name].query(PREDICTIONS) for name in ("one", "two"))
    assert one.drop(columns=["logit", "probability"]).equals(two.drop(columns=["logit", "probability"]))
    np.testing.assert_allclose(one["probability"], 1 / (1 + np.exp(-one["logit"])), rtol=1e-5)
    np.testing.assert_allclose(one["logit"], two["logit"], rtol=1e-4)
    assert one.groupby("image")["probability"].sum().to_numpy() == pytest.approx(1)
    assert one["probability"].std() > 0.05  # not all the same


def test_how_it_was_read_is_stored(asked):
    (row,) = asked["one"].query("SELECT DISTINCT output, classes, notes FROM models").itertuples(index=False)
    assert (row.output, row.classes) == ("sigmoid", 2)
    assert "one output, read by a sigmoid" in json.loads(row.notes)[0]


def test_explain_says_the_confidence_of_both_classes(place):
    image = place / "images" / "0" / "0.png"
    code, said = call(["explain", str(image), "--arch", f"local-dir:{place / 'one'}", "-m", "gradcam"])
    assert code == 0, said
    assert "one output, read by a sigmoid (guessed from the one output" in " ".join(said.split())
    code, out = call(["explain", str(image), "--arch", f"local-dir:{place / 'one'}", "-m", "gradcam", "--json"])
    (record,) = json.loads(out)
    sure = {one["class"]: one["probability"] for one in record["classes"]}
    scores = {one["class"]: one["score"] for one in record["classes"]}
    assert sum(sure.values()) == pytest.approx(1) and 0 < min(sure.values()) < 0.5
    assert scores[0] == -scores[1]


def test_values_are_explained_up_and_down_and_have_no_confidence(place):
    image = place / "images" / "0" / "0.png"
    words = ["--arch", f"local-dir:{place / 'one'}", "--output", "value"]
    code, out = call(["explain", str(image), *words, "-m", "gradcam,random", "-c", "0", "-c", "1", "--json"])
    assert code == 0, out
    (record,) = json.loads(out)
    assert [one["probability"] for one in record["classes"]] == [None, None]
    assert [one["name"] for one in record["classes"]] == ["kind 0 down", "kind 0 up"]
    assert "%" not in call(["explain", str(image), *words, "-m", "gradcam"])[1].split("predicted")[1].split("\n")[0]


@pytest.mark.parametrize("question", ["rq2", "deletion", "insertion", "road", "quality", "averagedrop", "mosaic"])
def test_questions_of_confidences_refuse_values_in_one_line(place, question, tmp_path):
    words = f"eval {question} --arch local-dir:{place / 'one'} --output value --data {place / 'images'} --all-images"
    result = CliRunner().invoke(make_app(), [*words.split(), "-m", "gradcam", "--db", str(tmp_path / "no.db")])
    assert result.exit_code and "reads confidences, and this model's outputs are values" in str(result.exception)
    assert (question == "mosaic") or f"{question}:output=logit reads the values" in str(result.exception)


def test_values_are_measured_by_questions_that_read_them(place, tmp_path):
    words = f"eval deletion:output=logit,steps=4 rq1 --arch local-dir:{place / 'one'} --output value -n 3"
    words += f" --data {place / 'images'} --all-images -m quick --db {tmp_path / 'values.db'}"
    code, said = call(words.split())
    assert code == 0, said
    with Store(str(tmp_path / "values.db")) as store:
        assert store.query("SELECT value FROM all_scores WHERE metric = 'deletion'")["value"].notna().any()
        assert store.query("SELECT probability FROM all_predictions")["probability"].isna().all()
    code, said = call(["report", "--db", str(tmp_path / "values.db"), "--format", "md"])
    assert code == 0, said


@pytest.mark.parametrize("method", ["rise", "libracam", "scout", "goyal"])
def test_methods_that_read_confidences_are_unfit_for_values(place, method):
    image = place / "images" / "0" / "0.png"
    words = ["explain", str(image), "--arch", f"local-dir:{place / 'one'}", "--output", "value", "-m", method]
    result = CliRunner().invoke(make_app(), words)
    assert "it reads confidences, and this model's outputs are values" in str(result.exception)


def test_several_sigmoids_are_each_measured_by_itself(place, tmp_path):
    arch, images = save_model(tmp_path / "three", classes=3), save_images(tmp_path / "images", classes=3, each=2)
    words = f"eval averagedrop --arch {arch} --output sigmoid --data {images} --all-images -n 2 -m gradcam"
    code, said = call([*words.split(), "--db", str(tmp_path / "three.db")])
    assert code == 0, said
    with Store(str(tmp_path / "three.db")) as store:
        found = store.query(PREDICTIONS)
    np.testing.assert_allclose(found["probability"], 1 / (1 + np.exp(-found["logit"])), rtol=1e-5)


def test_maps_of_opposites_are_each_others_negatives(place):
    image, raw = place / "images" / "0" / "1.png", place / "raw"
    words = ["explain", str(image), "--arch", f"local-dir:{place / 'one'}", "-m", "hirescam", "-c", "0", "-c", "1"]
    assert call([*words, "--raw", str(raw)])[0] == 0
    down, up = np.load(Path(raw) / "1.npz")["map/hirescam"]
    np.testing.assert_array_equal(down, -up)


def test_where_no_method_is_named_and_case_does_not_fit_gradcam_is_taken_and_that_is_said(place):
    image = place / "images" / "0" / "0.png"
    code, said = call(["explain", str(image), "--arch", f"local-dir:{place / 'one'}", "--json"])
    (record,) = json.loads(said)
    assert code == 0 and {one["method"] for one in record["maps"]} == {"gradcam"}
    assert "gradcam, for case does not fit this model: it contrasts classes" in record["notes"][1]


def test_a_method_that_is_named_and_does_not_fit_is_refused(place):
    image = place / "images" / "0" / "0.png"
    words = ["explain", str(image), "--arch", f"local-dir:{place / 'one'}", "-m", "case"]
    assert "opposites of the same output" in str(CliRunner().invoke(make_app(), words).exception)
