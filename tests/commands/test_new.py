"""What `salcheck new` writes passes as written, says commands that work, and catches a wrong formula."""

import subprocess
import sys

import pytest

from tests.calls import refused, run, salcheck
from tests.makers import save_images

KINDS = ["method", "question", "dataset", "format"]


def passed(folder):
    """The exit code of plain pytest there, which sees no configuration of ours: 0 all passed, 1 some failed."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-c",
        "/dev/null",
        "--rootdir",
        folder,
        folder,
    ]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_passes_and_is_formatted(tmp_path, kind):
    said = run("new", kind, "My-Own", "--out", tmp_path / "lab").stdout
    assert {file.name for file in (tmp_path / "lab").iterdir()} == {"my_own.py", "test_my_own.py"}
    assert f"python -m pytest {tmp_path}/lab/test_my_own.py" in said
    status, words = passed(tmp_path / "lab")
    assert status == 0, words
    for check in (["check", "--select", "E,F,UP,B"], ["format", "--check"]):
        ruff = [sys.executable, "-m", "ruff", *check, "--isolated", "--line-length", "120", tmp_path / "lab"]
        done = subprocess.run(ruff, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("-(weights[..., None, None] * view", "(weights[..., None, None] * view"),
        ("weights[..., None, None] ** 2", "weights[..., None, None]"),
        (".sum(dim=(-2, -1))", ".mean(dim=(-2, -1))"),
        ("** 1", "** power"),
    ],
)
def test_a_wrong_formula_fails_the_test_that_was_written(tmp_path, wrong, right):
    run("new", "method", "mine")
    file = tmp_path / "mine.py"
    text = file.read_text()
    assert text.count(right) == 1
    file.write_text(text.replace(right, wrong))
    status, words = passed(tmp_path)
    assert status == 1, words
    assert "test_the_map_is_the_formula" in words


def test_nothing_is_overwritten_and_no_name_is_taken(tmp_path):
    (tmp_path / "test_mine.py").write_text("precious")
    assert "File exists" in refused("new", "method", "mine")
    assert (tmp_path / "test_mine.py").read_text() == "precious"
    assert not (tmp_path / "mine.py").exists()
    assert "salcheck's own methods/gradcam.py" in refused("new", "method", "Grad-CAM")
    assert "there is a question rq1 already" in refused("new", "question", "rq1")
    assert "is no name" in refused("new", "format", "../x")
    assert "'kind'" not in run("new", "kind", "x", code=2).stderr.splitlines()[0]


def next_commands(said, **given):
    """The commands that it says to try next, with a user's own files in them."""
    lines = [line.strip() for line in said.splitlines() if line.strip().startswith("salcheck ")]
    for word, value in given.items():
        lines = [line.replace(word, str(value)) for line in lines]
    return [line.split()[1:] for line in lines]


@pytest.mark.parametrize("kind", KINDS)
def test_the_commands_that_it_says_work(tmp_path, kind):
    images = save_images(tmp_path / "images", classes=2)
    run("eval", "rq1", "--arch", "scenes", "--n", "4", "-m", "gradcam")
    said = next_commands(run("new", kind, "my-own").stdout, IMG=images / "0" / "0.png", DIR=images)
    assert said
    for words in said:
        quick = {"100": "6", "gradcam,lafam": "gradcam"}
        arch = [] if "--arch" in words or words[0] == "report" else ["--arch", "scenes"]
        more = ["--all-images"] if words[0] == "eval" else []
        done = salcheck(*(quick.get(word, word) for word in words), *arch, *more)
        assert done.returncode == 0, (words, done.stderr)
    if kind in ("method", "question"):
        assert "my-own" in salcheck("report", "--plugin", "./my_own.py").stdout
    if kind == "format":
        assert "gradcam" in (tmp_path / "report.my-own").read_text()
