import json
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image
from typer.testing import CliRunner

from salcheck.cli import app
from salcheck.errors import SalcheckError
from salcheck.naming import registry
from salcheck.network.archs import ARCHS
from salcheck.questions import QUESTIONS
from salcheck.references import References
from salcheck.references.confusion import Confusion
from tests.makers import save_images, save_model
from tests.nets import make_net

COMMANDS = ["explain", "eval", "report", "methods", "questions", "demo", "train"]


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("toy"), side=96)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return save_images(tmp_path_factory.mktemp("images"))


def run(*arguments, code=0):
    """What the command printed, after it ended with this exit code."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result


def refused(*arguments):
    """The one line that a user's mistake ends in."""
    with pytest.raises(SalcheckError) as caught:
        run(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def salcheck(*arguments, **environment):
    command = [sys.executable, "-m", "salcheck.cli", *map(str, arguments)]
    return subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)


# Help


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("columns", [60, 80])
def test_help_fits_the_terminal_and_cuts_no_word(command, columns):
    lines = CliRunner().invoke(app, [command, "--help"], terminal_width=columns).output.splitlines()
    assert columns - 10 < max(map(len, lines)) <= columns
    assert not any("…" in line for line in lines)


def test_the_list_of_commands_cuts_no_sentence():
    shown = CliRunner().invoke(app, ["--help"], terminal_width=60).output
    listed = shown.split("Commands:")[1].strip().splitlines()
    assert [line.split()[0] for line in listed] == COMMANDS
    assert all(line.endswith(".") and not line.endswith("...") for line in listed)


def test_what_is_there_appears_in_help_by_existing(tmp_path):
    shutil.copytree(registry.PACKAGE, tmp_path / "salcheck", ignore=shutil.ignore_patterns("assets", "__pycache__"))
    for kind in ("methods", "datasets", "formats"):
        (tmp_path / "salcheck" / kind / "brand_new.py").touch()
    code = "from salcheck.cli import main; main()"
    for command in ("explain", "eval", "report"):
        shown = subprocess.run(
            [sys.executable, "-c", code, command, "--help"], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        assert "brand-new" in shown.stdout, command


def test_help_names_every_method_arch_dataset_format_and_question():
    explain, evaluate, report = (run(command, "--help").output for command in ("explain", "eval", "report"))
    assert all(name in explain and name in evaluate for name in [*registry.names("methods"), *ARCHS])
    assert all(name in evaluate for name in registry.names("datasets"))
    assert all(name in "".join(evaluate.split()) for name in QUESTIONS)
    assert all(name in report for name in registry.names("formats"))


def test_help_imports_nothing_heavy():
    code = """
import sys
from salcheck.cli import app
app(["explain", "--help"], standalone_mode=False)
print([name for name in ("torch", "timm", "numpy", "sqlalchemy", "pandas", "matplotlib") if name in sys.modules])
"""
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.splitlines()[-1] == "[]"


# Explain


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
    assert registry.one_line(name) in shown


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


def test_methods_lists_every_one_with_cost_source_and_parameters():
    shown = " ".join(run("methods").stdout.split())
    for name in registry.names("methods"):
        assert f" {name}: " in shown
    assert "gradcam: Grad-CAM: channels weighted by the mean gradient of the class score. cost M head" in shown
    assert "contrast=confusion (or logits, random" in shown
    assert "group=knn (or others, same, pair, class:NAME (several joined by +), images:DIR)" in shown
    assert "cost C + 1 forwards; Wang et al." in shown


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


# Eval and report


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["rq9"], "unknown question 'rq9'.*did you mean rq2 or rq1"),
        (["rq1:percent=0"], "percent=0: it is a part of the picture"),
        (["rq1", "rq2:percent=5+101"], "percent=101: it is a part of the picture"),
        (["rq2:percent=5+25+5"], "percent names the same part of the picture twice"),
        (["rq1:percent=nan"], "rq1:percent=nan: it takes finite numbers"),
        (["rq1:treshold=5"], "unknown parameter of rq1 'treshold': did you mean threshold"),
        (["rq2:threshold=5"], "unknown parameter of rq2 'threshold'"),
        (["rq2:fill=red"], "rq2:fill=red: it is one of mean, zero, grey, blur, inpaint"),
        (["rq2:percent"], "'percent' in 'rq2:percent' is no parameter"),
        (["rq1", "--methods", "cas"], "did you mean case"),
        (["rq1", "--dataset", "foldr"], "did you mean folder"),
        (["rq1", "--data", "missing"], "no folder 'missing'"),
        (["rq1", "--data", "empty"], "no images in 'empty'"),
        (["rq1", "--dataset", "scenes"], "scenes go with --arch scenes"),
        (["rq1", "--db", "mysql://x"], "SQLite"),
        (["rq1", "--db", "missing/x.db"], "name another with --db"),
        (["rq1", "--db", "text.txt"], "no SQLite database"),
    ],
)
def test_a_wrong_word_for_eval_is_one_line(tmp_path, toy, arguments, says):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.txt").write_text("not a database " * 100)
    assert re.search(says, refused("eval", *arguments, "--arch", toy))


