import json
import socket
import time
from pathlib import Path

import pytest
import timm
import torch

from salcheck.errors import SalcheckError
from salcheck.network.loading import load_model, pick_device
from tests import elsewhere
from tests.makers import save_model
from tests.nets import make_images, make_net
from tests.network.toys import refusal


@pytest.fixture
def no_network(monkeypatch, tmp_path):
    """An empty hub cache, and no host that answers."""

    def unreachable(*_, **__):
        raise socket.gaierror("Name or service not known")

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("urllib.request.getproxies", dict)
    monkeypatch.setattr(socket, "getaddrinfo", unreachable)
    monkeypatch.setattr(socket.socket, "connect", unreachable)


# Spellings of --arch


def lay_out_hub(hub, repository, folder):
    """A hub cache as huggingface_hub lays it out: blobs, a snapshot of links to them, and the branch's commit."""
    place, commit = hub / f"models--{repository.replace('/', '--')}", "0" * 40
    for part in ("blobs", "refs", f"snapshots/{commit}"):
        (place / part).mkdir(parents=True)
    (place / "refs" / "main").write_text(commit)
    for file in folder.iterdir():
        (place / "blobs" / file.name).write_bytes(file.read_bytes())
        (place / "snapshots" / commit / file.name).symlink_to(Path("../../blobs") / file.name)


def test_the_hub_cache_serves_every_spelling_without_a_network(tmp_path, monkeypatch):
    save_model(tmp_path / "own")
    save_model(tmp_path / "timm", classes=1000)
    lay_out_hub(tmp_path / "home" / "hub", "somebody/pets", tmp_path / "own")
    lay_out_hub(tmp_path / "home" / "hub", "timm/test_resnet.r160_in1k", tmp_path / "timm")
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    code = """
import sys, torch
from salcheck.network.loading import load_model
for arch in sys.argv[1:]:
    model = load_model(arch, device="cpu")
    side = torch.full((1, 3, 160, 160), 0.25)
    print(model.name, len(model.labels), model.labels.names[1], model.size[0], model.logits(side)[0, :3].tolist())
"""
    archs = ["hf-hub:somebody/pets", "test_resnet.r160_in1k", "test_resnet"]
    status, out, err = elsewhere.run(code, *archs)
    assert status == 0, err
    seven, thousand = (make_net("test_resnet", n)(torch.full((1, 3, 160, 160), 0.25))[0, :3] for n in (7, 1000))
    for line, start, expected in zip(
        out.splitlines(),
        ["test_resnet.toy 7 kind 1 64 ", *["test_resnet.r160_in1k 1000 goldfish, Carassius auratus 160 "] * 2],
        [seven, thousand, thousand],
        strict=True,
    ):
        assert line.startswith(start)
        assert torch.allclose(torch.tensor(json.loads(line.removeprefix(start))), expected, atol=1e-4)


def test_a_local_folder_is_loaded_with_its_weights_names_and_layer(toy):
    model, images = load_model(toy, device="cpu"), make_images(side=64)
    assert torch.allclose(model.logits(images), make_net("test_resnet")(images), atol=1e-5)
    assert (model.name, model.layer, model.labels.names[6]) == ("test_resnet.toy", "features", "kind 6")
    assert not model.net.training
    assert not any(p.requires_grad for p in model.net.parameters())


@pytest.mark.parametrize("arch", ["resnet", "test_resnet.r160_in1k", "hf-hub:timm/nothere"])
def test_without_a_network_one_line_soon_names_the_choices(no_network, arch):
    start = time.monotonic()
    line = refusal(arch)
    assert time.monotonic() - start < 10
    assert arch in line
    assert "--arch scenes" in line
    assert "HF_HOME" in line


def test_being_offline_for_one_model_is_forgotten_for_the_next(no_network):
    from huggingface_hub import constants

    refusal("resnet")
    assert constants.HF_HUB_OFFLINE is False


@pytest.mark.parametrize(
    ("arch", "says"),
    [
        ("resnet5O", "did you mean resnet50"),
        ("convnxt", "did you mean convnext"),
        ("zzzzzz", "short names: convnext, densenet"),
        ("", "short names"),
        ("resnet50.tv3_in1k", "unknown weight tag of resnet50 'tv3_in1k': did you mean tv"),
        ("hf-hub:a@b@c", "cannot load"),
        ("hf-hub:", "cannot load"),
        ("local-dir:", "cannot load"),
        ("local-dir:/nowhere", "/nowhere"),
    ],
)
def test_an_unknown_model_is_one_line(no_network, arch, says):
    assert says in refusal(arch)


def test_a_model_without_weights_asks_for_a_checkpoint():
    without = next(name for name in timm.list_models("resnet*") if not timm.list_pretrained(f"{name}.*"))
    assert "add --checkpoint" in refusal(without)


@pytest.mark.parametrize("config", ["", "{}", "[]", '{"architecture": "nosuch"}', '{"architecture": 5}', "\xff"])
def test_a_folder_with_a_broken_config_is_one_line(tmp_path, config):
    save_model(tmp_path)
    (tmp_path / "config.json").write_text(config, encoding="latin-1")
    assert "cannot load" in refusal(f"local-dir:{tmp_path}")


def test_a_model_that_cannot_be_fed_photographs_is_one_line(tmp_path):
    timm.models.save_for_hf(timm.create_model("test_resnet", in_chans=2), tmp_path, safe_serialization=True)
    assert "2 channels" in refusal(f"local-dir:{tmp_path}")


# Devices


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "", "CPU:1"])
def test_an_unknown_device_is_told_what_there_is(name):
    with pytest.raises(SalcheckError, match=r"there is cpu"):
        pick_device(name)


def test_auto_is_a_device_that_works():
    assert torch.ones(1, device=pick_device("auto")).item() == 1
