import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

from salcheck.naming.words import one_line
from salcheck.references import References
from salcheck.references.confusion import Confusion
from tests.calls import refused, run
from tests.makers import save_model
from tests.nets import make_net


def test_explain_writes_pictures_numbers_and_words(tmp_path, toy, images):
    shown = run(
        *("explain", images / "0" / "0.png", "--arch", toy, "--method", "Grad-CAM,case:contrast=logits,k=2,random"),
        *("--out", tmp_path / "out", "--raw", tmp_path / "raw"),
    )
    names = {"0-gradcam.png", "0-case-contrast=logits-k=2.png", "0-random.png"}
    assert {file.name for file in (tmp_path / "out").iterdir()} == names
    for name in names:
        picture = Image.open(tmp_path / "out" / name).convert("RGB")
        assert 800 < picture.width < 2000
        assert 250 < picture.height < 1000
        assert np.asarray(picture).std() > 10
    with np.load(tmp_path / "raw" / "0.npz") as raw:
        assert set(raw) == {"logits", "classes", "map/Grad-CAM", "map/case:contrast=logits,k=2", "map/random"}
        assert raw["logits"].shape == (7,)
        assert raw["classes"].tolist() == np.argsort(-raw["logits"])[:2].tolist()
        assert all(raw[name].shape == (2, 3, 3) for name in raw if name.startswith("map/"))
    words = shown.stdout
    assert "predicted: kind" in words
    assert "half in" in words
    assert re.search(r"Grad-CAM +kind \d.* %", words)


def test_json_says_the_same_for_a_program(tmp_path, toy, images):
    paths = [images / "0" / "0.png", images / "1" / "1.png"]
    shown = run("explain", *paths, "--arch", toy, "-m", "gradcam", "-m", "center", "--json", "--out", tmp_path)
    records = json.loads(shown.stdout)
    assert [record["image"] for record in records] == [str(path) for path in paths]
    for record in records:
        assert len(record["top5"]) == 5
        chances = [one["probability"] for one in record["top5"]]
        assert chances == sorted(chances, reverse=True)
        assert record["classes"] == record["top5"][:2]
        assert [(one["method"], one["class"]) for one in record["maps"]] == [
            (method, one["class"]) for method in ("gradcam", "center") for one in record["classes"]
        ]
        assert record["overlap"]["center"] == 100
        assert record["maps"][2]["place"]["center"] == pytest.approx([0.5, 0.5], abs=1e-4)
        assert all(Path(file).is_file() for file in record["files"])


def test_classes_can_be_named_in_every_way(tmp_path, toy, images):
    asked = ["-c", "top1", "-c", "3", "-c", "kind 5", "--class", "top7"]
    shown = run("explain", images / "0" / "0.png", "--arch", toy, "-m", "random", *asked, "--json", "--out", tmp_path)
    classes = json.loads(shown.stdout)[0]["classes"]
    assert [one["class"] for one in classes[1:3]] == [3, 5]
    assert classes[0]["probability"] == max(one["probability"] for one in classes)
    assert [one["name"] for one in classes[1:3]] == ["kind 3", "kind 5"]


def test_a_broken_image_costs_no_other_and_the_exit_code_tells(tmp_path, toy, images):
    broken = tmp_path / "broken.jpg"
    broken.write_text("no picture")
    paths = [images / "0" / "0.png", broken, tmp_path / "missing.png", images / "1" / "1.png"]
    result = run("explain", *paths, "--arch", toy, "-m", "gradcam", "--json", "--out", tmp_path / "out", code=1)
    assert [record["image"] for record in json.loads(result.stdout)] == [str(paths[0]), str(paths[3])]
    lines = [line for line in result.stderr.splitlines() if line.startswith("salcheck:")]
    assert len(lines) == 2
    assert str(broken) in lines[0]
    assert "missing.png" in lines[1]


