"""Every make target: its recipe is written out, and what it would start is there."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from salcheck.cli import make_app

ROOT = Path(__file__).parents[1]
TARGETS = re.findall(r"^([a-z-]+):(?!=)", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")


@pytest.fixture
def make(tmp_path):
    """`make` with an environment that counts as installed; returns the status, what it prints and its errors."""
    folder = tmp_path / "venv" / "bin"
    folder.mkdir(parents=True)
    (folder / "python").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
    (folder / "python").chmod(0o755)
    (folder / ".installed").touch()

    def call(*words, cwd=ROOT):
        command = ["make", "--no-print-directory", f"VENV={tmp_path / 'venv'}", f"PYTHON={sys.executable}", *words]
        return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)

    return call


@pytest.mark.parametrize("target", TARGETS)
def test_a_recipe_starts_what_is_there(make, target):
    done = make("-n", target)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    for line in done.stdout.splitlines():
        program, *words = shlex.split(line)
        if Path(program).name == "salcheck":
            command = typer.main.get_command(make_app()).commands[words[0]]
            command.make_context(words[0], words[1:], resilient_parsing=False)
        if words[:1] == ["-m"] and words[1].startswith("tests."):
            place = ROOT / words[1].replace(".", "/")
            assert place.with_suffix(".py").is_file() or (place / "__main__.py").is_file()


def test_bench_runs_every_benchmark(make):
    run = re.findall(r"tests\.benchmarks\.(\w+)", make("-n", "bench").stdout)
    assert sorted(run) == sorted(file.stem for file in (ROOT / "tests" / "benchmarks").glob("bench_*.py"))


def test_help_names_every_target(make):
    done = make("help")
    assert [line.split()[1] for line in done.stdout.splitlines()] == TARGETS


def test_every_target_is_phony():
    (phony,) = re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    assert sorted(phony.split()) == sorted(TARGETS)


def test_clean_leaves_the_code(make, tmp_path):
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in ("dist", ".mypy_cache", "salcheck"):
        (tmp_path / name).mkdir()
    assert make("clean", cwd=tmp_path).returncode == 0
    assert (tmp_path / "salcheck").is_dir()
    assert not (tmp_path / "dist").exists()


@pytest.mark.slow
def test_mutants_of_one_file_are_told(make):
    done = make("mutants", "FILES=hirescam")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"methods/hirescam.py: (\d+) of \1 mutants, \1 killed", done.stdout)
