import argparse
import datetime
import gzip
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from salcheck.errors import SalcheckError
from salcheck.network.weight_files import Plain, read_weights

TENSORS = {"conv.weight": torch.arange(6.0).reshape(2, 3), "fc.bias": torch.ones(2)}


def refusal(file):
    with pytest.raises(SalcheckError) as caught:
        read_weights(file)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def saved(file, content=TENSORS, **options):
    torch.save(content, file, **options)
    return file


class Evil:
    """Runs code when it is unpickled: makes a file."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return Path.touch, (self.trace,)


class Settings:
    """A class of a trainer's own."""


# What is read


def test_containers_in_containers_become_dotted_names(tmp_path):
    content = {"a": {"b": TENSORS}, "optimizer": {"state": {0: {"m": torch.ones(1)}}, "groups": [{"lr": 0.1}]}, "n": 3}
    found = read_weights(saved(tmp_path / "x.pth", content)).tensors
    assert set(found) == {"a.b.conv.weight", "a.b.fc.bias", "optimizer.state.0.m"}
    assert torch.equal(found["a.b.conv.weight"], TENSORS["conv.weight"])


@pytest.mark.parametrize("name", ["x.pth", "x.pth.tar", "x.pt", "x.ckpt", "x.bin", "x", "x.safetensors", "sf.bin"])
def test_what_a_file_is_called_does_not_matter(tmp_path, name):
    if name in ("x.safetensors", "sf.bin"):
        safetensors.torch.save_file(TENSORS, tmp_path / name)
    else:
        saved(tmp_path / name, _use_new_zipfile_serialization=name != "x.pth.tar")
    assert set(read_weights(tmp_path / name).tensors) == set(TENSORS)