def test_a_model_of_other_classes_is_asked_for_data(toy):
    assert re.search(r"this model has others: give --data DIR", refused("eval", "rq1", "--arch", toy))


def test_without_data_or_network_one_line_names_the_choices(tmp_path, monkeypatch):
    def unreachable(*_, **__):
        raise socket.gaierror("Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unreachable)
    thousand = save_model(tmp_path / "imagenet", classes=1000)
    config = json.loads((tmp_path / "imagenet" / "config.json").read_text())
    del config["pretrained_cfg"]["label_names"]
    (tmp_path / "imagenet" / "config.json").write_text(json.dumps(config))
    line = refused("eval", "rq1", "--arch", thousand)
    assert re.search(r"imagenette cannot be fetched.*--data DIR.*--arch scenes", line)


@pytest.mark.parametrize("place", ["file", "/proc/salcheck"])
def test_a_cache_that_cannot_be_written_is_one_line(tmp_path, monkeypatch, toy, images, place):
    (tmp_path / "file").touch()
    monkeypatch.setenv("SALCHECK_CACHE", place)
    assert "point SALCHECK_CACHE" in refused("eval", "rq1", "--arch", toy, "--data", images)


def test_a_database_of_another_program_is_left_alone(tmp_path, toy, images):
    import sqlite3

    with sqlite3.connect(tmp_path / "notes.db") as connection:
        connection.execute("CREATE TABLE notes (words TEXT)")
    for asked in (["eval", "rq1", "--arch", toy, "--data", images], ["report"]):
        assert "belongs to another program" in refused(*asked, "--db", "notes.db")
    with sqlite3.connect(tmp_path / "notes.db") as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("notes",)]


def test_eval_then_report_in_every_format(tmp_path, toy, images):
    asked = ["rq1", "--arch", toy, "--data", images, "-m", "gradcam", "--all-images", "--db", "own.db"]
    assert "salcheck report --run 1" in run("eval", *asked).stderr
    for name in registry.names("formats"):
        shown = run("report", "--db", "own.db", "--format", name).stdout
        assert "gradcam" in shown
        assert "center" in shown
        run("report", "--db", "own.db", "--format", name, "--out", f"report.{name}")
        assert (tmp_path / f"report.{name}").read_text() == shown
    assert json.loads(run("report", "--db", "own.db", "--out", "x.json").stdout or (tmp_path / "x.json").read_text())
    assert "unknown question" in refused("report", "--db", "own.db", "--question", "rq9")
    assert "no run 7" in refused("report", "--db", "own.db", "--run", "7")
    assert "--out" in refused("report", "--db", "own.db", "--out", tmp_path)


