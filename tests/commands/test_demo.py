"""The demo is the whole path on the built-in model, so it is also its test."""

import re
import subprocess
import sys

import pytest
from PIL import Image

from salcheck.methods import parse_methods
from salcheck.store.results import Store


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    root = tmp_path_factory.mktemp("demo")
    done = subprocess.run(
        [sys.executable, "-m", "salcheck", "demo", "--out", root / "out"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return root / "out", done


def test_it_leaves_pictures_a_database_and_a_report(demo):
    out, _ = demo
    for name in ("scene.png", "scene-case.png", "scene-gradcam.png"):
        with Image.open(out / name) as picture:
            assert min(picture.size) >= 128
    assert (out / "report.md").read_text().startswith("## rq1:")


def test_it_scores_every_method_on_two_hundred_scenes(demo):
    out, _ = demo
    with Store(str(out / "salcheck.db"), create=False) as store:
        scores = store.query(
            "SELECT methods.name, COUNT(*) AS n, COUNT(value) AS scored FROM scores"
            " JOIN methods ON method_id = methods.id WHERE metric = 'overlap' GROUP BY 1"
        )
    assert sorted(scores["name"]) == [method.name for method in parse_methods(["quick"])]
    assert set(scores["n"]) == {200}
    assert scores["scored"].max() > 150


def test_it_prints_the_report_and_finds_that_grad_cam_is_hirescam_there(demo):
    _, done = demo
    said = re.search(r"counted once: ([^.]*)\.", " ".join(done.stdout.split()))
    assert said
    assert {"gradcam is cam", "hirescam is cam", "xgradcam is cam"} <= set(said[1].split(", "))
    assert re.search(r"random +200|random +1\d\d", done.stdout)


def test_no_control_is_missing_and_no_figure_is_nan(demo):
    out, _ = demo
    table = (out / "report.md").read_text()
    assert all(f"*{name}*" in table for name in ("random", "center", "edges"))
    assert "nan" not in table
    assert "None" not in table
