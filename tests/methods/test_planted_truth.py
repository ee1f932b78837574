"""Scenes tell what photographs cannot: the map for class u belongs on object u and not on object v."""

import pytest
import torch

from salcheck import folder
from salcheck.datasets import scenes
from salcheck.methods import parse_method
from salcheck.regions import mass, upsample

COUNT = 48


@pytest.fixture(scope="module")
def planted(scenes_model):
    """Classes (B, 2) and masks (B, 2, H, W) of two-object scenes, and a view of them."""
    items = scenes.open_dataset(None, scenes_model.labels, 0).items[:COUNT]
    images = [scenes_model.transform(scenes.read(item)) for item in items]
    view = scenes_model.view(lambda: scenes_model.batch(images), list(range(COUNT)))
    masks = torch.stack([torch.from_numpy(scenes.masks(item)) for item in items])
    return view, torch.tensor([item.labels for item in items]), masks


def share_on_own_object(name, planted):
    """The share of maps with more mass on the object of their class than on the other."""
    view, classes, masks = planted
    shares = mass(upsample(parse_method(name).saliency(view, classes), view.size))
    on = torch.einsum("bmhw,bnhw->bmn", shares, masks.float())
    return (on.diagonal(dim1=1, dim2=2) > on.flip(2).diagonal(dim1=1, dim2=2)).float().mean().item()


@pytest.mark.parametrize("name", folder.names("methods"))
def test_maps_fall_on_the_object_of_their_class(name, planted):
    share = share_on_own_object(name, planted)
    if parse_method(name).control:
        assert 0.3 < share < 0.7
    else:
        assert share > 0.95


@pytest.mark.parametrize("contrast", ["logits", "random"])
def test_so_do_those_of_case_with_other_contrasts(contrast, planted):
    assert share_on_own_object(f"case:contrast={contrast}", planted) > 0.95
