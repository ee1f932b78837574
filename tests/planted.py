"""Scenes with a planted truth: which pixels belong to which class, and how much of a map lies on them."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from salcheck.datasets import Dataset, Item, scenes
from salcheck.inputs.sample import image_seed
from salcheck.maps.ranking import mass, upsample
from salcheck.methods import Method
from salcheck.network.model import Model
from salcheck.network.view import View
from salcheck.references import build

HELD_OUT = 300  # scenes at the end of the dataset, for references


def plant(model: Model, items: Sequence[Item]) -> tuple[View, Tensor, Tensor]:
    """A view of two-object scenes, their classes (B, 2) and masks (B, 2, H, W)."""
    images = model.batch([model.transform(scenes.read(item)) for item in items])
    view = model.view(lambda: images, [image_seed(0, item.key) for item in items])
    masks = torch.stack([torch.from_numpy(scenes.masks(item)) for item in items])
    return view, torch.tensor([item.labels for item in items]), masks


def references_of(model: Model, methods: Sequence[Method], cache: Path) -> dict[str, object]:
    """What the methods read of held-out scenes."""
    needs = [need for method in methods for need in method.needs]
    return dict(build(needs, model, held_out_scenes(model), cache).values)


def held_out_scenes(model: Model) -> Dataset:
    dataset = scenes.open_dataset(None, model.labels, 0)
    return dataclasses.replace(dataset, items=dataset.items[-HELD_OUT:])


def shares(method: Method, view: View, classes: Tensor, masks: Tensor, references: dict[str, object]) -> Tensor:
    """The shares of each map's positive mass on its own object and on the other, (B, 2, 2); NaN for a blank map."""
    maps = mass(upsample(method.saliency(view, classes, references), view.size))
    on = torch.einsum("bmhw,bnhw->bmn", maps, masks.float())
    own, other = on.diagonal(dim1=1, dim2=2), on.flip(2).diagonal(dim1=1, dim2=2)
    return torch.stack([own, other], dim=-1)
