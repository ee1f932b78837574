"""A few faults of each kind: `make faults` tries them all."""

import dataclasses
import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch

from salcheck.store.scratch import MARK, sweep
from tests.faults import child, work
from tests.faults.kinds import KINDS, Workshop

needs_forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs forks")


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    return Workshop(tmp_path_factory.mktemp("faults"), short=True)


@needs_forks
@pytest.mark.timeout(900)  # where other work keeps the processors busy
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_lost(shop, kind):
    """One line says what happened, and the same command then leaves what an undisturbed one leaves."""
    trials = list(KINDS[kind](shop))
    assert trials or kind == "small-disk"  # which needs the right to mount one
    assert not [(trial.name, trial.lost) for trial in trials if trial.lost]


@needs_forks
def test_of_two_weights_under_one_path_no_score_of_the_one_is_shown_as_the_others(shop):
    piece = work.pieces(shop.made)["eval"]
    folder = piece.fresh(shop.folder())
    shutil.copytree(shop.made / "model", folder / "model")
    command = ["local-dir:model" if word.startswith("local-dir:") else word for word in piece.command]
    piece = dataclasses.replace(piece, command=command)
    assert child.run(folder, command).code == 0
    first = work.rows(folder)
    file = folder / "model" / "model.safetensors"
    state = safetensors.torch.load_file(file)
    safetensors.torch.save_file({k: v * 1.5 if k.startswith("layer4") else v for k, v in state.items()}, file)
    assert child.run(folder, command).code == 0
    both = work.rows(folder)
    alone = shop.folder("alone")
    shutil.rmtree(alone, ignore_errors=True)
    alone.mkdir()
    shutil.copytree(folder / "model", alone / "model")
    assert child.run(alone, command).code == 0
    second = work.rows(alone)
    assert first["maps"] != second["maps"]
    for name in ("scores", "maps", "predictions"):
        assert both[name] == sorted(first[name] + second[name])
    shown = child.run(folder, ["report", "--format", "csv"]).out
    assert child.run(folder, ["report"]).out.count(", weights ") >= 2
    assert {line.split(",")[2] for line in shown.splitlines()[1:]} == {"1", "2"}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("command", ["methods", "--help"])
def test_a_full_disk_behind_the_output_is_one_line(command):
    with Path("/dev/full").open("w") as full:
        program = [sys.executable, "-m", "salcheck", command]
        done = subprocess.run(program, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert done.stderr.startswith("salcheck: cannot write the output (No space left on device)")


def test_a_reader_that_has_seen_enough_is_no_error():
    program = [sys.executable, "-m", "salcheck", "methods"]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as done:
        done.stdout.close()
        assert done.stderr.read() == b""
    assert done.returncode == 1


def test_scratch_that_nobody_holds_is_removed_and_what_somebody_holds_is_not(tmp_path):
    for name in ("dead.npy", "alive.npy"):
        (tmp_path / f"{MARK}{name}").write_bytes(b"half")
    (tmp_path / f"{MARK}folder").mkdir()
    (tmp_path / f"{MARK}folder" / "pool.npy").write_bytes(b"half")
    (tmp_path / "whole.npy").write_bytes(b"whole")
    with (tmp_path / f"{MARK}alive.npy").open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        sweep(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{MARK}alive.npy", "whole.npy"]
