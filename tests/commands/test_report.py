import json

from salcheck.naming import registry
from tests.calls import refused, run


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


def test_a_report_of_nothing_is_one_line():
    assert "no database 'salcheck.db'" in refused("report")
    assert "unknown format 'pdf'" in refused("report", "--format", "pdf")
