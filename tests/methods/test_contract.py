"""The contract, held to every file in `salcheck/methods/` because it is there."""

import ast
import json
import re
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from salcheck.datasets import Dataset, Item
from salcheck.errors import SalcheckError
from salcheck.methods import controls, parse_method, parse_methods
from salcheck.methods._cost import Cost, M
from salcheck.naming import registry
from salcheck.network.labels import Labels
from salcheck.network.outputs import SOFTMAX
from tests.held_out import held_out
from tests.methods.counting import check_cost, metered
from tests.nets import FAMILIES, SIDES, layer_of, make_images, make_net, make_view

METHODS = registry.names("methods")
CLASSES = torch.tensor([[0, 3, 6], [1, 6, 2], [5, 2, 4]])
HELD = Dataset("held out", "", [Item("0", (0,))], lambda item: Image.new("RGB", (8, 8)))
# Fewer samples than the defaults, so that the tests end in minutes.
SHORT = {
    "goyal": "goyal:tries=1",
    "integratedgradients": "integratedgradients:steps=3",
    "libracam": "libracam:n=4",
    "occlusion": "occlusion:cells=3",
    "rise": "rise:masks=12",
    "smoothgrad": "smoothgrad:samples=3",
    "smoothgradcampp": "smoothgradcampp:samples=3",
}


QUICK = {
    *("cam", "case", "diffcam", "difference", "eigencam", "eigengradcam", "finercam", "gradcam", "gradcampp"),
    *("hirescam", "lafam", "layercam", "liftcam", "relevancecam", "scout", "xgradcam"),
    *("center", "edges", "random"),
}


class Cut:
    """A tiny network of one family, images, and what methods need beside them."""

    def __init__(self, family, scratch):
        self.net = make_net(family)
        self.side = SIDES.get(family, 96 if family in ("test_resnet", "densenet121") else 56)
        self.images = make_images(side=self.side)
        self.layer = layer_of(self.net, self.images)
        self._scratch = scratch
        self._references = {}

    def method(self, name):
        """The method as tests call it; skipped where it says that it cannot explain this model."""
        method = parse_method(SHORT.get(name, name))
        labels = Labels([f"class {i}" for i in range(7)])
        reason = method.unfit(SimpleNamespace(net=self.net, layer=self.layer, labels=labels, outputs=SOFTMAX), HELD)
        if reason:
            pytest.skip(reason)
        return method

    def references(self, method):
        if method.key not in self._references:
            folder = self._scratch / method.name
            self._references[method.key] = held_out(self.net, method, folder, self.side, self.layer)
        return self._references[method.key]

    def maps(self, method, rows=(0, 1, 2), classes=CLASSES, seeds=(0, 1, 2)):
        view = make_view(self.net, self.images[list(rows)], self.layer, seeds=list(seeds))
        return method.saliency(view, classes, self.references(method))


