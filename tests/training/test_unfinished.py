"""Training that is stopped goes on where it was, and ends with the weights of one that was not."""

import errno
import os

import pytest
import torch

from salcheck.errors import SalcheckError
from salcheck.store import cache
from salcheck.training import fit
from salcheck.training.fit import train
from salcheck.training.unfinished import NAME
from tests.makers import save_images


class Enough(BaseException):
    pass


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setattr(fit, "OFTEN", 2)
    return save_images(tmp_path / "images", classes=2, side=32)


def trained(out, data, report=lambda line: None):
    train(out, steps=6, batch_size=4, report=report, dataset="folder", data=data)
    return [(out / name).read_bytes() for name in ("model.safetensors", "config.json")]


def stopped(out, data, at):
    def report(line):
        if line.startswith(f"step {at}/"):
            raise Enough

    with pytest.raises(Enough):
        trained(out, data, report)


def test_stopped_twice_it_ends_with_the_same_weights(tmp_path, data):
    calm = trained(tmp_path / "calm", data)
    stopped(tmp_path / "net", data, at=4)  # step 2 is kept
    stopped(tmp_path / "net", data, at=6)
    lines = []
    assert trained(tmp_path / "net", data, lines.append) == calm
    assert lines[0] == "goes on at step 4/6"
    assert sorted(path.name for path in (tmp_path / "net").iterdir()) == ["config.json", "model.safetensors"]


def test_what_other_arguments_or_pictures_left_is_passed_over(tmp_path, data):
    stopped(tmp_path / "net", data, at=4)
    lines = []
    other = save_images(tmp_path / "other", classes=2, side=32, seed=5)
    assert trained(tmp_path / "net", other, lines.append) == trained(tmp_path / "calm", other)
    assert not any("goes on" in line for line in lines)


def test_a_torn_file_is_passed_over_and_a_wrong_one_is_one_line(tmp_path, data):
    stopped(tmp_path / "net", data, at=4)
    file = tmp_path / "net" / NAME
    kept = torch.load(file, weights_only=True)
    torch.save(kept | {"optimizer": {}}, file)
    with pytest.raises(SalcheckError, match="is damaged: delete it"):
        trained(tmp_path / "net", data)
    file.write_bytes(file.read_bytes()[:1000])
    assert trained(tmp_path / "net", data) == trained(tmp_path / "calm", data)


def test_a_disk_that_is_full_at_the_end_loses_nothing(tmp_path, data, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    calm = trained(tmp_path / "calm", data)
    with monkeypatch.context() as patch:
        patch.setattr(fit, "write_together", full)
        with pytest.raises(
            SalcheckError, match=r"step 6 of 6 \(No space left on device\): make room.* step 6 of 6 is kept"
        ):
            trained(tmp_path / "net", data)
    lines = []
    assert trained(tmp_path / "net", data, lines.append) == calm
    assert lines[0] == "goes on at step 6/6"


def test_no_room_is_said_before_the_minutes_of_training(tmp_path, data, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(cache.os, "fsync", full)
    with pytest.raises(
        SalcheckError, match=r"at step 0 of 6 \(No space left on device\): make room.*nothing is trained yet"
    ):
        trained(tmp_path / "net", data)


def test_new_weights_never_lie_beside_the_config_of_others(tmp_path, data, monkeypatch):
    """Killed between the two renames, there is no config.json, and so no model."""
    trained(tmp_path / "net", data)
    real = type(tmp_path).replace

    def once(path, target):
        if target.name == "config.json":
            raise Enough
        return real(path, target)

    monkeypatch.setattr(type(tmp_path), "replace", once)
    with pytest.raises(Enough):
        trained(tmp_path / "net", save_images(tmp_path / "other", classes=2, side=32, seed=5))
    assert not (tmp_path / "net" / "config.json").exists()
