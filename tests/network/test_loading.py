import json
import socket
import time
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
from PIL import Image

from salcheck.errors import SalcheckError
from salcheck.network.archs import ARCHS, Arch
from salcheck.network.loading import load_model, pick_device, resolve_layer
from salcheck.network.view import FEATURES
from tests import elsewhere
from tests.makers import save_model
from tests.nets import make_images, make_net


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("toy"))


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


def refusal(arch, **options):
    """The one line that a wrong request ends in."""
    with pytest.raises(SalcheckError) as caught:
        load_model(arch, device="cpu", **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def other_weights(seed=1, classes=7):
    """A state dict that fits test_resnet and is none of the toy's."""
    net = make_net("test_resnet", classes)
    generator = torch.Generator().manual_seed(seed)
    state = {name: value.clone() for name, value in net.state_dict().items()}
    for name in [name for name in state if name.endswith("conv2.weight")]:
        state[name] = state[name] + 0.05 * torch.randn(state[name].shape, generator=generator)
    return state


def logits_with(state, images, classes=7):
    net = make_net("test_resnet", classes)
    net.load_state_dict(state)
    return net(images)


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
    timm.models.save_for_hf(timm.create_model("test_resnet", in_chans=1), tmp_path, safe_serialization=True)
    assert "1 channels" in refusal(f"local-dir:{tmp_path}")


# Layers and devices


@pytest.mark.parametrize(
    ("layer", "says"),
    [
        ("layr4", "did you mean layer4"),
        ("Features", "did you mean features"),
        ("", "unknown layer"),
        ("paper", "no paper layer for 'test_resnet': there is one for .*resnet50"),
    ],
)
def test_an_unknown_layer_is_told_the_nearest(toy, layer, says):
    with pytest.raises(SalcheckError, match=says):
        load_model(toy, layer=layer, device="cpu")


def test_the_papers_layer_is_known_to_weights_from_elsewhere(resnet50):
    model = load_model(resnet50.arch, layer="paper", device="cpu")
    assert model.layer == "layer4.2.conv3"


@pytest.mark.parametrize(
    ("name", "layer"), [("test_vit", "blocks.5.norm1"), ("test_vit2", FEATURES), ("test_vit3", FEATURES)]
)
def test_the_features_of_tokens_are_what_the_head_reads_patches_from(name, layer):
    assert resolve_layer(make_net(name), FEATURES) == layer
    assert resolve_layer(make_net(name, 0), FEATURES) == FEATURES


def test_a_model_whose_head_is_not_found_is_told_its_modules():
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Flatten())
    net.num_classes = 4
    with pytest.raises(SalcheckError, match=r"head begins: name a --layer below 0, 1$"):
        resolve_layer(net, FEATURES)


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "", "CPU:1"])
def test_an_unknown_device_is_told_what_there_is(name):
    with pytest.raises(SalcheckError, match=r"there is cpu"):
        pick_device(name)


def test_auto_is_a_device_that_works():
    assert torch.ones(1, device=pick_device("auto")).item() == 1


# Checkpoints


@pytest.mark.parametrize("wrap", ["bare", "state_dict", "model", "module.", "safetensors"])
def test_a_checkpoint_replaces_the_weights(tmp_path, toy, wrap):
    state, images = other_weights(), make_images(side=64)
    file = tmp_path / ("own.safetensors" if wrap == "safetensors" else "own.pth")
    if wrap == "safetensors":
        safetensors.torch.save_file(state, file)
    elif wrap == "module.":
        torch.save({"state_dict": {f"module.{name}": value for name, value in state.items()}, "epoch": 3}, file)
    else:
        torch.save(state if wrap == "bare" else {wrap: state}, file)
    model = load_model(toy, checkpoint=file, device="cpu")
    assert torch.allclose(model.logits(images), logits_with(state, images), atol=1e-5)
    assert not torch.allclose(model.logits(images), make_net("test_resnet")(images), atol=1e-3)
    assert model.name == f"test_resnet.{file.name}"
    assert model.weights != load_model(toy, device="cpu").weights


