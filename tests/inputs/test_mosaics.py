"""Pictures put together of photographs: the model is fed exactly the grid, and every cell is where it is said to be."""

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import create_transform
from torchvision import transforms

from salcheck.datasets import Dataset, Item
from salcheck.errors import SalcheckError
from salcheck.inputs.mosaics import Tile, mosaics
from salcheck.inputs.truth import Truth

SIZES = [(90, 60), (64, 64), (70, 200), (333, 101)]
COLOURS = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)]
ITEMS = [Item(f"photo {i}", (10 + i,), f"bytes {i}") for i in range(4)]


def read(item):
    i = ITEMS.index(item)
    return Image.new("RGB", SIZES[i], COLOURS[i])


BASE = Dataset("plain", "somewhere", ITEMS, read)
TILES = [Tile(item, item.labels[0]) for item in ITEMS]


def model_with(model, side=(64, 64), **changes):
    """The model as if its transform were another one of timm's."""
    settings = {"input_size": (3, *side), "crop_pct": 0.875, "mean": (0.3, 0.4, 0.5), "std": (0.2, 0.2, 0.2)} | changes
    config = {**model.config, **settings}
    return dataclasses.replace(model, config=config, transform=create_transform(**settings, is_training=False))


def shown(model, dataset):
    """What the model sees of each item, (B, 3, H, W) in 0...1, and the cells (B, M, H, W) by the truth."""
    pictures = [dataset.read(item) for item in dataset.items]
    sizes = [picture.size for picture in pictures]
    truth = Truth(dataset, dataset.items, sizes, model.transform, torch.device("cpu"))
    cells = truth.masks(torch.tensor([item.labels for item in dataset.items]))
    seen = torch.stack([model.picture(model.transform(picture)).permute(2, 0, 1) for picture in pictures])
    return seen, cells


@pytest.mark.parametrize(
    ("side", "changes"),
    [
        ((64, 64), {}),
        ((224, 224), {"crop_pct": 0.95}),
        ((225, 225), {"crop_pct": 0.9}),
        ((64, 64), {"crop_pct": 1.0}),
        ((64, 64), {"crop_mode": "squash"}),
        ((64, 64), {"crop_mode": "border"}),
        ((64, 96), {}),
    ],
)
def test_the_model_is_fed_exactly_the_grid_whatever_it_crops(scenes_model, side, changes):
    model = model_with(scenes_model, side, **changes)
    seen, cells = shown(model, mosaics(BASE, [TILES, TILES[::-1]], model, 2))
    H, W = side
    top, left = torch.arange(H) < round(H / 2), torch.arange(W) < round(W / 2)
    expected = [top[:, None] & left, top[:, None] & ~left, ~top[:, None] & left, ~top[:, None] & ~left]
    assert torch.equal(cells[0], torch.stack(expected))
    for picture, colours in zip(seen, (COLOURS, COLOURS[::-1]), strict=True):
        for cell, colour in zip(expected, colours, strict=True):
            wanted = torch.tensor(colour)[:, None] / 255
            padded = changes.get("crop_mode") == "border"  # around the photographs, which are as the model sees them
            agree = (picture[:, cell] - wanted).abs().amax(0) < 0.002
            assert agree.float().mean() > 0.25 if padded else agree.all()


@pytest.mark.parametrize(("side", "grid"), [((64, 64), 2), ((225, 225), 2), ((63, 63), 3), ((64, 96), 2)])
def test_one_row_shows_photographs_of_their_own_shape_between_the_mean_colour(scenes_model, side, grid):
    model = model_with(scenes_model, side)
    row = TILES[:grid]
    seen, cells = shown(model, mosaics(BASE, [row], model, grid))
    H, W = side
    edges = [round(W * i / grid) for i in range(grid + 1)]
    height, mean = round(H / grid), torch.tensor([0.3, 0.4, 0.5])
    assert cells[0].sum(0).eq(1).all()
    for i, colour in enumerate(COLOURS[:grid]):
        column = seen[0][:, :, edges[i] : edges[i + 1]]
        assert cells[0, i, :, edges[i] : edges[i + 1]].all()
        is_photo = (column - torch.tensor(colour).view(3, 1, 1) / 255).abs().amax(0) < 0.002
        assert is_photo.all(1).sum() == height
        top = int(is_photo.all(1).nonzero()[0])
        assert abs(top - (H - height) / 2) <= 0.5
        assert (column[:, ~is_photo] - mean[:, None]).abs().max() < 0.003


