import argparse
import json

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
from PIL import Image
from timm.data import create_transform

from salcheck.errors import SalcheckError
from salcheck.inputs.truth import frame_of
from salcheck.naming.words import fed
from salcheck.network.loading import load_model
from salcheck.network.preprocessing import (
    Grey,
    from_args,
    parse_kwargs,
    parse_numbers,
    parse_size,
    with_args,
)
from salcheck.network.settings import Settings
from tests.makers import save_model
from tests.network.toys import refusal


def load(arch, **settings):
    checkpoint = settings.pop("checkpoint", None)
    return load_model(arch, device="cpu", checkpoint=checkpoint, settings=Settings(**settings))


@pytest.fixture(scope="module")
def photo():
    pixels = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((256, 192), Image.Resampling.BICUBIC)


# What a user says


@pytest.mark.parametrize("text", ["384,320", "384x320", "384 320", " 384, 320 ", "384×320"])
def test_a_size_is_height_and_width(text):
    assert parse_size(text) == (384, 320)
    assert parse_size("96") == (96, 96)


@pytest.mark.parametrize("text", ["", "a", "1,2,3", "-1", "9" * 99, "1.5", "²"])
def test_another_size_is_one_line(text):
    with pytest.raises(SalcheckError, match="--img-size"):
        parse_size(text)


@pytest.mark.parametrize("text", [".485,.456,.406", "0.485 0.456 0.406", " .485, .456 ,.406 ", "[0.485, 0.456, 0.406]"])
def test_numbers_stand_between_commas_or_blanks(text):
    assert parse_numbers("--mean", text) == (0.485, 0.456, 0.406)
    with pytest.raises(SalcheckError, match="--std 'x'"):
        parse_numbers("--std", "x")


def test_keywords_are_read_as_timm_reads_them():
    given = ["in_chans=1,act_layer=gelu", "block=[1, 2],pair=(3,4)", "flag=True none=None text='a b'"]
    expected = {"in_chans": 1, "act_layer": "gelu", "block": [1, 2], "pair": (3, 4), "flag": True, "none": None}
    assert parse_kwargs(given) == expected | {"text": "a b"}


@pytest.mark.parametrize("text", ["in_chans", "=1", "1x=2", "checkpoint_path=/x", "num_classes=7", "pretrained_cfg={}"])
def test_other_keywords_are_one_line(text):
    with pytest.raises(SalcheckError, match="--model-kwargs"):
        parse_kwargs([text])


# What the model is fed


@pytest.mark.oracle
def test_the_transform_is_timms_own_with_what_the_user_says(toy, photo):
    said = {"img_size": (48, 64), "crop_pct": 0.9, "mean": (0.1, 0.2, 0.3), "std": (0.2,), "interpolation": "bicubic"}
    model = load(toy, **said)
    own = create_transform(
        (3, 48, 64), crop_pct=0.9, mean=(0.1, 0.2, 0.3), std=(0.2, 0.2, 0.2), interpolation="bicubic"
    )
    assert torch.equal(model.transform(photo), own(photo))
    assert model.size == (48, 64)
    line = "input 48×64, crop .9 bicubic, mean .1 .2 .3, std .2"
    assert fed(model.input) == line
    assert np.allclose(model.picture(model.transform(photo)), _shown(own, photo, (0.1, 0.2, 0.3), 0.2), atol=1e-6)


def _shown(transform, photo, mean, std):
    return (transform(photo) * std + torch.tensor(mean).view(3, 1, 1)).permute(1, 2, 0)


def test_what_is_not_said_is_the_models_own(toy):
    assert fed(load(toy).input) == "input 64×64, crop 1 bilinear, mean .5, std .5"
    assert fed(load(toy, mean=(0.5, 0.25, 0.5)).input) == "input 64×64, crop 1 bilinear, mean .5 .25 .5, std .5"


def test_models_that_are_fed_otherwise_are_other_models(toy):
    given = [{}, {"mean": (0.5,)}, {"mean": (0.50001,)}, {"std": (0.4,)}, {"crop_pct": 0.9}, {"img_size": (64, 96)}]
    keys = [load(toy, **one).identity for one in given]
    assert keys[0] == keys[1]
    assert len(set(keys)) == len(given) - 1


