import argparse
import json
from pathlib import Path

import pytest
import safetensors.torch
import timm
import torch
import torchvision

from salcheck.errors import SalcheckError
from salcheck.network.archs import ARCHS, Arch
from salcheck.network.checkpoints import from_checkpoint
from salcheck.network.loading import load_model
from salcheck.network.settings import Settings
from salcheck.network.view import FEATURES
from salcheck.network.weight_files import read_weights
from tests.makers import save_model
from tests.nets import make_images, make_net
from tests.network.toys import logits_with, other_weights, refusal


def prefixed(prefix, state):
    return {f"{prefix}{name}": value for name, value in state.items()}


def layouts(state):
    """The same weights as trainers write them, and what is said of each."""
    loss = {"criterion.weight": torch.ones(3), "metric.confusion.matrix": torch.ones(3, 3)}
    optimizer = {"state": {0: {"exp_avg": torch.ones(3)}, 1: {"exp_avg": torch.ones(3)}}, "param_groups": [{"lr": 0.1}]}
    lightning = {"state_dict": prefixed("model.", state) | loss, "optimizer_states": [optimizer], "epoch": 3}
    wrapped = [{"torch": {"step": torch.tensor(3)}}, {"weights": {"net": state}}]
    return {
        "bare": (state, ""),
        "half": ({name: v.half() if v.is_floating_point() else v for name, v in state.items()}, ""),
        "state_dict": ({"state_dict": state, "epoch": 3}, "weights of 'state_dict'"),
        "any name": ({"my_nets_params": state, "best": 0.9}, "weights of 'my_nets_params'"),
        "DDP": ({"state_dict": prefixed("module.", state)}, "weights of 'state_dict.module'"),
        "compiled": (prefixed("model._orig_mod.", state), "weights of 'model' (without _orig_mod)"),
        "Lightning": (
            lightning,
            "weights of 'state_dict.model'; left out: state_dict.criterion (1), state_dict.metric (1), "
            "optimizer_states (2)",
        ),
        "wrappers": (prefixed("module.net.0.", state), "weights of 'module.net.0'"),
        "nested": (wrapped[0] | wrapped[1], "weights of 'weights.net'; left out: torch (1)"),
        "loss beside": (state | loss, "left out: criterion (1), metric (1)"),
        "timm": (
            {"state_dict": state, "arch": "x", "args": argparse.Namespace(model="test_resnet"), "metric": 3.0},
            "weights of 'state_dict'",
        ),
    }


@pytest.mark.parametrize("layout", layouts({}))
def test_weights_are_found_where_trainers_put_them_and_it_is_said(tmp_path, toy, layout):
    state, images = other_weights(), make_images(side=64)
    content, said = layouts(state)[layout]
    torch.save(content, tmp_path / "own.ckpt")
    model = load_model(toy, checkpoint=tmp_path / "own.ckpt", device="cpu")
    tolerance = 1e-2 if layout == "half" else 1e-5
    assert torch.allclose(model.logits(images), logits_with(state, images), atol=tolerance)
    assert not torch.allclose(model.logits(images), make_net("test_resnet")(images), atol=0.05)
    assert list(model.notes) == ([f"own.ckpt: {said}"] if said else [])
    assert model.name == "test_resnet.own.ckpt"
    assert model.weights != load_model(toy, device="cpu").weights


@pytest.mark.parametrize("prefix", ["", "model.", "backbone.encoder."])
def test_prefixes_are_cut_in_safetensors_too(tmp_path, toy, prefix):
    state = other_weights()
    safetensors.torch.save_file(prefixed(prefix, state), tmp_path / "own.safetensors")
    model = load_model(toy, checkpoint=tmp_path / "own.safetensors", device="cpu")
    assert all(torch.equal(value, state[name]) for name, value in model.net.state_dict().items())


def test_a_head_outside_of_the_network_is_not_made_up(tmp_path, toy):
    state = {name: value for name, value in other_weights().items() if not name.startswith("fc.")}
    torch.save(prefixed("backbone.", state) | {"classifier.weight": torch.ones(3, 96)}, tmp_path / "own.pth")
    line = refusal(toy, checkpoint=tmp_path / "own.pth")
    assert "2 missing (fc.weight, fc.bias); left out: classifier (1)" in line


def test_parts_that_the_network_could_have_are_not_left_out(tmp_path):
    """CLIP's ViTs have a norm before the blocks, where timm's plain ones have nothing."""
    state = timm.create_model("test_vit", num_classes=3).state_dict()
    state["norm_pre.weight"] = torch.ones(64)
    torch.save(state, tmp_path / "own.pth")
    assert "1 unknown (norm_pre.weight)" in refusal("test_vit", checkpoint=tmp_path / "own.pth")


def test_several_sets_of_weights_are_named_and_none_is_chosen(tmp_path, toy):
    torch.save({"student": other_weights(1), "teacher": other_weights(2)}, tmp_path / "own.pth")
    assert "2 sets of weights that fit" in refusal(toy, checkpoint=tmp_path / "own.pth")
    assert "'student', 'teacher'" in refusal(toy, checkpoint=tmp_path / "own.pth")


