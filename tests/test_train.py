"""The built-in model: what is committed does what it says, and training makes such a folder again."""

import json

import pytest
import safetensors.torch
import timm
import torch

from salcheck.archs import ASSETS
from salcheck.datasets.scenes import CLASSES, SEED_EVALUATION, draw
from salcheck.errors import SalcheckError
from salcheck.regions import upsample
from salcheck.train import accuracy, to_batch, train

BUILT_IN = ASSETS / "scenes"


@pytest.fixture(scope="module")
def built_in():
    return timm.create_model(f"local-dir:{BUILT_IN}", pretrained=True).eval()


def quiet(line):
    pass


def short(out, **given):
    return train(out, steps=3, batch_size=8, report=quiet, **given)


@pytest.fixture
def quick(monkeypatch):
    """Measure on a few scenes only: here it is not the figures that matter."""
    monkeypatch.setattr("salcheck.train.HELD_OUT", 8)


def test_built_in_weights_are_small():
    assert (BUILT_IN / "model.safetensors").stat().st_size <= 3e6


def test_built_in_model_is_right_on_held_out_scenes(built_in):
    figures = accuracy(built_in, 300)
    assert figures["single"] >= 0.95
    assert figures["pair"] >= 0.85
    recorded = json.loads((BUILT_IN / "config.json").read_text())["training"]["held_out"]
    assert figures == pytest.approx(recorded, abs=0.05)


def test_built_in_model_looks_at_the_objects(built_in):
    """Grad-CAM of a class (its classifier row times the activations) lies on its object, not on the other."""
    scenes = [draw(SEED_EVALUATION, index) for index in range(60)]
    with torch.inference_mode():
        acts = built_in.forward_features(to_batch(scenes))
        maps = torch.einsum("nc,bchw->bnhw", built_in.fc.weight, acts).relu()
    shares = []
    for scene, grids in zip(scenes, upsample(maps, (128, 128)), strict=True):
        masks = torch.from_numpy(scene.masks)
        for order in ([0, 1], [1, 0]):
            grid = grids[scene.classes[order[0]]]
            shares.append([(grid * masks[other]).sum() / grid.sum() for other in order])
    own, other = torch.tensor(shares).nanmean(0)
    assert own > 4 * other


def test_transform_is_that_of_training(built_in):
    """timm's own transform gives the very numbers that the model was trained on."""
    from PIL import Image
    from timm.data import create_transform, resolve_model_data_config

    scene = draw(1, 2)
    transform = create_transform(**resolve_model_data_config(built_in), is_training=False)
    assert torch.allclose(transform(Image.fromarray(scene.image)), to_batch([scene])[0], atol=1e-6)


def test_same_seed_same_weights(tmp_path, quick):
    first, second, other = tmp_path / "first", tmp_path / "second", tmp_path / "other"
    torch.manual_seed(1)
    short(first)
    torch.manual_seed(2)  # what else draws random numbers must not matter
    short(second)
    short(other, seed=1)
    read = [(out / "model.safetensors").read_bytes() for out in (first, second, other)]
    assert read[0] == read[1] != read[2]


def test_training_leaves_the_random_state_alone(tmp_path, quick):
    before = torch.get_rng_state()
    short(tmp_path)
    assert torch.equal(before, torch.get_rng_state())


def test_training_writes_a_folder_that_timm_opens(tmp_path, quick):
    out = tmp_path / "deep" / "model"
    lines = []
    figures = train(out, steps=3, batch_size=8, report=lines.append)
    model = timm.create_model(f"local-dir:{out}", pretrained=True).eval()
    weights = safetensors.torch.load_file(out / "model.safetensors")
    assert sorted(path.name for path in out.iterdir()) == ["config.json", "model.safetensors"]
    assert all(torch.equal(weights[name], value) for name, value in model.state_dict().items())
    assert model.pretrained_cfg["label_names"] == list(CLASSES)
    assert model(to_batch([draw(0, 0)])).shape == (1, len(CLASSES))
    assert figures == json.loads((out / "config.json").read_text())["training"]["held_out"]
    assert set(figures) == {"single", "pair"} and len(lines) == 2


def test_user_errors(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SalcheckError, match="cannot write to"):
        short(tmp_path / "file")
    with pytest.raises(SalcheckError, match="steps 0"):
        train(tmp_path, steps=0, report=quiet)