def test_a_network_of_one_size_is_made_for_the_size_that_is_asked_for(tmp_path):
    settings = {"img_size": 80, "num_classes": 3}
    net = timm.create_model("test_vit", **settings)
    file = tmp_path / "vit.safetensors"
    safetensors.torch.save_file(net.state_dict(), file)
    for given in ({"img_size": (80, 80)}, {"model_kwargs": {"img_size": 80}}):
        model = load("test_vit", checkpoint=file, **given)
        assert model.size == (80, 80)
        images = torch.randn(2, 3, 80, 80)
        assert torch.allclose(model.logits(images), net.eval()(images), atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"std": (0.0,)}, "std 0 0 0: each is above 0"),
        ({"std": (0.2, -0.1, 0.2)}, "std 0.2 -0.1 0.2: each is above 0"),
        ({"std": (float("nan"),)}, "--std"),
        ({"mean": (123.7, 116.3, 103.5)}, "divide by 255"),
        ({"mean": (0.5, 0.5)}, "--mean has 2 numbers, and this model reads 3 channel"),
        ({"crop_pct": -1.0}, "crop -1.0"),
        ({"crop_pct": float("inf")}, "crop inf"),
        ({"interpolation": "evil"}, "interpolation 'evil': it is one of nearest, bilinear"),
        ({"img_size": (0, 64)}, "size 0 64"),
        ({"img_size": (99_999, 64)}, "1 to 4096"),
        ({"model_kwargs": {"nonsense": 1}}, "nonsense"),
    ],
)
def test_values_that_make_no_sense_are_one_line(toy, settings, says):
    assert says in refusal(toy, settings=Settings(**settings))


@pytest.mark.parametrize(
    "entry",
    [
        {"std": [0, 0, 0]},
        {"mean": "0.5"},
        {"mean": [0.5, "x", 0.5]},
        {"mean": [[0.5], 0.5, 0.5]},
        {"input_size": [3, 0, 0]},
        {"input_size": [3, -1, -1]},
        {"input_size": [3, 64.5, 64]},
        {"crop_pct": -1},
        {"crop_pct": "x"},
        {"interpolation": "evil"},
        {"interpolation": 5},
        {"crop_mode": "evil"},
    ],
    ids=str,
)
def test_a_config_that_makes_no_sense_is_one_line_that_names_it(tmp_path, entry):
    arch = save_model(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["pretrained_cfg"] |= entry
    (tmp_path / "config.json").write_text(json.dumps(config))
    line = refusal(arch)
    (name,) = entry
    assert {"crop_pct": "crop", "input_size": "size"}.get(name, name) in line


# Grey


@pytest.mark.oracle
def test_one_channel_is_the_luminance_whoever_says_that_there_is_one(tmp_path, photo):
    """From a checkpoint's first convolution, the user's words and a folder's config alike."""
    net = timm.create_model("test_resnet", in_chans=1, num_classes=3).eval()
    file = tmp_path / "grey.safetensors"
    safetensors.torch.save_file(net.state_dict(), file)
    timm.models.save_for_hf(net, tmp_path / "hf", safe_serialization=True)
    models = [
        load("test_resnet", checkpoint=file),
        load("test_resnet", checkpoint=file, model_kwargs={"in_chans": 1}),
        load(f"local-dir:{tmp_path / 'hf'}"),
    ]
    own = models[0].config
    for model in models:
        seen = model.transform(photo)
        luminance = np.asarray(photo).astype(float) @ [0.299, 0.587, 0.114]
        full = Image.fromarray(luminance.round().astype(np.uint8))
        side = create_transform((1, 160, 160), crop_pct=own["crop_pct"], mean=own["mean"], std=own["std"],
                                interpolation=own["interpolation"])  # fmt: skip
        assert seen.shape == (1, 160, 160)
        assert (seen - side(full)).abs().max() < 0.02
        assert torch.allclose(model.logits(seen[None]), net(seen[None]), atol=1e-5)
        assert model.channels == 1
        picture = model.picture(seen)
        assert picture.shape == (160, 160, 3)
        assert torch.equal(picture[..., 0], picture[..., 2])
    assert "grey" in fed(models[0].input)


def test_the_mean_of_three_colours_serves_one_channel_and_is_said(tmp_path):
    file = tmp_path / "grey.safetensors"
    safetensors.torch.save_file(timm.create_model("test_resnet", in_chans=1).state_dict(), file)
    model = load("test_resnet", checkpoint=file)
    first = timm.create_model("test_resnet").pretrained_cfg
    assert model.config["mean"] == pytest.approx((sum(first["mean"]) / 3,))
    assert model.config["std"] == pytest.approx((sum(first["std"]) / 3,))
    assert any("averaged" in note for note in model.notes)
    told = load("test_resnet", checkpoint=file, mean=(0.4,), std=(0.3,))
    assert (told.config["mean"], told.config["std"]) == ((0.4,), (0.3,))
    assert not told.notes
    assert "--mean has 3 numbers" in refusal("test_resnet", checkpoint=file, settings=Settings(mean=(0.4, 0.4, 0.4)))


def test_colour_weights_that_are_made_to_read_grey_are_said(tmp_path):
    timm.models.save_for_hf(timm.create_model("test_resnet"), tmp_path, safe_serialization=True)
    model = load(f"local-dir:{tmp_path}", model_kwargs={"in_chans": 1})
    assert model.channels == 1
    assert any("resized conv1.0.weight (16, 3, 3, 3) to (16, 1, 3, 3)" in note for note in model.notes)


def test_a_grey_picture_in_three_equal_colours_is_itself():
    grey = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16))
    assert np.array_equal(np.asarray(Grey()(grey.convert("RGB"))), np.asarray(grey))


