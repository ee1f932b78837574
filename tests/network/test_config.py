"""config.json from anywhere: one line that names the entry, whatever is in it."""

import json
import os

import pytest

from salcheck.errors import SalcheckError
from salcheck.network.loading import load_model
from tests.makers import save_model

WRONG = [
    None,
    "",
    "evil",
    0,
    -1,
    1.5,
    1e400,
    float("nan"),
    True,
    [],
    {},
    [[]],
    ["a"],
    [0, 0, 0],
    [3, 0, 0],
    [3, -1, 64],
]
WRONG += [[3, 64], [1e30] * 3, {"a": 1}, "\x1b[31m\nx", 10**30, [None] * 3]
SETTINGS = (
    *("input_size", "mean", "std", "crop_pct", "crop_mode", "interpolation", "num_classes", "label_names", "tag"),
    *("label_descriptions", "classifier", "first_conv", "pool_size", "fixed_input_size", "test_input_size", "url"),
)
WHOLE = ("architecture", "num_classes", "num_features", "pretrained_cfg", "model_args", "global_pool", "label_names")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    save_model(folder, side=64)
    return folder, json.loads((folder / "config.json").read_text())


@pytest.mark.parametrize("name", [*SETTINGS, *(f"/{name}" for name in WHOLE)])
def test_what_cannot_be_right_is_one_line_that_names_the_entry(saved, name):
    """Nothing else than a model that can be used or one line comes of it."""
    folder, config = saved
    for value in WRONG:
        changed = json.loads(json.dumps(config))
        (changed if name.startswith("/") else changed["pretrained_cfg"])[name.lstrip("/")] = value
        (folder / "config.json").write_text(json.dumps(changed))
        try:
            model = load_model(f"local-dir:{folder}", device="cpu")
        except SalcheckError as error:
            said = str(error)
            assert "\n" not in said and "config.json" in said, (name, value)
            assert name.lstrip("/") in said, (value, said)
            continue
        model.net(model.transform(picture(model))[None])


def picture(model):
    from PIL import Image

    return Image.new("RGB", (80, 70), "red")


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "3", "{}", "[" * 100_000, b"\xff\xfe\x00", '{"architecture": "no-such"}']
)
def test_what_is_no_config_is_one_line(saved, text):
    folder, _ = saved
    (folder / "config.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(SalcheckError, match=r"config\.json") as caught:
        load_model(f"local-dir:{folder}", device="cpu")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_pipe_in_its_place_is_never_waited_for(tmp_path, name):
    save_model(tmp_path / "model")
    (tmp_path / "model" / name).unlink()
    os.mkfifo(tmp_path / "model" / name)
    with pytest.raises(SalcheckError, match=rf"{name}, which is a pipe"):
        load_model(f"local-dir:{tmp_path / 'model'}", device="cpu")


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("std", [0, 0, 0], "'std' is .0, 0, 0.: a list of numbers above 0"),
        ("mean", "0.5", "'mean' is '0.5': a list of numbers"),
        ("mean", [0.5, 0.5], "one for each channel"),
        ("input_size", [3, 0, 0], "'input_size' is .3, 0, 0.: .channels, height, width."),
        ("crop_pct", -1, "'crop_pct' is -1: a number from 0.1 to 2"),
        ("interpolation", "evil", "one of nearest, bilinear, bicubic"),
    ],
)
def test_the_line_says_what_is_expected(saved, name, value, line):
    folder, config = saved
    changed = json.loads(json.dumps(config))
    changed["pretrained_cfg"][name] = value
    (folder / "config.json").write_text(json.dumps(changed))
    with pytest.raises(SalcheckError, match=line):
        load_model(f"local-dir:{folder}", device="cpu")
