import dataclasses

import pytest
import torch

from salcheck.diagnostics import Seen, overlap
from salcheck.diagnostics.layers import score, stages, subjects
from salcheck.errors import SalcheckError
from salcheck.maps.notes import Kind
from salcheck.methods import gradcam, layercam
from salcheck.runs.asking import parse_question
from tests.nets import make_images, make_net, make_view

CLASSES = torch.tensor([[0, 1], [3, 2], [5, 0]])


def named(scenes_model, family, side=64):
    config = {**scenes_model.config, "input_size": (3, side, side)}
    return dataclasses.replace(scenes_model, net=make_net(family), arch="made", config=config)


@pytest.fixture(scope="module")
def model(scenes_model):
    return named(scenes_model, "test_resnet")


def seen(model, cuts, explain):
    return [Seen(name, make_view(one.net, make_images(side=64), name), explain, explain) for name, one in cuts.items()]


@pytest.mark.oracle
def test_every_level_is_overlap_at_its_layer(model):
    cuts = subjects(model, at=("layer2", "layer3", "features"))
    view = make_view(model.net, make_images(side=64))
    for method in (gradcam, layercam):
        maps = method.saliency(view, CLASSES)
        found = score(view, CLASSES, maps, percent=20, subjects=seen(model, cuts, method.saliency))
        assert found.levels == [1, 2, 3]
        for k, layer in enumerate(("layer2", "layer3", "features")):
            here = make_view(model.net, make_images(side=64), layer)
            alone = overlap.score(here, CLASSES, method.saliency(here, CLASSES), percent=20)
            for name in ("overlap", "tied"):
                torch.testing.assert_close(found.values[name][:, k], alone.values[name][:, 0], equal_nan=True)
        assert not found.values["overlap"][:, 0].equal(found.values["overlap"][:, 1])


def test_a_map_that_is_blank_at_one_layer_has_its_scores_at_the_others(model):
    cuts = subjects(model, at=("layer2", "features"))

    def explain(view, classes):
        maps = layercam.saliency(view, classes)
        maps[1 if maps.shape[-1] == 2 else 2, 0] = 0
        return maps

    view = make_view(model.net, make_images(side=64))
    found = score(view, CLASSES, explain(view, CLASSES), subjects=seen(model, cuts, explain))
    assert found.values["overlap"].isnan().tolist() == [[False, False], [False, True], [True, False]]
    assert found.notes == [None] * 3
    assert found.gap.kind is Kind.BLANK


def test_stages_are_timms_and_the_last_is_the_features_layer(model):
    assert [one.layer for one in stages(model)] == ["act1", "layer1", "layer2", "layer3", "features"]
    assert list(subjects(model)) == ["act1", "layer1", "layer2", "layer3", "features"]


@pytest.mark.parametrize(
    ("family", "side", "expected"),
    [
        ("test_convnext", 64, ["stages.0", "stages.1", "stages.2", "features"]),
        # No score depends on the patches behind the last block: the head reads the class token alone.
        ("test_vit", 160, [*(f"blocks.{k}" for k in range(5)), "blocks.5.norm1"]),
        ("vgg", 56, ["features.2", "features.6", "features.10", "features"]),
    ],
)
def test_stages_that_cannot_be_cut_or_that_no_score_hears_are_left_out(scenes_model, family, side, expected):
    assert [one.layer for one in stages(named(scenes_model, family, side))] == expected


def test_a_layer_that_is_not_there_is_one_line_with_near_names(model):
    with pytest.raises(SalcheckError, match=r"unknown layer 'layre3'.*layer3"):
        subjects(model, at=("layer2", "layre3"))


def test_a_model_of_which_no_stage_can_be_cut_says_what_to_do(model, monkeypatch):
    monkeypatch.setattr(type(model), "at", lambda self, layer: (_ for _ in ()).throw(SalcheckError("no")))
    with pytest.raises(SalcheckError, match="at="):
        stages(model)


def test_layers_are_typed_with_a_plus():
    question = parse_question("layers:at=layer3+features,percent=20")
    assert question.parameters == {"at": ("layer3", "features"), "percent": 20.0}
    with pytest.raises(SalcheckError, match="percent"):
        parse_question("layers:percent=0")