def test_nine_cells_are_thirds(scenes_model):
    nine = [Tile(dataclasses.replace(ITEMS[i % 4]), i) for i in range(9)]
    for side in (63, 64, 224):
        model = model_with(scenes_model, (side, side))
        _, cells = shown(model, mosaics(BASE, [nine], model, 3))
        edges = [round(side * i / 3) for i in range(4)]
        for i in range(9):
            rows, columns = cells[0, i].any(1).nonzero()[:, 0], cells[0, i].any(0).nonzero()[:, 0]
            assert (int(rows[0]), int(rows[-1]) + 1) == (edges[i // 3], edges[i // 3 + 1])
            assert (int(columns[0]), int(columns[-1]) + 1) == (edges[i % 3], edges[i % 3 + 1])
        assert torch.equal(cells[0].sum(0), torch.ones(side, side, dtype=torch.long))  # each pixel in one cell


def test_a_cell_holds_the_photograph_as_the_model_sees_it(scenes_model):
    """Resized and cropped by the model's own transform, then made smaller; and not turned or mirrored."""
    ramp = np.zeros((80, 120, 3), np.uint8)
    ramp[..., 0], ramp[..., 1] = np.arange(120) * 2, np.arange(80)[:, None] * 3
    base = Dataset("ramp", "", ITEMS, lambda item: Image.fromarray(ramp))
    model = model_with(scenes_model)
    seen, _ = shown(model, mosaics(base, [TILES], model, 2))
    alone = model.picture(model.transform(Image.fromarray(ramp))).permute(2, 0, 1)
    smaller = torch.nn.functional.avg_pool2d(alone[None], 2)[0]
    for rows, columns in ((slice(0, 32), slice(0, 32)), (slice(32, 64), slice(32, 64))):
        assert (seen[0][:, rows, columns] - smaller).abs()[:, 2:-2, 2:-2].max() < 0.012
    assert smaller[0, 0, -1] - smaller[0, 0, 0] > 0.4


def test_items_name_their_photographs_and_their_bytes(scenes_model):
    model = model_with(scenes_model)
    found = mosaics(BASE, [TILES], model, 2)
    (item,) = found.items
    assert item.key == "photo 0 + photo 1 + photo 2 + photo 3"
    assert item.labels == (10, 11, 12, 13)
    assert found.name == "mosaics of plain"
    assert found.path(item) is None
    other = dataclasses.replace(TILES[3], item=dataclasses.replace(ITEMS[3], fingerprint="others"))
    digests = {
        found.digest,
        mosaics(BASE, [[*TILES[:3], other]], model, 2).digest,
        mosaics(BASE, [TILES], model_with(scenes_model, crop_pct=0.9), 2).digest,  # crops the photographs otherwise
    }
    assert len(digests) == 3


def test_nothing_is_read_before_it_is_asked_for(scenes_model):
    def never(item):
        raise AssertionError("read")

    model = model_with(scenes_model)
    base = dataclasses.replace(BASE, read=never)
    found = mosaics(base, [TILES], model, 2)
    assert found.regions is not None
    assert [one.label for one in found.regions(found.items[0])] == [10, 11, 12, 13]
    with pytest.raises(AssertionError):
        found.read(found.items[0])


def test_a_transform_that_resizes_whatever_it_is_given_is_refused(scenes_model):
    steps = [transforms.Resize(80), transforms.CenterCrop(80), transforms.Resize(64), transforms.ToTensor()]
    model = dataclasses.replace(model_with(scenes_model), transform=transforms.Compose(steps))
    with pytest.raises(SalcheckError, match="cannot be fed a mosaic"):
        mosaics(BASE, [TILES], model, 2)