def test_where_things_land_is_known_of_grey_models_too(tmp_path):
    file = tmp_path / "grey.safetensors"
    safetensors.torch.save_file(timm.create_model("test_resnet", in_chans=1).state_dict(), file)
    grey, colour = load("test_resnet", checkpoint=file), timm.create_model("test_resnet")
    own = create_transform(**timm.data.resolve_model_data_config(colour))
    for size in ((200, 300), (640, 480)):
        one, other = frame_of(grey.transform, size), frame_of(own, size)
        assert np.allclose(one.scale, other.scale)
        assert np.allclose(one.shift, other.shift)


@pytest.mark.parametrize("channels", [2, 4, 5])
def test_other_numbers_of_channels_are_one_line(tmp_path, channels):
    timm.models.save_for_hf(timm.create_model("test_resnet", in_chans=channels), tmp_path, safe_serialization=True)
    assert f"{channels} channels" in refusal(f"local-dir:{tmp_path}")
    file = tmp_path / "c.safetensors"
    safetensors.torch.save_file(timm.create_model("test_resnet", in_chans=channels).state_dict(), file)
    assert f"{channels} channels" in refusal("test_resnet", checkpoint=file)


# train.py's own arguments


def train_args(**more):
    """As timm's train.py keeps them: what was not said is None or empty."""
    names = ["img_size", "input_size", "crop_pct", "mean", "std", "num_classes", "in_chans", "bn_eps", "gp"]
    silent = dict.fromkeys(names)
    empty = {"interpolation": "", "class_map": "", "model_kwargs": {}}
    return {**silent, **empty, "model": "resnet18", "opt": "sgd", **more}


def test_arguments_that_say_nothing_are_none():
    assert from_args(train_args()) == Settings(natural=True)
    assert with_args(Settings(), train_args())[1] == []
    assert from_args({"lr": 0.1}) == Settings()


def test_arguments_are_what_train_py_would_validate_with():
    said = {"img_size": 96, "crop_pct": 0.9, "mean": [0.5, 0.4, 0.3], "std": [0.2], "interpolation": "bilinear"}
    args = vars(argparse.Namespace(**train_args(**said, gp="avg", model_kwargs={"drop_rate": 0.1})))
    found, notes = with_args(Settings(std=(0.25,), model_kwargs={"drop_rate": 0.0}), args)
    assert found.img_size == (96, 96)
    assert (found.crop_pct, found.interpolation, found.mean) == (0.9, "bilinear", (0.5, 0.4, 0.3))
    assert found.std == (0.25,)
    assert found.model_kwargs == {"drop_rate": 0.0, "global_pool": "avg"}
    (line,) = notes
    assert line == (
        "as the checkpoint's own arguments say: size 96×96, crop 0.9, interpolation bilinear, mean 0.5 0.4 0.3, "
        "global_pool avg"
    )


def test_input_size_is_channels_height_and_width():
    found = from_args(train_args(input_size=[1, 96, 64]))
    assert found.img_size == (96, 64)
    assert found.model_kwargs == {"in_chans": 1}


@pytest.mark.parametrize("value", ["x", [], {}, object(), [None], b"\0", float("nan"), True, [1, 2]])
def test_strange_arguments_are_passed_over(value):
    names = ("img_size", "input_size", "crop_pct", "mean", "std", "model_kwargs", "in_chans")
    found, notes = with_args(Settings(), dict.fromkeys(names, value))
    assert all("\n" not in note for note in notes)
    assert found.crop_pct is None


def test_other_weights_never_come_from_arguments():
    found = from_args(train_args(model_kwargs={"checkpoint_path": "/x", "num_classes": 9, "in_chans": 1}))
    assert found.model_kwargs == {"in_chans": 1}


def test_a_class_map_of_training_is_said():
    (line,) = with_args(Settings(), train_args(class_map="maps/a.txt"))[1]
    assert "--class-map" in line
    assert with_args(Settings(class_names=["a"]), train_args(class_map="maps/a.txt"))[1] == []
