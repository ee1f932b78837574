import json

import pytest

from salcheck.naming import registry
from salcheck.store.results import Store
from tests.calls import refused, run
from tests.databases import add_run


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
    assert "--out" in refused("report", "--db", "own.db", "--format", "md", "--out", tmp_path)


def test_a_report_of_nothing_is_one_line():
    assert "no database 'salcheck.db'" in refused("report")
    assert "unknown format 'pdf'" in refused("report", "--format", "pdf")


@pytest.fixture
def stored():
    """A database of two questions asked of two models: runs 1 and 2 of vgg, 3 and 4 of resnet."""
    with Store("salcheck.db") as store:
        for arch in ("vgg", "resnet"):
            for question, metric in (("rq1", "overlap"), ("rq2", "drop")):
                add_run(store, {"case": [10.0, 20.0, 30.0]}, arch=arch, question=question, metric=metric)


@pytest.mark.parametrize("file", ["x.tex", "x.md.old", "report", ".md"])
def test_a_file_whose_suffix_is_no_format_is_refused_unless_the_format_is_named(tmp_path, stored, file):
    line = refused("report", "--out", file)
    assert line.startswith(f"'{file}' has ")
    assert all(f".{name}" in line for name in registry.names("formats"))
    assert not (tmp_path / file).exists()
    run("report", "--out", file, "--format", "csv")
    assert (tmp_path / file).read_text().startswith("table,question,")


def test_runs_questions_and_models_can_be_repeated(stored):
    def told(*words):
        return sorted({row["run"] for row in json.loads(run("report", "--format", "json", *words).stdout)})

    assert told("--run", 4, "--run", 1) == [1, 4]
    assert told("--question", "rq1", "--question", "rq2") == [1, 2, 3, 4]
    assert told("--arch", "vgg", "--question", "rq2") == [2]
    assert told("--arch", "vgg", "--arch", "resnet", "--question", "rq2") == [2, 4]
    assert "no arch vg in this database: there is vgg, resnet" in refused("report", "--arch", "vg")
    assert run("report", "--run", 10**20, code=2).stderr.splitlines()[-1].startswith("Error: Invalid value for '--run'")


def test_a_format_of_ones_own_joins_and_must_give_text(tmp_path, stored):
    (tmp_path / "lines.py").write_text(
        "def render(report, pictures):\n    return f'{len(report.sections)} sections\\n'\n"
    )
    assert run("report", "--format", "./lines.py").stdout == "4 sections\n"
    run("report", "--plugin", "lines.py", "--out", "x.lines")
    assert (tmp_path / "x.lines").read_text() == "4 sections\n"
    (tmp_path / "numbers.py").write_text("def render(report, pictures):\n    return 4\n")
    assert "render gave a int: a format's render gives a str" in refused("report", "--format", "numbers.py")
