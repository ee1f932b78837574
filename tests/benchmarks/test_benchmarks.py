"""Every benchmark runs: on a few scenes, for seconds, and nothing is said about its figures."""

import importlib
import sys
from pathlib import Path

import pytest

NAMES = sorted(file.stem for file in Path(__file__).parent.glob("bench_*.py"))
SLOW = {"bench_rq1"}  # it starts processes of its own


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in NAMES])
def test_it_runs(name, monkeypatch, capsys):
    monkeypatch.syspath_prepend(Path(__file__).parents[2])
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))  # what it starts runs elsewhere
    monkeypatch.setattr(sys, "argv", [name, "--tiny"])
    importlib.import_module(f"tests.benchmarks.{name}").main()
    assert capsys.readouterr().out.strip()


@pytest.mark.parametrize("name", [name for name in NAMES if name != "bench_truth"])
def test_without_photographs_it_says_what_to_do(name, monkeypatch):
    monkeypatch.setattr(sys, "argv", [name])
    with pytest.raises(SystemExit, match="--tiny"):
        importlib.import_module(f"tests.benchmarks.{name}").main()