# Averaged weights


AVERAGES = {
    "timm": lambda plain, mean: {"state_dict": plain, "state_dict_ema": mean},
    "torchvision": lambda plain, mean: {"model": prefixed("module.", plain), "model_ema": prefixed("module.", mean)},
    "Lightning": lambda plain, mean: {"state_dict": prefixed("model.", plain) | prefixed("ema_model.", mean)},
    "Lightning's callback": lambda plain, mean: {
        "state_dict": prefixed("model.", mean),
        "current_model_state": prefixed("model.", plain),
        "averaging_state": {"n_averaged": torch.tensor(3)},
    },
    "ema_pytorch": lambda plain, mean: {"ema": prefixed("online_model.", plain) | prefixed("ema_model.", mean)},
    "AveragedModel": lambda plain, mean: {
        "net": plain,
        "swap": prefixed("module.", mean) | {"n_averaged": torch.tensor(3)},
    },
}


@pytest.mark.parametrize("layout", AVERAGES)
@pytest.mark.parametrize("ema", [None, True, False])
def test_averaged_weights_are_taken_where_there_are_any_unless_the_user_says_no(tmp_path, toy, layout, ema):
    plain, mean = other_weights(1), other_weights(2)
    torch.save(AVERAGES[layout](plain, mean), tmp_path / "own.pth")
    model = load_model(toy, checkpoint=tmp_path / "own.pth", device="cpu", settings=Settings(ema=ema))
    wanted = plain if ema is False else mean
    assert all(torch.equal(value, wanted[name]) for name, value in model.net.state_dict().items())
    (note,) = model.notes
    assert ("averaged weights of" in note, "--no-ema takes the plain" in note) == (ema is not False,) * 2
    assert ("plain weights of" in note, "--ema takes the averaged" in note) == (ema is False,) * 2


def test_a_kind_of_weights_that_is_not_in_the_file_is_an_error(tmp_path, toy):
    torch.save(other_weights(), tmp_path / "plain.pth")
    torch.save({"model_ema": other_weights()}, tmp_path / "mean.pth")
    ema, plain = Settings(ema=True), Settings(ema=False)
    assert "no averaged weights" in refusal(toy, checkpoint=tmp_path / "plain.pth", settings=ema)
    assert "averaged weights only" in refusal(toy, checkpoint=tmp_path / "mean.pth", settings=plain)
    assert "averaged weights of 'model_ema'" in load_model(toy, checkpoint=tmp_path / "mean.pth").notes[0]
    assert "give one with --checkpoint" in refusal("resnet", settings=ema)


def test_averages_that_are_not_whole_are_left_out_unless_asked_for(tmp_path, toy):
    weights = {name: v for name, v in other_weights(2).items() if "running" not in name and "num_b" not in name}
    torch.save({"model": other_weights(1), "ema": {"shadow": weights}}, tmp_path / "own.pth")
    model = load_model(toy, checkpoint=tmp_path / "own.pth", device="cpu")
    assert model.notes[0].endswith(f"weights of 'model'; left out: ema ({len(weights)})")
    assert "30 missing (conv1.1.running_mean" in refusal(
        toy, checkpoint=tmp_path / "own.pth", settings=Settings(ema=True)
    )


# Sizes and names that are not the network's


def test_the_checkpoints_head_decides_the_number_of_classes(tmp_path, toy):
    state, images = other_weights(classes=3), make_images(side=64)
    torch.save(state, tmp_path / "three.pth")
    model = load_model(toy, checkpoint=tmp_path / "three.pth", device="cpu")
    assert model.labels.names == ("class 0", "class 1", "class 2")
    assert torch.allclose(model.logits(images), logits_with(state, images, classes=3), atol=1e-5)


def two_headed(folder, arch, heads, **sizes):
    """A tiny untrained model of a two-headed family, in a folder."""
    net = timm.create_model(arch, num_classes=5, **sizes)
    folder.mkdir()
    safetensors.torch.save_file(net.state_dict(), folder / "model.safetensors")
    settings = {"num_classes": 5, "classifier": heads, "input_size": [3, 224, 224], "tag": "toy"}
    config = {"architecture": arch, "num_classes": 5, "model_args": sizes, "pretrained_cfg": settings}
    (folder / "config.json").write_text(json.dumps(config))
    return f"local-dir:{folder}"


@pytest.mark.parametrize(
    ("arch", "heads", "sizes"),
    [
        ("deit_tiny_distilled_patch16_224", ["head", "head_dist"], {"depth": 1, "embed_dim": 12}),
        ("levit_128s", ["head.linear", "head_dist.linear"], {}),
    ],
)
def test_two_heads_take_the_file_s_number_of_classes(tmp_path, arch, heads, sizes):
    model = two_headed(tmp_path / "model", arch, heads, **sizes)
    torch.manual_seed(1)
    net = timm.create_model(arch, num_classes=2, **sizes).eval()
    torch.save({"state_dict": prefixed("model.", net.state_dict())}, tmp_path / "two.ckpt")
    loaded = load_model(model, checkpoint=tmp_path / "two.ckpt", device="cpu")
    images = make_images(count=1, side=224)
    assert torch.allclose(loaded.logits(images), net(images), atol=1e-5)
    assert len(loaded.labels) == 2


