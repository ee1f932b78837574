"""The path of somebody with a model of their own: three classes in folders, own mean and std, a plain checkpoint."""

import re
import sqlite3
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from timm.data import create_transform
from torchvision.datasets import ImageFolder

from tests.calls import run

ARCH = "test_resnet"
MEAN, STD = (0.3, 0.4, 0.2), (0.2, 0.25, 0.3)
CLASSES = ("car", "bird", "dog")
OTHER = 8  # every eighth picture lies in another class's folder: nobody gets all of them right


def draw(rng: np.random.Generator, kind: int) -> Image.Image:
    """A bright square of the class's colour somewhere on noise."""
    pixels = rng.integers(40, 110, (80, 96, 3))
    x, y = rng.integers(8, 40, 2)
    pixels[y : y + 32, x : x + 32, kind] = rng.integers(200, 256)
    return Image.fromarray(pixels.astype(np.uint8))


def fill(root: Path, each: int, seed: int) -> Path:
    rng = np.random.default_rng(seed)
    for kind, name in enumerate(CLASSES):
        (root / name).mkdir(parents=True)
        for i in range(each):
            shown = (kind + 1) % 3 if i % OTHER == OTHER - 1 else kind
            draw(rng, shown).save(root / name / f"{i}.png")
    return root


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A fine-tuned model's folder with last.pth and val/, and whether its trainer has each picture of val right."""
    root = tmp_path_factory.mktemp("own")
    torch.manual_seed(0)
    net = timm.create_model(ARCH, num_classes=3)
    own = {"input_size": net.pretrained_cfg["input_size"], "crop_pct": 0.95, "interpolation": "bilinear"}
    transform = create_transform(**own | {"mean": MEAN, "std": STD}, is_training=False)
    assert net.pretrained_cfg["crop_pct"] == own["crop_pct"]
    lessons, test = (ImageFolder(str(fill(root / name, each, seed)), transform)
                     for name, each, seed in (("train", 12, 1), ("val", 12, 2)))  # fmt: skip
    images, targets = torch.stack([image for image, _ in lessons]), torch.tensor(lessons.targets)
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
    for _ in range(5):
        for rows in torch.randperm(len(images)).split(12):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(net(images[rows]), targets[rows]).backward()
            optimizer.step()
    torch.save(net.state_dict(), root / "last.pth")
    with torch.inference_mode():
        logits = net.eval()(torch.stack([image for image, _ in test]))
    names = [str(Path(path).relative_to(root / "val")) for path, _ in test.samples]
    return root, dict(zip(names, (logits.argmax(1) == torch.tensor(test.targets)).tolist(), strict=True))


def numbers(values):
    return [f"{value:g}" for value in values]


def test_the_whole_path_with_no_option_but_those_of_the_model_and_the_data(trained):
    root, right = trained
    assert 0.6 < np.mean(list(right.values())) < 1  # the trainer's own accuracy
    model = ["--arch", ARCH, "--checkpoint", root / "last.pth", "--mean", *numbers(MEAN), "--std", *numbers(STD)]
    picture = root / "val" / "bird" / "0.png"
    explained = run("explain", picture, *model, "--class-names", "bird,car,dog", "-c", "car", "-c", "top1").output
    assert "input 160×160, crop .95 bilinear, mean .3 .4 .2, std .2 .25 .3" in explained
    assert re.search(r"predicted: bird [0-9.]+%", explained)
    asked = run("eval", "rq1", "mosaic", "deletion", *model, "--data", root / "val", "--methods", "gradcam").output
    assert "classes by sorted folder names: 0 bird, 1 car, 2 dog" in asked
    with sqlite3.connect("salcheck.db") as store:
        seen = [
            key for (key,) in store.execute("SELECT DISTINCT image FROM all_predictions WHERE image NOT LIKE '%+%'")
        ]
    expected = f"{sum(right[key] for key in seen)} of {len(seen)} right"
    assert len(seen) > 10
    assert asked.count(expected) == 2  # of rq1 and of deletion
    assert "WARNING" not in asked
    report = run("report").output.replace("\n", " ")
    assert report.count(expected) == 2
    assert "drawn from mosaics of folder" in report
    assert "mean .3 .4 .2" in report
    assert "0 bird, 1 car, 2 dog" in report


def test_the_wrong_order_of_classes_is_a_warning_and_the_right_preprocessing_counts(trained):
    root, _ = trained
    model = ["--arch", ARCH, "--checkpoint", root / "last.pth", "--mean", *numbers(MEAN), "--std", *numbers(STD)]
    where = ["--data", root / "val", "--methods", "gradcam", "--all-images"]
    turned = run("eval", "averagedrop", *model, *where, "--class-names", "car,dog,bird")
    assert "which chance alone (33%) could give: are the classes in the right order" in turned.output