def test_two_questions_in_one_command_and_pictures_beside_the_report(tmp_path, toy, images):
    asked = ["rq2:percent=5+25", "contrastive:percent=5+25", "--arch", toy, "--data", images, "-m", "gradcam"]
    said = run("eval", *asked, "--all-images", "--n", "6").stderr
    assert "salcheck report --run 1" in said
    assert "salcheck report --run 2" in said
    run("report", "--out", "report.md")
    text = (tmp_path / "report.md").read_text()
    for name in ("run1-drop", "run1-difference", "run2-contrast", "run2-own", "run2-other"):
        assert f"](report-{name}.png)" in text
        assert (tmp_path / f"report-{name}.png").stat().st_size > 5000
    assert not list(tmp_path.glob("*.tmp*"))


def test_variants_ask_the_same_under_other_readings(tmp_path, toy, images):
    asked = ["rq1", "--variants", "--arch", toy, "--data", images, "-m", "gradcam", "--all-images", "--n", "4"]
    assert run("eval", *asked).stderr.count("Next: salcheck report") == 2 + (1 if has_paper_layer(toy) else 0)
    shown = " ".join(run("report").stdout.split())
    assert "rq1 under other readings" in shown
    assert "percent=20" in shown


def has_paper_layer(arch):
    from salcheck.network.loading import load_model

    try:
        return load_model(arch).at("paper").layer != load_model(arch).layer
    except SalcheckError:
        return False


def test_questions_are_listed_with_what_can_be_set():
    shown = " ".join(run("questions").stdout.split())
    for name, question in QUESTIONS.items():
        assert f"{name}: {question.title}" in shown
        assert question.source in shown
    assert "percent=5+10+25+50" in shown
    assert "fill=mean (or zero, grey, blur, inpaint)" in shown


def test_a_report_of_nothing_is_one_line():
    assert "no database 'salcheck.db'" in refused("report")
    assert "unknown format 'pdf'" in refused("report", "--format", "pdf")


@pytest.mark.parametrize(
    "wrong",
    [
        *("--n 0", "--n many", "--percent 5", "--seed -1", "--nosuch"),
        *(f"--seed {10**20}", "--batch-size 0", f"--batch-size {10**20}"),
    ],
)
def test_an_impossible_number_is_a_usage_error(wrong):
    result = run("eval", "rq1", *wrong.split(), code=2)
    assert "Usage: " in result.stderr
    assert wrong.split()[0] in result.stderr.splitlines()[-1]


# The program as a whole


def test_a_mistake_is_one_line_on_stderr_and_exit_code_two(tmp_path):
    shown = salcheck("explain", "x.jpg", "--arch", "local-dir:two\nlines")
    assert (shown.returncode, shown.stdout) == (2, "")
    assert shown.stderr.startswith("salcheck: cannot load --arch 'local-dir:two lines'")
    assert shown.stderr.count("\n") == 1


def test_a_terminal_that_knows_no_unicode_still_gets_its_numbers(tmp_path, toy, images):
    file = tmp_path / "schön 日.png"
    shutil.copy(images / "0" / "0.png", file)
    shown = salcheck("explain", file, "--arch", toy, "-m", "center", PYTHONIOENCODING="ascii")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "sch\\xf6n \\u65e5.png" in shown.stdout


def test_images_without_labels_leave_out_what_needs_them_and_score_the_rest(tmp_path, toy, images):
    flat = tmp_path / "flat"
    flat.mkdir()
    for number, file in enumerate(sorted(images.rglob("*.png"))[:12]):
        shutil.copy(file, flat / f"{number}.png")
    asked = ("eval", "rq1", "--data", flat, "--arch", toy, "--all-images", "--n", "4", "--db", tmp_path / "x.db")
    shown = run(*asked)
    assert "case is left out: it needs held-out images with known classes" in shown.stderr
    assert "diffcam" in run("report", "--db", tmp_path / "x.db").stdout
    assert "cannot use case" in refused(*asked, "-m", "case")