def test_the_checkpoints_head_decides_the_number_of_classes(tmp_path, toy):
    state, images = other_weights(classes=3), make_images(side=64)
    torch.save(state, tmp_path / "three.pth")
    model = load_model(toy, checkpoint=tmp_path / "three.pth", device="cpu")
    assert model.labels.names == ("class 0", "class 1", "class 2")
    assert torch.allclose(model.logits(images), logits_with(state, images, classes=3), atol=1e-5)


def test_a_checkpoint_that_does_not_fit_names_the_keys(tmp_path, toy):
    state = other_weights()
    state["extra.weight"] = torch.zeros(1)
    state["layer1.0.conv1.weight"] = torch.zeros(2, 2)
    del state["layer2.0.conv1.weight"]
    torch.save(state, tmp_path / "misfit.pth")
    line = refusal(toy, checkpoint=tmp_path / "misfit.pth")
    assert "1 missing (layer2.0.conv1.weight)" in line
    assert "1 unknown (extra.weight)" in line
    assert "1 wrong shape (layer1.0.conv1.weight (2, 2) for (" in line


@pytest.fixture
def backbone(monkeypatch):
    """A row as `mocov3` has, of a network that is small."""
    monkeypatch.setitem(ARCHS, "mocov3", Arch("test_resnet", paper="layer4", backbone=True, published="x.pth.tar"))
    return "mocov3"


def training_file(layout, encoder):
    """What self-supervised training leaves in a file, beside the weights of its encoder."""
    bare = {name: value for name, value in encoder.items() if not name.startswith("fc.")}
    other = {name: torch.randn(value.shape) for name, value in bare.items() if value.is_floating_point()}
    projector = {"fc.0.weight": torch.ones(4, 96), "fc.1.running_mean": torch.ones(4)}
    states = {
        "MoCo v3": {
            **{f"base_encoder.{name}": value for name, value in (bare | projector).items()},
            **{f"momentum_encoder.{name}": value for name, value in (other | projector).items()},
            "predictor.0.weight": torch.ones(4, 4),
        },
        "MoCo v2": {
            **{f"encoder_q.{name}": value for name, value in (bare | projector).items()},
            **{f"encoder_k.{name}": value for name, value in (other | projector).items()},
            "queue": torch.ones(4, 8),
        },
        "linear probe": bare | {"fc.weight": torch.ones(1000, 96), "fc.bias": torch.ones(1000)},
        "encoder alone": bare,
    }
    state = {f"module.{name}": value for name, value in states[layout].items()}
    return {"epoch": 3, "arch": "resnet50", "state_dict": state, "optimizer": {"state": {}, "param_groups": [{}]}}


@pytest.mark.parametrize("layout", ["MoCo v3", "MoCo v2", "linear probe", "encoder alone"])
def test_a_backbone_is_found_in_the_file_of_its_training(tmp_path, backbone, layout):
    state, images = other_weights(), make_images(side=64)
    torch.save(training_file(layout, state), tmp_path / "own.pth.tar")
    model = load_model(backbone, checkpoint=tmp_path / "own.pth.tar", device="cpu")
    net = make_net("test_resnet")
    net.load_state_dict(state)
    acts = model.view(lambda: images, range(3)).acts
    assert torch.allclose(acts, net.forward_features(images), atol=1e-5)
    assert (model.net.num_classes, len(model.labels), model.layer) == (0, 0, FEATURES)
    assert load_model(backbone, checkpoint=tmp_path / "own.pth.tar", layer="paper", device="cpu").layer == "layer4"


def test_a_backbone_without_published_weights_in_timm_asks_for_the_file():
    assert "add --checkpoint FILE, the r-50-1000ep.pth.tar of github.com/facebookresearch/moco-v3" in refusal("mocov3")


def test_a_projector_is_not_taken_for_a_classifier(tmp_path, toy):
    torch.save(training_file("MoCo v3", other_weights()), tmp_path / "own.pth.tar")
    assert "2 missing (fc.weight, fc.bias)" in refusal(toy, checkpoint=tmp_path / "own.pth.tar")


@pytest.mark.parametrize("name", ["test_resnet", "test_vit"])
def test_a_model_without_classes_loads_and_scores_none(tmp_path, name):
    images = make_images(side=160)
    model = load_model(save_model(tmp_path, name, classes=0, side=160), device="cpu")
    assert (len(model.labels), model.layer) == (0, FEATURES)
    assert model.view(lambda: images, range(3)).acts.shape[0] == 3
    with pytest.raises(SalcheckError, match="no classes"):
        model.logits(images)