@pytest.fixture(scope="module", params=FAMILIES)
def cut(request, tmp_path_factory):
    return Cut(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def resnet_cut(tmp_path_factory):
    return Cut("test_resnet", tmp_path_factory.mktemp("resnet"))


@pytest.mark.parametrize("name", METHODS)
def test_maps_are_finite_float32_grids_or_pixels(cut, name):
    method = cut.method(name)
    maps = cut.maps(method)
    grid = make_view(cut.net, cut.images, cut.layer).acts.shape[-2:]
    assert maps.dtype == torch.float32
    assert maps.shape in ((*CLASSES.shape, *grid), (*CLASSES.shape, cut.side, cut.side))
    assert maps.isfinite().all()
    assert maps.abs().max() > 0


@pytest.mark.parametrize("name", METHODS)
def test_a_map_depends_on_its_image_and_class_alone(cut, name):
    """All images and classes at once, or one by one: the same maps."""
    method = cut.method(name)
    together = cut.maps(method)
    alone = cut.maps(method, rows=[1], classes=CLASSES[1:2, 2:3], seeds=[1])
    scale = together.abs().amax(dim=(-2, -1)).clamp(min=1e-12)[..., None, None]
    assert torch.allclose((together / scale)[1:2, 2:3], alone / scale[1:2, 2:3], atol=1e-3)


@pytest.mark.parametrize("name", [name for name in METHODS if hasattr(parse_method(name).module, "decide")])
def test_what_a_method_decides_comes_with_its_maps(cut, name):
    method = cut.method(name)
    view = make_view(cut.net, cut.images, cut.layer)
    maps, facts = method.decide(view, CLASSES, cut.references(method))
    assert torch.equal(maps, cut.maps(method))
    assert facts
    assert all(values.shape == CLASSES.shape for values in facts.values())


@pytest.mark.parametrize("name", METHODS)
def test_nothing_is_left_behind(cut, name):
    method = cut.method(name)
    cut.maps(method)
    for module in cut.net.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
        assert not module._backward_hooks
    assert not cut.images.requires_grad
    assert all(p.grad is None and not p.requires_grad for p in cut.net.parameters())


@pytest.mark.parametrize("name", [*METHODS, "case:contrast=random"])
def test_a_map_that_depends_on_the_seed_says_so(cut, name):
    """Otherwise the cache would give one seed's maps to another."""
    method = cut.method(name)
    maps = [cut.maps(method, seeds=seeds) for seeds in ([1, 2, 3], [7, 8, 9])]
    affine = make_view(cut.net, cut.images, cut.layer).affine
    if method.seeded and not (affine and name == "smoothgradcampp"):  # an affine head's gradient sees no noise
        assert not torch.equal(*maps)
    assert method.seeded or torch.equal(*maps)


@pytest.mark.parametrize("name", METHODS)
def test_only_methods_that_say_so_are_blind_to_the_class(cut, name):
    method = cut.method(name)
    maps = cut.maps(method)
    blind = torch.allclose(maps[:, 0], maps[:, 1]) and torch.allclose(maps[:, 0], maps[:, 2])
    assert blind == getattr(method.module, "BLIND", False)


@pytest.mark.parametrize("name", METHODS)
def test_the_cost_is_what_it_says(cut, name):
    method = cut.method(name)
    references = cut.references(method)
    check_cost(cut, method.cost, method.parameters, lambda view: method.saliency(view, CLASSES[:1], references))


def twice_through_the_head(view):
    acts = view.acts.clone().requires_grad_()
    scores = view.head(acts).sum(0)
    (first,) = torch.autograd.grad(scores[0], acts, retain_graph=True)
    return first + torch.autograd.grad(scores[1], acts)[0]


def all_classes_in_one_call(view):
    acts = view.acts.clone().requires_grad_()
    scores = view.head(acts)[0]
    return torch.autograd.grad(scores, acts, torch.eye(len(scores)), is_grads_batched=True)[0]


def other_weights_of_the_shared_graph(view):
    return view.grads(CLASSES[:1]), view.vjp(torch.ones(1, 1, 7))


def backward_of_the_shared_graph(view):
    view._pass.scores.sum().backward(retain_graph=True)
    view._pass.scores.sum().backward(retain_graph=True)


def the_network_past_the_view(view):
    images = view.images.clone().requires_grad_()
    view.net(images).sum().backward()


def the_head_past_the_view(view):
    return view.net.forward_head(view.net.forward_features(view.images))


@pytest.mark.parametrize(
    ("lie", "stated"),
    [
        (twice_through_the_head, Cost(head_forwards=1, head_backwards=1)),
        (all_classes_in_one_call, Cost(head_forwards=1, head_backwards=M)),
        (other_weights_of_the_shared_graph, Cost(head_backwards=M)),
        (backward_of_the_shared_graph, Cost(head_backwards=1)),
        (the_network_past_the_view, Cost(forwards=1)),
        (the_network_past_the_view, Cost(backwards=1)),
        (the_head_past_the_view, Cost()),
    ],
)
def test_a_method_that_states_too_little_is_caught(resnet_cut, lie, stated):
    with pytest.raises(AssertionError, match="spent"):
        check_cost(resnet_cut, stated, {}, lie)


@pytest.mark.parametrize(("name", "spent"), [("gradcam", 3), ("case", 6), ("scout", 7)])
def test_backwards_of_the_head_are_counted_on_every_network(cut, name, spent):
    method = cut.method(name)
    view = make_view(cut.net, cut.images[:1], cut.layer)
    with metered(cut.net) as meter:
        method.saliency(view, CLASSES[:1], cut.references(method))
    assert meter.spent["head_backwards"] == spent


def test_the_honest_cost_of_the_same_methods_is_not(resnet_cut):
    check_cost(resnet_cut, Cost(head_forwards=1, head_backwards=2), {}, twice_through_the_head)
    check_cost(resnet_cut, Cost(head_forwards=1, head_backwards=7), {}, all_classes_in_one_call)
    check_cost(resnet_cut, Cost(head_backwards=M + 1), {}, other_weights_of_the_shared_graph)
    check_cost(resnet_cut, Cost(forwards=1, backwards=1), {}, the_network_past_the_view)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_says_what_it_is(name):
    source = registry.PACKAGE / "methods" / f"{name.replace('-', '_')}.py"
    first = (ast.get_docstring(ast.parse(source.read_text())) or "").splitlines()[0]
    assert 20 < len(first) < 110
    assert first.endswith(".")
    method = parse_method(name)
    assert method.control or re.search(r"\d{4}", method.module.SOURCE)
    known = {"M", "C", "h", "w", *method.parameters}
    assert {symbol.name for amount in method.cost.terms.values() for symbol in amount.free_symbols} <= known


def test_groups_of_methods_are_words():
    assert [m.name for m in parse_methods(["all"])] == METHODS
    assert {m.name for m in parse_methods(["quick"])} == QUICK


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
