"""The files that CONTRIBUTING.md shows do what it says of them."""

import re
import textwrap
from pathlib import Path

import pytest
import torch
from PIL import Image

from salcheck.errors import SalcheckError
from salcheck.methods import gradcam
from salcheck.network.labels import Labels
from tests.nets import make_images, make_view

TEXT = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text()
CLASSES = torch.tensor([[0], [1]])


@pytest.fixture(scope="module")
def shown():
    """The names of each recipe's file, by what the file is: its one function."""
    files = {}
    for block in re.findall(r"^ *```python\n(.*?)^ *```", TEXT, flags=re.MULTILINE | re.DOTALL):
        names = {}
        exec(compile(textwrap.dedent(block), "CONTRIBUTING.md", "exec"), names)
        (function,) = {"saliency", "score", "open_dataset", "render"} & set(names)
        files[function] = names
    return files


def test_all_four_recipes_show_a_file(shown):
    assert set(shown) == {"saliency", "score", "open_dataset", "render"}


def test_the_method_is_grad_cam_and_its_power(shown, scenes_model):
    view = make_view(scenes_model.net, make_images(count=2, side=scenes_model.size[0]))
    expected = gradcam.saliency(view, CLASSES)
    assert expected.max() > 0
    assert torch.allclose(shown["saliency"]["saliency"](view, CLASSES), expected, atol=1e-7)
    assert torch.allclose(shown["saliency"]["saliency"](view, CLASSES, power=2), expected**2, atol=1e-9)


def test_the_question_counts_the_cells_of_half_the_mass(shown):
    one, even, blank = torch.zeros(1, 4, 4), torch.ones(1, 4, 4), -torch.ones(1, 4, 4)
    one[0, 2, 3] = 1
    scores = shown["score"]["score"](None, torch.zeros(3, 1), torch.stack([one, even, blank]))
    assert scores.values["half"][:2].tolist() == [1 / 16, 8 / 16]
    assert scores.values["half"][2].isnan()
    assert [note is None for note in scores.notes] == [True, True, False]
    assert shown["score"]["QUESTION"].metric in scores.values


def test_the_dataset_reads_class_folders(shown, tmp_path):
    open_dataset = shown["open_dataset"]["open_dataset"]
    for name, colour in (("cat", "red"), ("dog", "blue")):
        (tmp_path / "set" / name).mkdir(parents=True)
        Image.new("RGB", (2, 2), colour).save(tmp_path / "set" / name / "a.png")
    dataset = open_dataset(tmp_path / "set", Labels(["dog", "cat"]), 0)
    assert [item.labels for item in dataset.items] == [(1,), (0,)]
    assert dataset.read(dataset.items[1]).getpixel((0, 0)) == (0, 0, 255)
    with pytest.raises(SalcheckError, match="expected is"):
        open_dataset(tmp_path / "nothing", Labels(["dog"]), 0)