def test_images_of_one_name_do_not_overwrite_each_other(tmp_path, toy, images):
    names = ["a/x.png", "b/x.png", "c/x-2.png", "d/x.gif"]
    for place, name in enumerate(names):
        (tmp_path / name).parent.mkdir()
        Image.open(images / str(place) / "0.png").save(tmp_path / name)
    paths = [tmp_path / name for name in names]
    out, raw = tmp_path / "out", tmp_path / "raw"
    run("explain", *paths, "--arch", toy, "-m", "gradcam", "--out", out, "--raw", raw)
    assert len(list(out.iterdir())) == len(list(raw.iterdir())) == 4
    assert len({np.load(file)["logits"].tobytes() for file in raw.iterdir()}) == 4


@pytest.mark.parametrize(
    "name", ["[bold]x\\.png", "two\nlines.png", "\x1b[31mred.png", "$x_1$ :cat:.png", "n" * 245 + ".png"]
)
def test_odd_file_names_are_shown_and_written(tmp_path, toy, images, name):
    shutil.copy(images / "0" / "0.png", tmp_path / name)
    shown = run("explain", tmp_path / name, "--arch", toy, "-m", "center", "--out", tmp_path / "out").stdout
    assert len(list((tmp_path / "out").iterdir())) == 1
    assert "\x1b" not in shown
    assert one_line(name) in shown


def test_odd_class_names_are_shown_as_they_are(tmp_path, images):
    arch = save_model(tmp_path / "model", classes=3)
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    config["pretrained_cfg"]["label_names"] = ["$x_1$", "[bold]b[/bold]", "two\nlines \x1b[31m日本"]
    (tmp_path / "model" / "config.json").write_text(json.dumps(config))
    shown = run("explain", images / "0" / "0.png", "--arch", arch, "-m", "gradcam", "--out", tmp_path, "-c", "$X_1$")
    assert all(name in shown.stdout for name in ("$x_1$", "[bold]b[/bold]", "two lines \\x1b[31m日本"))


def test_without_references_case_says_what_it_does_instead(tmp_path, toy, images):
    said = "case contrasts with the image's own top logits"
    asked = ["explain", images / "0" / "0.png", "--arch", toy, "--out", tmp_path]
    assert said in run(*asked).stdout
    assert said in json.loads(run(*asked, "--json").stdout)[0]["notes"][0]
    assert said not in run(*asked, "--reference", images).stdout
    assert said not in run(*asked, "-m", "gradcam").stdout


def test_with_references_case_contrasts_with_the_confused_class(tmp_path, monkeypatch, toy, images):
    counts = torch.eye(7, dtype=torch.int64).roll(1, dims=1)  # each class is taken for the next
    confusion = Confusion(counts, torch.zeros(7, 7), torch.ones(7, dtype=torch.int64))
    monkeypatch.setattr("salcheck.references.build", lambda *_, **__: References({"confusion": confusion}))
    asked = ["explain", images / "0" / "0.png", "--arch", toy, "-c", "2", "--out", tmp_path, "--raw", tmp_path]
    run(*asked, "--reference", images, "-m", "case,case:contrast=explicit,against=3,case:contrast=explicit,against=5")
    with np.load(tmp_path / "0.npz") as raw:
        confused, third, fifth = (raw[name] for name in raw if name.startswith("map/"))
    assert np.allclose(confused, third, atol=1e-6)
    assert not np.allclose(confused, fifth, atol=1e-3)


def test_all_methods_come_on_one_sheet_and_a_named_one_has_its_own_picture(tmp_path, toy, images):
    shown = run("explain", images / "0" / "0.png", "--arch", toy, "-m", "quick,gradcam", "--out", tmp_path, "--json")
    (record,) = json.loads(shown.stdout)
    assert {file.name for file in tmp_path.glob("*.png")} == {"0-sheet.png", "0-gradcam.png"}
    assert [Path(file).name for file in record["files"]] == ["0-gradcam.png", "0-sheet.png"]
    assert {one["method"] for one in record["maps"]} >= {"gradcam", "hirescam", "random", "lafam"}
    assert any(note.startswith("diffcam is left out: it compares with held-out images") for note in record["notes"])


