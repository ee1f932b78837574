"""Small models and datasets on disk, made by the tests themselves."""

import json
from pathlib import Path

import numpy as np
import safetensors.torch
from PIL import Image

from tests.nets import make_net


def save_model(folder: Path, name: str = "test_resnet", classes: int = 7, side: int = 64) -> str:
    """An untrained model as a timm local-dir; returns what to give as --arch."""
    net = make_net(name, classes)
    folder.mkdir(parents=True, exist_ok=True)
    safetensors.torch.save_file({k: v.contiguous() for k, v in net.state_dict().items()}, folder / "model.safetensors")
    settings = {"input_size": [3, side, side], "mean": [0.5] * 3, "std": [0.5] * 3, "crop_pct": 1.0}
    settings |= {"num_classes": classes, "interpolation": "bilinear", "tag": "toy", "classifier": "fc"}
    settings |= {"label_names": [f"kind {i}" for i in range(classes)], "first_conv": "conv1"}
    config = {"architecture": name, "num_classes": classes, "pretrained_cfg": settings}
    (folder / "config.json").write_text(json.dumps(config))
    return f"local-dir:{folder}"


def save_images(root: Path, classes: int = 7, each: int = 6, side: int = 64, seed: int = 0) -> Path:
    """Class folders `0`, `1`, ... of blurred noise, no two images alike."""
    rng = np.random.default_rng(seed)
    for u in range(classes):
        (root / str(u)).mkdir(parents=True, exist_ok=True)
        for i in range(each):
            coarse = Image.fromarray(rng.integers(0, 256, (5, 5, 3), dtype=np.uint8))
            coarse.resize((side, side), Image.Resampling.BICUBIC).save(root / str(u) / f"{i}.png")
    return root
