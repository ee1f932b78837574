from pathlib import Path

import pytest
import safetensors.torch
import torch

from salcheck.errors import SalcheckError
from salcheck.network.archs import ARCHS, Arch
from salcheck.network.loading import load_model
from salcheck.network.view import FEATURES
from tests.makers import save_model
from tests.nets import make_images, make_net
from tests.network.toys import logits_with, other_weights, refusal


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
    state["layer1.extra.weight"] = torch.zeros(1)
    state["layer1.0.conv1.weight"] = torch.zeros(2, 2)
    del state["layer2.0.conv1.weight"]
    torch.save(state, tmp_path / "misfit.pth")
    line = refusal(toy, checkpoint=tmp_path / "misfit.pth")
    assert "1 missing (layer2.0.conv1.weight)" in line
    assert "1 unknown (layer1.extra.weight)" in line
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
    assert "refused" in refusal(arch)
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