def test_files_that_an_index_names_are_read_as_one(tmp_path):
    for number, key in enumerate(TENSORS):
        safetensors.torch.save_file({key: TENSORS[key]}, tmp_path / f"model-{number}-of-2.safetensors")
    index = {"weight_map": {key: f"model-{number}-of-2.safetensors" for number, key in enumerate(TENSORS)}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert set(read_weights(tmp_path / "model.safetensors.index.json").tensors) == set(TENSORS)
    (tmp_path / "model-1-of-2.safetensors").unlink()
    assert "model-1-of-2" in refusal(tmp_path / "model.safetensors.index.json")
    for broken in ("", "[]", "{}", '{"weight_map": {"a": 3}}', "\xff"):
        (tmp_path / "model.safetensors.index.json").write_text(broken, encoding="latin-1")
        assert "no index of weight files" in refusal(tmp_path / "model.safetensors.index.json")


def test_plain_data_beside_the_weights_is_no_hindrance_and_is_not_made(tmp_path):
    beside = {
        "args": argparse.Namespace(model="resnet10t", mean=[0.5], output=Path("there"), seed=torch.ones(1)),
        "metric": np.float64(0.5),
        "curve": np.arange(3.0),
        "when": [datetime.datetime(2026, 1, 1), datetime.timedelta(1)],
        "torch": torch.__version__,
    }
    read = read_weights(saved(tmp_path / "x.pth", {"state_dict": TENSORS, "arch": "resnet10t", **beside}))
    assert set(read.tensors) == {f"state_dict.{key}" for key in TENSORS}
    assert read.args == {"model": "resnet10t", "mean": [0.5], "arch": "resnet10t"}


def test_lightning_s_hyper_parameters_are_what_its_trainer_was_told(tmp_path):
    content = {"state_dict": TENSORS, "hyper_parameters": {"lr": 0.1, "net": "resnet"}}
    assert read_weights(saved(tmp_path / "x.ckpt", content)).args == {"lr": 0.1, "net": "resnet"}


def test_what_stands_for_plain_data_keeps_attributes_and_nothing_else():
    stand_in = Plain(1, 2)
    stand_in.__setstate__({"a": 3})
    stand_in.__setstate__((1, "state of numpy"))
    assert vars(stand_in) == {"a": 3}


# What is not


def test_a_pickle_that_runs_code_is_refused_runs_none_and_the_line_names_what_it_asks_for(tmp_path, monkeypatch):
    file, trace = tmp_path / "evil.pth", tmp_path / "trace"
    line = refusal(saved(file, {"state_dict": TENSORS, "extra": Evil(trace)}))
    assert "without running code" in line
    assert "getattr" in line or "touch" in line
    assert not trace.exists()
    monkeypatch.delenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", raising=False)
    torch.load(file, weights_only=False)
    assert trace.exists()  # the payload was a live one


@pytest.mark.parametrize(
    ("content", "names", "advice"),
    [
        (torch.nn.Linear(2, 2), "torch.nn.modules.linear.Linear", "c.state_dict(),"),
        ({"epoch": 1, "net": torch.nn.Linear(2, 2)}, "torch.nn.modules.linear.Linear", "c['net'].state_dict(),"),
        ({"config": Settings(), "params": TENSORS}, "test_weight_files.Settings", "c['params'],"),
    ],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_the_lines_that_save_the_tensors_do(tmp_path, monkeypatch, content, names, advice, zipped):
    line = refusal(saved(tmp_path / "x.pth", content, _use_new_zipfile_serialization=zipped))
    assert names in line
    if not zipped and "Linear" in names:  # PyTorch wrote the source of modules into such files: nobody looks inside
        advice = "c if isinstance(c, dict) else c.state_dict(),"
    assert advice in line
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", raising=False)  # as in a person's own shell
    exec(line.partition("tensors: ")[2])
    if advice == "c if isinstance(c, dict) else c.state_dict()," and isinstance(content, dict):
        line = refusal(tmp_path / "weights.pth")  # now it is a file that can be looked into
        exec(line.partition("tensors: ")[2])
    assert len(read_weights(tmp_path / "weights.pth").tensors) == 2


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_torchscript_program_is_refused_with_the_lines_that_save_its_tensors(tmp_path, monkeypatch):
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(tmp_path / "x.pt"))
    line = refusal(tmp_path / "x.pt")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", raising=False)  # as in a person's own shell
    exec(line.partition("tensors: ")[2])
    assert set(read_weights(tmp_path / "weights.pth").tensors) == {"weight", "bias"}


def write(file, content):
    file.write_bytes(content)
    return file


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (gzip.compress(b"x", mtime=0), "packed by gzip"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git lfs pull"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"\n <html>", "web page"),
        (b"\x89HDF\r\n\x1a\n", "Keras"),
        (b"GGUF\x03\x00\x00\x00", "GGUF"),
        (b"", "damaged"),
        (b"hello", "damaged"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", "damaged"),
        (b"\x80\x02", "damaged"),
        (pickle.dumps({"a": 1}), "in another way"),
        (b"\x10\x00\x00\x00\x00\x00\x00\x00{x" + b" " * 20, "no sound safetensors file"),
    ],
)
@pytest.mark.parametrize("name", ["x.pth", "x.safetensors"])
def test_other_files_are_one_line_that_says_what_they_are(tmp_path, content, says, name):
    line = refusal(write(tmp_path / name, content))
    assert says in line or (name == "x.safetensors" and "no sound safetensors file" in line)
    assert str(tmp_path / name) in line


def test_an_archive_of_numpy_is_one_line(tmp_path):
    np.savez(tmp_path / "x.npz", a=np.ones(2))
    assert "archive of NumPy" in refusal(tmp_path / "x.npz")


def test_a_folder_is_told_the_files_in_it(tmp_path):
    saved(tmp_path / "last.ckpt")
    (tmp_path / "log.txt").write_text("x")
    assert "give one of last.ckpt in it" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (PermissionError(13, "Permission denied"), "cannot be read: Permission denied"),
        (OSError(5, "Input/output error"), "cannot be read: Input/output error"),
        (MemoryError(), "too large for the memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "too large for the memory"),
    ],
)
@pytest.mark.parametrize("where", ["pathlib.Path.is_file", "pathlib.Path.open", "torch.load"])
def test_what_the_machine_refuses_is_one_line(tmp_path, monkeypatch, where, error, says):
    def fail(*_, **__):
        raise error

    file = saved(tmp_path / "x.pth")
    if where != "torch.load" and not isinstance(error, OSError):
        return
    monkeypatch.setattr(where, fail)
    assert says in refusal(file)


def test_a_circle_of_containers_ends(tmp_path):
    content = {"tensors": TENSORS}
    content["itself"] = content
    assert "tensors.fc.bias" in read_weights(saved(tmp_path / "x.pth", content)).tensors