class Payload:
    """Runs code when it is unpickled: makes a file."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return Path.touch, (self.trace,)


def test_a_checkpoint_that_runs_code_is_refused_and_runs_none(tmp_path, toy):
    file, trace = tmp_path / "evil.pth", tmp_path / "trace"
    torch.save({"state_dict": other_weights(), "extra": Payload(trace)}, file)
    assert "refused" in refusal(toy, checkpoint=file)
    assert not trace.exists()


def test_neither_does_a_model_folder(tmp_path, monkeypatch):
    arch, trace = save_model(tmp_path / "model"), tmp_path / "trace"
    (tmp_path / "model" / "model.safetensors").unlink()
    file = tmp_path / "model" / "pytorch_model.bin"
    torch.save({"state_dict": other_weights(), "extra": Payload(trace)}, file)
    assert "cannot load" in refusal(arch)
    assert not trace.exists()
    monkeypatch.delenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", raising=False)
    torch.load(file, weights_only=False)
    assert trace.exists()  # the payload was a live one


def test_a_damaged_checkpoint_is_one_line(tmp_path, toy):
    for file in (tmp_path / "cut.safetensors", tmp_path / "cut.pth"):
        if file.suffix == ".pth":
            torch.save(other_weights(), file)
        else:
            safetensors.torch.save_file(other_weights(), file)
        file.write_bytes(file.read_bytes()[:5000])
        assert str(file) in refusal(toy, checkpoint=file)
        file.write_bytes(b"")
        assert str(file) in refusal(toy, checkpoint=file)


@pytest.mark.parametrize("content", [[1, 2], torch.zeros(3), {"lr": 0.1}, {"state_dict": None}, {1: torch.zeros(1)}])
def test_a_file_without_weights_is_one_line(tmp_path, toy, content):
    torch.save(content, tmp_path / "x.pth")
    assert "no state dict" in refusal(toy, checkpoint=tmp_path / "x.pth")


def test_a_missing_checkpoint_is_one_line(tmp_path, toy):
    assert "no checkpoint file" in refusal(toy, checkpoint=tmp_path / "missing.pth")
    assert "no checkpoint file" in refusal(toy, checkpoint=tmp_path)


# What the model is fed


def test_preprocessing_is_timms_own_for_the_weights(tmp_path):
    save_model(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["pretrained_cfg"] |= {"crop_pct": 0.8, "interpolation": "bicubic", "mean": [0.1, 0.2, 0.3], "std": [0.5] * 3}
    (tmp_path / "config.json").write_text(json.dumps(config))
    model = load_model(f"local-dir:{tmp_path}", device="cpu")
    noise = torch.randint(0, 256, (150, 100, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    photograph = Image.fromarray(noise.numpy())
    fed = model.transform(photograph)
    data = timm.data.resolve_data_config(model.net.pretrained_cfg)
    assert torch.equal(fed, timm.data.create_transform(**data)(photograph))
    # The same by hand: the shorter side to 64 / 0.8 = 80, the middle 64 x 64 of it.
    small = photograph.resize((80, 120), Image.Resampling.BICUBIC).crop((8, 28, 72, 92))
    seen = torch.from_numpy(np.array(small)) / 255
    by_hand = (seen.permute(2, 0, 1) - torch.tensor([0.1, 0.2, 0.3])[:, None, None]) / 0.5
    assert torch.allclose(fed, by_hand, atol=1e-5)
    assert torch.allclose(model.picture(fed), seen, atol=1e-5)


def test_the_key_tells_models_apart_by_weights_layer_and_preprocessing(tmp_path, toy):
    safetensors.torch.save_file(other_weights(), tmp_path / "own.safetensors")
    wider = save_model(tmp_path / "wider", side=96)
    models = [
        load_model(toy, device="cpu"),
        load_model(toy, checkpoint=tmp_path / "own.safetensors", device="cpu"),
        load_model(toy, layer="layer3", device="cpu"),
        load_model(wider, device="cpu"),
    ]
    assert len({model.key for model in models}) == 4
    assert models[0].key == load_model(save_model(tmp_path / "same"), device="cpu").key
