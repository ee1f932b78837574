import json

import numpy as np
import safetensors.torch
import timm
import torch
from PIL import Image

from salcheck.network.loading import load_model
from tests.makers import save_model
from tests.network.toys import other_weights


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
