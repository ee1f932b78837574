import json
import shutil
import socket
import time
from pathlib import Path

import pytest
import safetensors.torch
import timm
import torch

from salcheck.errors import SalcheckError
from salcheck.network.archs import ARCHS, Arch
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


def change(folder, **entries):
    """Entries of a folder's config.json, by their dotted names."""
    config = json.loads((folder / "config.json").read_text())
    for name, value in entries.items():
        *path, last = name.split("__")
        place = config
        for part in path:
            place = place.setdefault(part, {})
        place[last] = value
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    "entries",
    [
        {"model_args__num_classes": 5},
        {"num_classes": 5},
        {"pretrained_cfg__num_classes": 5, "num_classes": 5},
        {"model_args__num_classes": 5, "num_classes": 5},
    ],
)
def test_a_config_that_contradicts_its_weights_is_refused(tmp_path, entries):
    arch = save_model(tmp_path)
    change(tmp_path, **entries)
    line = refusal(arch)
    assert "(fc.weight (7, 96) for (5, 96), fc.bias (7,) for (5,)); its config.json decides" in line


def test_a_background_class_is_left_out_as_the_config_says(tmp_path):
    arch = save_model(tmp_path)
    weights = load_model(arch, device="cpu").net.state_dict()
    change(tmp_path, num_classes=6, pretrained_cfg__num_classes=6, pretrained_cfg__label_offset=1)
    net = load_model(arch, device="cpu").net
    assert torch.equal(net.fc.weight, weights["fc.weight"][1:])
    assert torch.equal(net.fc.bias, weights["fc.bias"][1:])


@pytest.mark.parametrize("prefix", ["model.", "state_dict.model._orig_mod."])
def test_a_folder_s_weights_may_be_a_trainer_s(tmp_path, prefix):
    arch = save_model(tmp_path)
    state = safetensors.torch.load_file(tmp_path / "model.safetensors")
    named = {f"{prefix}{name}": value for name, value in state.items()}
    safetensors.torch.save_file(named | {"criterion.weight": torch.ones(2)}, tmp_path / "model.safetensors")
    model = load_model(arch, device="cpu")
    assert all(torch.equal(value, state[name]) for name, value in model.net.state_dict().items())
    assert "left out: criterion (1)" in model.notes[0]


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pth", "last.ckpt", "epoch=3.pth.tar"])
def test_a_folder_s_one_file_of_weights_is_found_whatever_it_is_called(tmp_path, name):
    arch = save_model(tmp_path)
    state = safetensors.torch.load_file(tmp_path / "model.safetensors")
    (tmp_path / "model.safetensors").unlink()
    assert "no weights" in refusal(arch)
    torch.save({"state_dict": state}, tmp_path / name)
    net = load_model(arch, device="cpu").net
    assert all(torch.equal(value, state[key]) for key, value in net.state_dict().items())
    if name in ("last.ckpt", "epoch=3.pth.tar"):
        torch.save({"state_dict": state}, tmp_path / "other.ckpt")
        assert "several files of weights" in refusal(arch)


def test_a_folder_of_several_files_with_an_index_is_one_model(tmp_path):
    arch = save_model(tmp_path)
    state = safetensors.torch.load_file(tmp_path / "model.safetensors")
    (tmp_path / "model.safetensors").unlink()
    files = {name: f"model-0000{1 + (name < 'layer2')}-of-00002.safetensors" for name in state}
    for file in set(files.values()):
        safetensors.torch.save_file({name: state[name] for name in state if files[name] == file}, tmp_path / file)
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": files}))
    net = load_model(arch, device="cpu").net
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())


def test_an_architecture_that_timm_does_not_have_is_named(tmp_path):
    arch = save_model(tmp_path)
    change(tmp_path, architecture="resnet5O")
    line = refusal(arch)
    assert "cannot load" in line
    assert "config.json, unknown architecture 'resnet5O': did you mean resnet50" in line


@pytest.mark.parametrize("arch", ["hf-hub:somebody/pets", "test_resnet.r160_in1k"])
def test_weights_of_a_hub_are_held_to_the_network_too(tmp_path, monkeypatch, arch):
    """timm would load what fits, and leave the head as it was made."""
    save_model(tmp_path / "model", classes=1000)
    hub = tmp_path / "hub"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(hub))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    repository = arch.removeprefix("hf-hub:") if ":" in arch else f"timm/{arch}"
    whole = safetensors.torch.load_file(tmp_path / "model" / "model.safetensors")
    changed = {
        "2 missing (fc.weight, fc.bias)": {name: v for name, v in whole.items() if not name.startswith("fc.")},
        "2 wrong shape (fc.weight (7, 96) for (1000, 96)": whole
        | {"fc.weight": torch.ones(7, 96), "fc.bias": torch.ones(7)},
        "1 wrong kind of number (fc.bias int8 for float32)": whole | {"fc.bias": torch.ones(1000, dtype=torch.int8)},
        "1 not finite (fc.bias)": whole | {"fc.bias": torch.full((1000,), float("inf"))},
    }
    for fault, state in changed.items():
        safetensors.torch.save_file(state, tmp_path / "model" / "model.safetensors")
        shutil.rmtree(hub, ignore_errors=True)
        lay_out_hub(hub, repository, tmp_path / "model")
        assert fault in refusal(arch)
    safetensors.torch.save_file(whole, tmp_path / "model" / "model.safetensors")
    shutil.rmtree(hub)
    lay_out_hub(hub, repository, tmp_path / "model")
    assert torch.equal(load_model(arch, device="cpu").net.fc.bias, whole["fc.bias"])
    if arch.startswith("hf-hub:"):
        change(tmp_path / "model", model_args__num_classes=5)
        shutil.rmtree(hub)
        lay_out_hub(hub, repository, tmp_path / "model")
        line = refusal(arch)
        assert "2 missing (fc.weight, fc.bias)" in line
        assert "they have 1000 classes by its config, the network 5" in line


def test_somebody_s_weights_on_a_hub_may_be_a_trainer_s(tmp_path, monkeypatch):
    save_model(tmp_path / "model")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    state = safetensors.torch.load_file(tmp_path / "model" / "model.safetensors")
    named = {f"model.{name}": value for name, value in state.items()}
    safetensors.torch.save_file(named, tmp_path / "model" / "model.safetensors")
    lay_out_hub(tmp_path / "hub", "somebody/pets", tmp_path / "model")
    model = load_model("hf-hub:somebody/pets", device="cpu")
    assert all(torch.equal(value, state[name]) for name, value in model.net.state_dict().items())
    assert list(model.notes) == ["pets: weights of 'model'"]


def test_a_backbone_s_head_is_left_out_knowingly(tmp_path, monkeypatch):
    save_model(tmp_path / "model")
    monkeypatch.setitem(ARCHS, "dino", Arch(f"local-dir:{tmp_path / 'model'}", backbone=True))
    model = load_model("dino", device="cpu")
    assert model.net.num_classes == 0
    assert list(model.notes) == ["model.safetensors: left out: fc (2)"]


def test_timm_loads_as_before_after_a_model_that_could_not_be_had(tmp_path):
    original = torch.nn.Module.load_state_dict
    refusal("hf-hub:")
    assert torch.nn.Module.load_state_dict is original


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
