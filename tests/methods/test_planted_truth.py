"""Scenes tell what photographs cannot: the map for class u belongs on object u and not on object v."""

import pytest

from salcheck import folder
from salcheck.datasets import scenes
from salcheck.methods import every, parse_method, parse_methods
from tests.methods.test_contract import SHORT
from tests.planted import plant, references_of, shares

COUNT = 32
OTHERS = ["case:contrast=logits", "case:contrast=random", "case:subtract=difference", "diffcam:group=others"]
# Chance is 0.5. These do not claim to tell one class of a picture from another: DiffCAM's class only leaves the
# group that it is compared with, and the others are the same map for every class.
LEAST = {"diffcam": 0.0, "diffcam:group=others": 0.0, "rise": 0.85}


@pytest.fixture(scope="module")
def planted(scenes_model, tmp_path_factory):
    methods = [*every(), *parse_methods([",".join([*SHORT.values(), *OTHERS])])]
    references = references_of(scenes_model, methods, tmp_path_factory.mktemp("cache"))
    items = scenes.open_dataset(None, scenes_model.labels, 0).items[:COUNT]
    return *plant(scenes_model, items), references


def share_on_own_object(method, planted):
    """The share of maps with more mass on the object of their class than on the other."""
    view, classes, masks, references = planted
    own, other = shares(method, view, classes, masks, references).flatten(0, 1).T
    return float((own > other).float().mean())


@pytest.mark.parametrize("name", [*folder.names("methods"), *OTHERS])
def test_maps_fall_on_the_object_of_their_class(name, planted, scenes_model):
    method = parse_method({**SHORT, "rise": "rise:masks=300"}.get(name, name))
    reason = method.unfit(scenes_model, with_references=True)
    if reason:
        pytest.skip(reason)
    share = share_on_own_object(method, planted)
    if method.control or getattr(method.module, "BLIND", False):
        assert share < 0.7
    else:
        assert share > LEAST.get(name, 0.9)