@pytest.mark.parametrize("amp", ["bf16", "fp16"])
def test_half_precision_says_how_far_it_moved_the_maps(tmp_path, toy, images, amp):
    asked = ["explain", images / "0" / "0.png", "--arch", toy, "-m", "gradcam,random", "--out", tmp_path]
    assert "from float32" not in run(*asked).stdout
    words = run(*asked, "--amp", amp).stdout
    assert re.search(r"gradcam: up to \d+\.\d% of the peak from float32, \d+ % of the top pixels the same", words)
    (record,) = json.loads(run(*asked, "--amp", amp, "--json").stdout)
    assert record["dtype"] == f"float32, {amp} autocast"
    assert 0 < record["difference_from_float32"]["gradcam"][0]["error"] < 0.5
    assert record["difference_from_float32"]["random"][0]["error"] == 0
    assert "it is one of bf16, fp16" in refused(*asked, "--amp", "int8")


def test_own_weights_are_used(tmp_path, toy, images):
    state = {
        name: value + 0.02 for name, value in make_net("test_resnet").state_dict().items() if value.is_floating_point()
    }
    safetensors.torch.save_file(state, tmp_path / "own.safetensors")
    asked = ["explain", images / "0" / "0.png", "--arch", toy, "-m", "random", "--out", tmp_path, "--json"]
    before, after = (
        json.loads(run(*asked, *more).stdout)[0] for more in ([], ["--checkpoint", tmp_path / "own.safetensors"])
    )
    assert after["model"] == "test_resnet.own.safetensors"
    assert after["top5"] != before["top5"]


def test_a_vision_transformer_can_be_explained(tmp_path, images):
    arch = save_model(tmp_path / "vit", "test_vit", side=224)
    run("explain", images / "0" / "0.png", "--arch", arch, "-m", "all", "--out", tmp_path, "--raw", tmp_path)
    with np.load(tmp_path / "0.npz") as raw:
        assert raw["map/gradcam"].shape == (2, 14, 14)
        assert np.ptp(raw["map/gradcam"]) > 0


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["-m", "gradcan"], "did you mean gradcam"),
        (["-m", ""], "no method named"),
        (["-m", "case:kk=3"], "did you mean k"),
        (["-m", "gradcam:k=3"], "it has none"),
        (["-m", "case:contrast=logit"], "one of confusion, logits, random, explicit"),
        (["-m", "case:k=many"], "case:k=many"),
        (["-m", "case:k=7"], "k is 1 to 6"),
        (["-m", "case:contrast=explicit,against=kind"], "unknown class 'kind'"),
        (["-c", "9"], "out of range"),
        (["-c", "top8"], "top1 to top7"),
        (["--layer", "layr4"], "did you mean layer4"),
        (["--layer", "fc"], "name another --layer"),
        (["--device", "gpu"], "no device 'gpu'"),
        (["--arch", "nosuchmodel"], "unknown arch"),
        (["--checkpoint", "missing.pth"], "no checkpoint file"),
        (["--reference", "missing"], "no folder 'missing'"),
        (["--out", "file"], "--out"),
        (["--raw", "file"], "--raw"),
    ],
)
def test_a_wrong_word_for_explain_is_one_line(tmp_path, toy, images, options, says):
    (tmp_path / "file").touch()
    given = ["--arch", toy, *options]  # the last --arch counts
    assert says in refused("explain", images / "0" / "0.png", *given)


def test_references_without_known_classes_are_refused(tmp_path, toy, images):
    (tmp_path / "held" / "dog").mkdir(parents=True)
    shutil.copy(images / "0" / "0.png", tmp_path / "held" / "dog")
    asked = ["explain", images / "0" / "0.png", "--arch", toy, "--reference", tmp_path / "held"]
    assert "images with known classes" in refused(*asked)
