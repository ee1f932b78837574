"""DiffCAM against the images of the other class of a pair: its own `group=class:NAME`, pair by pair."""

import pytest
import torch

from salcheck.errors import SalcheckError
from salcheck.references import Features
from tests.methods.conftest import CLASSES, LAYER
from tests.methods.test_diffcam import MANY, C, facts_of, maps_of, reference
from tests.nets import make_images, make_net, make_view


@pytest.fixture(scope="module")
def view():
    return make_view(make_net("test_resnet"), make_images(side=96), LAYER)


@pytest.mark.parametrize("rest", ["", ",matrix=identity", ",centred=true,relu=true"])
def test_each_class_is_set_against_the_images_of_its_rival(view, rest):
    given = reference(MANY, near=view.acts.mean((-2, -1)))
    maps = maps_of(view, f"diffcam:group=pair{rest}", given)
    for b, pair in enumerate(CLASSES.tolist()):
        for m, v in enumerate(pair[::-1]):
            named = maps_of(view.part([b]), f"diffcam:group=class:{v}{rest}", given, CLASSES[b : b + 1])
            assert torch.allclose(maps[b, m], named[0, m], atol=1e-5 * float(named.abs().max()))
    assert not torch.allclose(maps[:, 0], maps[:, 1], rtol=0.01)


def test_a_class_alone_is_set_against_the_likeliest_other(view):
    given = reference(MANY, near=view.acts.mean((-2, -1)))
    top = view.logits.argsort(-1, descending=True)
    alone = maps_of(view, "diffcam:group=pair", given, top[:, :1])
    assert torch.allclose(alone, maps_of(view, "diffcam:group=pair", given, top[:, :2])[:, :1])
    assert torch.allclose(
        maps_of(view, "diffcam:group=pair", given, top[:, [0, 2, 3]])[:, :1],
        alone,
        atol=1e-6 * float(alone.abs().max()),
    )


def test_the_squared_distance_is_that_from_the_rival(view):
    """The mean of the centred map (T4)."""
    given = reference(MANY, near=view.acts.mean((-2, -1)))
    maps = maps_of(view, "diffcam:group=pair,centred=true", given)
    facts = facts_of(view, "diffcam:group=pair", given)
    assert facts["squared_distance"].tolist() == pytest.approx(maps.mean((-2, -1)).double().numpy(), rel=1e-3)
    assert (facts["references"] == MANY // 7).all()


def test_a_rival_that_no_image_shows_gives_no_map(view):
    labels = torch.arange(MANY)[:, None] % 7
    given = {"features": Features(reference(MANY)["features"].values, torch.where(labels == 3, 4, labels))}
    maps = maps_of(view, "diffcam:group=pair", given)
    assert maps[0, 0].isnan().all()
    assert maps[0, 1].isfinite().all()


def test_it_needs_classes_in_the_model_and_in_the_images(view):
    with pytest.raises(SalcheckError, match="known classes"):
        maps_of(view, "diffcam:group=pair", reference(MANY, labels=torch.full((MANY, 0), -1)))
    headless = make_view(make_net("test_resnet", 0), make_images(side=96), LAYER)
    assert headless.acts.shape[1] == C
    with pytest.raises(SalcheckError, match="compares two classes"):
        maps_of(headless, "diffcam:group=pair", reference(MANY), torch.full((3, 1), -1))
