"""Scenes tell what photographs cannot: the map for class u belongs on object u and not on object v."""

import pytest

from salcheck.datasets import scenes
from salcheck.methods import every, parse_method, parse_methods
from salcheck.naming import registry
from tests.methods.test_contract import SHORT
from tests.planted import held_out_scenes, plant, references_of, shares

COUNT = 32
OTHERS = ["case:contrast=logits", "case:contrast=random", "case:subtract=difference", "diffcam:group=others"]
SHORTER = {**SHORT, "rise": "rise:masks=200", "libracam": "libracam:n=4,p_top=0.5,p_target=0.01"}
FEW = {"rise": 8, "occlusion": 8, "scorecam": 8}  # scenes, of methods that take seconds for each
# Plain gradients do not claim to tell the classes of a picture apart, and do not; 200 masks leave much noise.
LEAST = {"gradient": 0, "gradxinput": 0, "smoothgrad": 0, "integratedgradients": 0.55, "rise": 0.65}


@pytest.fixture(scope="module")
def references(scenes_model, tmp_path_factory):
    methods = [*every(), *parse_methods([",".join([*SHORTER.values(), *OTHERS])])]
    return references_of(scenes_model, methods, tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def planted(scenes_model):
    items = scenes.open_dataset(None, scenes_model.labels, 0).items
    return {count: plant(scenes_model, items[:count]) for count in {COUNT, *FEW.values()}}


@pytest.mark.parametrize("name", [*registry.names("methods"), *OTHERS])
def test_maps_fall_on_the_object_of_their_class(name, planted, references, scenes_model):
    """The share of maps with more mass on the object of their class than on the other."""
    method = parse_method(SHORTER.get(name, name))
    reason = method.unfit(scenes_model, held_out_scenes(scenes_model))
    if reason:
        pytest.skip(reason)
    view, classes, masks = planted[FEW.get(name, COUNT)]
    own, other = shares(method, view, classes, masks, references).flatten(0, 1).T
    share = float((own > other).float().mean())
    if method.control or getattr(method.module, "BLIND", False):
        assert share < 0.7
    else:
        assert share > LEAST.get(name, 0.9)