def test_position_embeddings_of_another_input_size_are_resampled_and_it_is_said(tmp_path):
    torch.manual_seed(1)
    net = timm.create_model("test_vit", num_classes=3, img_size=320)
    torch.save({"state_dict": prefixed("model.", net.state_dict())}, tmp_path / "large.ckpt")
    model = load_model("test_vit", checkpoint=tmp_path / "large.ckpt", device="cpu")
    assert "timm resized pos_embed (1, 401, 64) to (1, 101, 64)" in model.notes[0]
    own, given = model.net.state_dict(), net.state_dict()
    assert all(torch.equal(own[name], given[name]) for name in own if name != "pos_embed")
    wanted = timm.layers.resample_abs_pos_embed(given["pos_embed"], [10, 10], num_prefix_tokens=1)
    assert torch.allclose(own["pos_embed"], wanted, atol=1e-6)


@pytest.mark.parametrize("prefix", ["", "model."])
def test_another_project_s_names_are_converted_where_timm_can(tmp_path, prefix):
    torch.manual_seed(1)
    net = torchvision.models.regnet_y_400mf(num_classes=3).eval()
    torch.save(prefixed(prefix, net.state_dict()), tmp_path / "theirs.pth")
    model = load_model("regnety_004", checkpoint=tmp_path / "theirs.pth", device="cpu")
    images = make_images(count=1, side=64)
    assert torch.allclose(model.logits(images), net(images), atol=1e-5)
    assert "tensors its own names" in model.notes[0]
    assert len(model.labels) == 3


def test_names_that_timm_cannot_convert_are_refused(tmp_path):
    torch.save(torchvision.models.mobilenet_v3_small(num_classes=3).state_dict(), tmp_path / "theirs.pth")
    assert "missing (conv_stem.weight" in refusal("mobilenetv3_small_100", checkpoint=tmp_path / "theirs.pth")


def test_a_distilled_network_does_not_fit_the_plain_one(tmp_path):
    net = timm.create_model("deit_tiny_distilled_patch16_224", num_classes=3)
    torch.save(net.state_dict(), tmp_path / "own.pth")
    line = refusal("deit_tiny_patch16_224", checkpoint=tmp_path / "own.pth")
    assert "wrong shape (pos_embed (1, 198, 192) for (1, 197, 192)); left out: dist_token (1), head_dist (2)" in line


def test_one_channel_in_the_file_is_one_channel_in_the_network(tmp_path):
    state = timm.create_model("test_resnet", num_classes=3, in_chans=1).state_dict()
    torch.save(prefixed("model.", state), tmp_path / "grey.pth")
    net, _ = from_checkpoint("test_resnet", read_weights(tmp_path / "grey.pth"), backbone=False)
    assert torch.equal(net.conv1[0].weight, state["conv1.0.weight"])
    assert net.pretrained_cfg["input_size"][0] == 1
    with pytest.raises(SalcheckError, match="wrong shape"):
        from_checkpoint("test_resnet", read_weights(tmp_path / "grey.pth"), backbone=False, in_chans=3)


# What does not fit


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


def test_the_message_helps_where_the_file_says_what_it_is(tmp_path, toy):
    state = timm.create_model("test_convnext", num_classes=3).state_dict()
    torch.save({"state_dict": state, "args": argparse.Namespace(model="test_convnext")}, tmp_path / "other.pth")
    assert "the file says that it is of --arch test_convnext" in refusal(toy, checkpoint=tmp_path / "other.pth")
    adapter = {f"base_model.model.layer{i}.lora_A.weight": torch.ones(2) for i in range(3)}
    torch.save(adapter, tmp_path / "lora.pth")
    assert "adapter (LoRA)" in refusal(toy, checkpoint=tmp_path / "lora.pth")
    half = dict(list(other_weights().items())[:30])
    safetensors.torch.save_file(half, tmp_path / "model-00001-of-00002.safetensors")
    line = refusal(toy, checkpoint=tmp_path / "model-00001-of-00002.safetensors")
    assert ".index.json beside it" in line


def test_numbers_that_are_no_weights_are_refused_by_name(tmp_path, toy):
    state = other_weights()
    torch.save({name: value.to(torch.int8) for name, value in state.items()}, tmp_path / "int8.pth")
    assert "wrong kind of number (conv1.0.weight int8 for float32" in refusal(toy, checkpoint=tmp_path / "int8.pth")
    state["fc.bias"][0] = float("nan")
    torch.save(state, tmp_path / "nan.pth")
    assert "1 not finite (fc.bias)" in refusal(toy, checkpoint=tmp_path / "nan.pth")


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
