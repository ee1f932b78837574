"""Where objects land when a model is fed their image."""

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from timm.data import create_transform
from torchvision import transforms

from salcheck.datasets import Dataset, Item, Parts, Region
from salcheck.errors import SalcheckError
from salcheck.inputs.truth import Truth, frame_of

SIZES = [(500, 375), (375, 500), (224, 224), (90, 60), (1300, 301), (400, 309), (458, 500), (800, 450)]


def eval_transform(**changes):
    return create_transform(**{"input_size": (3, 224, 224), "crop_pct": 0.875, "is_training": False} | changes)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("crop_pct", [0.875, 0.9, 1.0])
def test_points_land_where_the_arithmetic_of_resize_and_crop_says(size, crop_pct):
    width, height = size
    frame = frame_of(eval_transform(crop_pct=crop_pct), size)
    shorter = int(224 / crop_pct)
    scaled = np.array([shorter if n == min(size) else int(shorter * n / min(size)) for n in size])
    scale = scaled / [width, height]
    crop = np.round((scaled - 224) / 2)
    points = np.array([[0.0, 0.0], [width, height], [0.3 * width, 0.6 * height]])
    assert frame.size == (224, 224)
    assert np.allclose(
        frame.points(points), points * scale - crop, atol=1.02
    )  # timm rounds the longer side its own way
    assert np.allclose(frame.scale, scale, rtol=1e-4)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("changes", [{}, {"crop_mode": "squash"}, {"crop_mode": "border"}, {"crop_pct": 1.0}])
def test_a_box_lands_where_its_pixels_are_seen(size, changes):
    """The picture is black but for the box, and goes through the very transform."""
    width, height = size
    box = (0.3 * width // 1, 0.4 * height // 1, 0.6 * width // 1, 0.8 * height // 1)
    pixels = np.zeros((height, width), np.uint8)
    pixels[int(box[1]) : int(box[3]), int(box[0]) : int(box[2])] = 255
    transform = eval_transform(mean=(0, 0, 0), std=(1, 1, 1), **changes)
    seen = transform(Image.fromarray(pixels).convert("RGB"))[0].numpy()
    frame = frame_of(transform, size)
    by_box, by_mask = frame.mask(Region(0, box=box)), frame.mask(Region(0, mask=pixels > 0))
    assert (by_box == by_mask).all()
    assert by_box.any()
    assert ((seen > 0.5) != by_box).mean() < 0.004  # its edge, where a resized picture is half bright
    assert not by_box[seen < 0.02].any()
    assert by_box[seen > 0.98].all()


def test_a_box_of_one_pixel_is_that_pixel_where_nothing_is_resized():
    frame = frame_of(transforms.Compose([transforms.ToTensor()]), (7, 5))
    assert frame.size == (5, 7)
    found = frame.mask(Region(0, box=(2, 3, 3, 4)))
    assert np.argwhere(found).tolist() == [[3, 2]]
    assert frame.mask(Region(0, box=(-9, -9, 99, 99))).all()


def test_a_transform_that_turns_the_picture_is_refused():
    turned = transforms.Compose([transforms.Lambda(lambda image: image.rotate(90)), transforms.ToTensor()])
    with pytest.raises(SalcheckError, match="more than scale and crop"):
        frame_of(turned, (100, 100))


def truth_of(**known):
    items = [Item("a", (3,)), Item("b", (1, 3))]
    dataset = Dataset("made", "", items, lambda item: Image.new("RGB", (8, 6)), **known)
    return Truth(dataset, items, [(8, 6), (8, 6)], transforms.ToTensor(), torch.device("cpu"))


def test_masks_hold_every_region_of_the_class_and_of_no_other():
    places = {
        "a": [Region(3, box=(0, 0, 2, 1)), Region(3, box=(6, 5, 8, 6)), Region(-1, box=(0, 0, 8, 6))],
        "b": [Region(1, box=(1, 1, 2, 2))],
    }
    truth = truth_of(regions=lambda item: places[item.key])
    masks = truth.masks(torch.tensor([[3, 1], [3, 1]]))
    assert masks.shape == (2, 2, 6, 8)
    assert masks.sum((-2, -1)).tolist() == [[4, 0], [0, 1]]
    assert bool(masks[1, 1, 1, 1])
    assert [len(one) for one in truth.part([1]).regions] == [1]


def test_parts_are_points_and_seen_only_within_the_picture():
    found = {"a": [[1.5, 2.5, 1], [3, 3, 0]], "b": [[9.0, 1, 1], [0.5, 0.5, 1]]}
    parts = Parts(["head", "tail"], lambda item: np.array(found[item.key]), np.zeros((4, 4, 2)))
    located = truth_of(parts=parts).parts
    assert located.visible.tolist() == [[True, False], [False, True]]
    assert torch.allclose(located.points[0, 0], torch.tensor([1.5, 2.5], dtype=torch.float64), atol=1e-4)


@pytest.mark.parametrize(("what", "name"), [("regions", "places|objects"), ("parts", "parts")])
def test_a_dataset_without_annotation_is_one_line_that_names_others(what, name):
    with pytest.raises(SalcheckError, match=f"made does not (say|know) .*({name}).*take --dataset"):
        getattr(truth_of(), what)


@pytest.mark.parametrize("name", ["resnet50", "vit_tiny_patch16_224", "inception_v3", "mobilenetv2_100"])
def test_every_transform_that_timm_has_for_these_models_is_understood(name):
    net = timm.create_model(name)
    transform = create_transform(**timm.data.resolve_model_data_config(net), is_training=False)
    frame = frame_of(transform, (640, 480))
    middle = frame.points(np.array([[320.0, 240.0]]))[0]
    assert np.allclose(middle, np.array(frame.size[::-1]) / 2, atol=0.6)
