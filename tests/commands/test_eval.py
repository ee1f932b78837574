import json
import re
import shutil
import socket

import pytest

from salcheck.errors import SalcheckError
from tests.calls import refused, run
from tests.makers import save_model


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
