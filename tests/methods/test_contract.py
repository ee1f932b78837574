"""The contract, held to every file in `salcheck/methods/` because it is there."""

import ast
import json

import pytest
import torch

from salcheck import folder
from salcheck.errors import SalcheckError
from salcheck.methods import controls, parse_method, parse_methods
from salcheck.models import resolve_layer
from salcheck.view import FEATURES
from tests.nets import make_images, make_net, make_view

METHODS = folder.names("methods")
CLASSES = torch.tensor([[0, 3, 6], [1, 6, 2], [5, 2, 4]])
NETS = {"test_resnet": 96, "test_convnext": 160, "test_vit": 160}


@pytest.fixture(scope="module", params=NETS)
def cut(request):
    net = make_net(request.param)
    return net, make_images(side=NETS[request.param]), resolve_layer(net, FEATURES)


@pytest.mark.parametrize("name", METHODS)
def test_maps_are_finite_float32_grids(cut, name):
    view = make_view(*cut)
    maps = parse_method(name).saliency(view, CLASSES)
    assert maps.dtype == torch.float32
    assert maps.shape == (*CLASSES.shape, *view.acts.shape[-2:])
    assert maps.isfinite().all()
    assert maps.abs().max() > 0


@pytest.mark.parametrize("name", METHODS)
def test_a_map_depends_on_its_image_and_class_alone(cut, name):
    net, images, layer = cut
    method = parse_method(name)
    together = method.saliency(make_view(net, images, layer), CLASSES)
    alone = method.saliency(make_view(net, images[1:2], layer, seeds=[1]), CLASSES[1:2, 2:3])
    assert torch.allclose(together[1:2, 2:3], alone, atol=1e-5)


@pytest.mark.parametrize("name", [*METHODS, "case:contrast=random"])
def test_a_map_that_depends_on_the_seed_says_so(cut, name):
    """Otherwise the cache would give one seed's maps to another."""
    method = parse_method(name)
    maps = [method.saliency(make_view(*cut, seeds=seeds), CLASSES) for seeds in ([1, 2, 3], [7, 8, 9])]
    assert torch.equal(*maps) == ("seed" not in method.needs)


@pytest.mark.parametrize("name", METHODS)
def test_only_controls_may_be_blind_to_the_class(cut, name):
    maps = parse_method(name).saliency(make_view(*cut), CLASSES)
    blind = torch.allclose(maps[:, 0], maps[:, 1]) and torch.allclose(maps[:, 0], maps[:, 2])
    assert not blind or parse_method(name).control


@pytest.mark.parametrize("name", METHODS)
def test_every_method_says_what_it_is(name):
    source = folder.PACKAGE / "methods" / f"{name.replace('-', '_')}.py"
    first = (ast.get_docstring(ast.parse(source.read_text())) or "").splitlines()[0]
    assert 20 < len(first) < 110
    assert first.endswith(".")


def test_the_three_controls_are_controls():
    assert {method.name for method in controls()} >= {"random", "center", "edges"}


@pytest.mark.parametrize(
    ("typed", "spec"),
    [
        ("case", "case"),
        ("CASE:k=1", "case"),
        ("Case:k=3,contrast=logits", "case:contrast=logits,k=3"),
        ("Grad-CAM", "gradcam"),
        ("hi_res_cam", "hirescam"),
    ],
)
def test_one_method_has_one_spelling(typed, spec):
    method = parse_method(typed)
    assert (method.spec, method.typed) == (spec, typed)
    assert method.key == parse_method(spec).key
    assert json.loads(method.key)[0] == method.name


def test_a_comma_before_a_key_continues_the_parameters():
    specs = [m.spec for m in parse_methods(["gradcam,case:contrast=logits,k=3,random", "center:sigma=0.1", "gradcam"])]
    assert specs == ["gradcam", "case:contrast=logits,k=3", "random", "center:sigma=0.1"]
    assert [m.name for m in parse_methods(["all"])] == METHODS


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ("gradcm", "did you mean gradcam"),
        ("case:contrst=logits", "did you mean contrast"),
        ("case:k=three", "takes int"),
        ("case:contrast=nearest", "one of confusion, logits, random, explicit"),
        ("case:k", "key=value"),
        ("gradcam:k=1", "has none"),
        ("", "known: "),
    ],
)
def test_a_wrong_method_is_one_line(typed, says):
    with pytest.raises(SalcheckError, match=says):
        parse_method(typed)


def test_no_method_at_all_is_one_line():
    with pytest.raises(SalcheckError, match="no method named"):
        parse_methods([" , "])
