"""Swaps of cells against a loop that runs the head on one changed map after another."""

import dataclasses
from types import SimpleNamespace

import pytest
import torch

from salcheck.errors import SalcheckError
from salcheck.methods import difference, goyal, parse_method
from salcheck.network.labels import Labels
from salcheck.references.exemplars import Exemplars
from tests.held_out import held_out
from tests.linear import LinearNet, linear_view
from tests.nets import SIDES, layer_of, make_images, make_net, make_view

CLASSES = torch.tensor([[0, 3], [1, 6]])


def drawn(acts, N=7, n=1, seed=3):
    """Exemplars like activations (B, C, h, w) of images, but of others."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(N * n, len(acts), generator=generator)
    return {"exemplars": Exemplars(torch.einsum("kb,bchw->kchw", mix, acts), torch.ones(N, n, dtype=torch.bool))}


def by_hand(view, reference, classes, output):
    """Every cell by every cell of every distractor, one forward of the head for each."""
    h, w = view.acts.shape[2:]
    exemplars = reference["exemplars"]
    n = exemplars.there.shape[1]
    maps = torch.full((*classes.shape, h, w), -torch.inf, dtype=torch.float64)

    def score(acts, b, u, v):
        logits = view.head(acts[None], torch.tensor([b]))[0].double()
        return logits[v] - logits[u] if output == "margin" else logits.log_softmax(-1)[v]

    for b, pair in enumerate(classes.tolist()):
        for m, (u, v) in enumerate((pair, pair[::-1])):
            before = score(view.acts[b], b, u, v)
            for y, x in torch.cartesian_prod(torch.arange(h), torch.arange(w)).tolist():
                for row in range(v * n, v * n + n):
                    for cell in exemplars.acts[row].flatten(1).T:
                        changed = view.acts[b].clone()
                        changed[:, y, x] = cell
                        maps[b, m, y, x] = max(maps[b, m, y, x], score(changed, b, u, v) - before)
    return maps


def view_of(family):
    net = make_net(family)
    images = make_images(2, SIDES.get(family, 96))
    return make_view(net, images, layer_of(net, images))


@pytest.mark.oracle
@pytest.mark.parametrize("output", ["softmax", "margin"])
@pytest.mark.parametrize(("family", "affine"), [("test_resnet", True), ("densenet121", True), ("test_vit2", False)])
def test_equals_a_loop_over_all_swaps(family, affine, output):
    view = view_of(family)
    assert view.affine == affine
    reference = drawn(view.acts)
    before = view.acts.clone()
    maps = goyal.saliency(view, CLASSES, tries=0, output=output, reference=reference)
    expected = by_hand(view, reference, CLASSES, output)
    assert expected.abs().max() > 1e-3
    assert torch.allclose(maps.double(), expected, atol=1e-4 * float(expected.abs().max()))
    assert torch.equal(view.acts, before)


def test_the_closed_form_and_forwards_of_the_head_agree(monkeypatch):
    view = view_of("test_resnet")
    reference = drawn(view.acts, n=2)
    closed = goyal.saliency(view, CLASSES, n=2, tries=0, reference=reference)
    monkeypatch.setattr(goyal, "_all", lambda *_: None)
    assert torch.allclose(goyal.saliency(view, CLASSES, n=2, tries=0, reference=reference), closed, atol=1e-5)


def test_at_a_pooled_linear_head_the_margin_s_map_is_the_plain_difference_and_a_constant():
    view = view_of("test_resnet")
    maps = goyal.saliency(view, CLASSES, output="margin", reference=drawn(view.acts))
    apart = maps - difference.saliency(view, CLASSES)
    assert torch.allclose(apart, apart[..., :1, :1].expand_as(apart), atol=1e-5)
    assert maps.std((-2, -1)).min() > 1e-3


def test_an_affine_head_that_does_not_pool_is_run_for_each_swap():
    """It weighs every pixel by itself: what a cell gives depends on where it is put."""
    weights = torch.randn(7, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    view = linear_view(LinearNet(weights), make_images(2, 4))
    assert view.affine
    reference = drawn(view.acts)
    maps = goyal.saliency(view, CLASSES, tries=0, output="margin", reference=reference)
    expected = by_hand(view, reference, CLASSES, "margin")
    assert torch.allclose(maps.double(), expected, atol=1e-4)
    first_order = goyal.saliency(view, CLASSES, tries=1, output="margin", reference=reference)
    assert torch.allclose(first_order.double(), expected, atol=1e-4)  # exact at an affine head


@pytest.mark.parametrize("output", ["softmax", "margin"])
def test_few_tries_find_nearly_all_that_the_full_search_finds(output):
    view = view_of("test_vit2")
    reference = drawn(view.acts)
    full = goyal.saliency(view, CLASSES, tries=0, output=output, reference=reference)
    some = goyal.saliency(view, CLASSES, tries=4, output=output, reference=reference)
    assert (some <= full + 1e-5).all()
    assert ((full - some) < 1e-5).float().mean() > 0.8
    every = goyal.saliency(view, CLASSES, tries=10**6, output=output, reference=reference)
    assert torch.allclose(every, full, atol=1e-6)


@pytest.mark.parametrize("family", ["test_resnet", "test_vit2"])
def test_the_cells_of_all_distractors_compete(family):
    view = view_of(family)
    reference = drawn(view.acts, n=2)
    both = goyal.saliency(view, CLASSES, n=2, tries=0, reference=reference)
    halves = []
    for place in range(2):
        acts = reference["exemplars"].acts[place::2]
        one = {"exemplars": Exemplars(acts, torch.ones(7, 1, dtype=torch.bool))}
        halves.append(goyal.saliency(view, CLASSES, tries=0, reference=one))
    assert torch.allclose(both, torch.maximum(*halves), atol=1e-5)
    assert not torch.allclose(*halves, atol=1e-3)


@pytest.mark.parametrize("family", ["test_resnet", "test_vit2"])
def test_a_distractor_that_is_not_there_does_not_count_and_none_at_all_gives_no_map(family):
    view = view_of(family)
    reference = drawn(view.acts, n=2)
    exemplars = reference["exemplars"]
    exemplars.there[0], exemplars.there[3, 0] = False, False
    second = {"exemplars": Exemplars(exemplars.acts[1::2], torch.ones(7, 1, dtype=torch.bool))}
    for tries in (3, 0):
        maps = goyal.saliency(view, CLASSES, n=2, tries=tries, output="margin", reference=reference)
        alone = goyal.saliency(view, CLASSES, tries=tries, output="margin", reference=second)
        assert maps[0, 1].isnan().all()
        assert maps[1].isfinite().all()
        assert torch.allclose(maps[0, 0], alone[0, 0], atol=1e-5)


def test_a_cell_of_the_rival_is_found_where_it_was_planted():
    """Channel c speaks for class c: the image is of class 0, but in one cell it already looks like class 1."""
    net = make_net("test_resnet", 3)
    weight = torch.zeros_like(net.fc.weight)
    weight[torch.arange(3), torch.arange(3)] = 40.0
    net.fc.weight.copy_(weight)
    view = make_view(net, make_images(1, 96))
    acts = torch.zeros_like(view.acts)
    acts[0, 0] = 1.0
    acts[0, 0, 1, 2] = 9.0
    object.__setattr__(view._pass.leaf, "data", acts)
    view.__dict__["_pass"] = dataclasses.replace(view._pass, raw=acts, scores=net.forward_head(acts))
    others = torch.zeros(3, *acts.shape[1:])
    others[1, 1] = 1.0
    reference = {"exemplars": Exemplars(others, torch.ones(3, 1, dtype=torch.bool))}
    maps = goyal.saliency(view, torch.tensor([[0, 1]]), output="margin", reference=reference)[0, 0]
    per_cell = 40.0 / maps.numel()
    expected = torch.full_like(maps, 2 * per_cell)
    expected[1, 2] = 10 * per_cell
    assert torch.allclose(maps, expected, rtol=1e-4)


def test_the_collector_and_the_method_fit_together(tmp_path):
    net = make_net("test_resnet")
    method = parse_method("goyal:n=2")
    references = held_out(net, method, tmp_path, 96)
    maps = method.saliency(make_view(net, make_images(2, 96)), CLASSES, references)
    assert maps.isfinite().all()


@pytest.mark.parametrize("wrong", [{"n": 0}, {"tries": -1}])
def test_numbers_that_make_no_sense_are_one_line(wrong):
    view = view_of("test_resnet")
    with pytest.raises(SalcheckError, match="at least"):
        goyal.saliency(view, CLASSES, **wrong, reference=drawn(view.acts))


def test_a_model_of_one_class_has_nothing_to_compare():
    assert "has one" in goyal.unfit(SimpleNamespace(labels=Labels(["a"])))
