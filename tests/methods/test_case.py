"""CASE against its formula written a second way in NumPy at double precision, and the laws of spec 9.7."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from salcheck.errors import SalcheckError
from salcheck.methods import case, finercam, gradcam, parse_method
from salcheck.network.labels import Labels
from salcheck.network.outputs import SOFTMAX
from salcheck.references.confusion import Confusion
from tests.methods.conftest import CLASSES, LAYER
from tests.nets import make_images, make_view


def confusion(pairs: dict[tuple[int, int], int], N: int = 7) -> dict[str, Confusion]:
    counts = torch.zeros(N, N, dtype=torch.int64)
    for (u, v), count in pairs.items():
        counts[u, v] = count
    softmax = torch.full((N, N), 1 / N)
    return {"confusion": Confusion(counts, softmax, torch.ones(N, dtype=torch.int64))}


def in_numpy(acts, grads, u, contrast):
    """Equations 2 to 6 for one image: grads (N, C, h, w) of every class, in double precision."""
    A, g = acts.numpy().astype(np.float64), grads.numpy().astype(np.float64).mean(axis=(-2, -1))
    g_bar = g[contrast].mean(axis=0)
    g_perp = g[u] - (g[u] @ g_bar) / (g_bar @ g_bar) * g_bar
    return np.maximum(np.tensordot(g_perp, A, axes=1), 0)


@pytest.mark.oracle
@pytest.mark.parametrize("k", [1, 3, 5])
def test_equals_the_formula(net, images, k):
    view = make_view(net, images, LAYER)
    every = view.grads(torch.arange(7).expand(3, 7))
    maps = case.saliency(view, CLASSES, contrast="logits", k=k, reference={})
    for b, row in enumerate(CLASSES.tolist()):
        for m, u in enumerate(row):
            contrast = [v for v in view.logits[b].argsort(descending=True).tolist() if v != u][:k]
            expected = in_numpy(view.acts[b], every[b], u, contrast)
            assert maps[b, m].numpy() == pytest.approx(expected, abs=1e-6)
    assert maps.max() > 0


def test_contrast_comes_from_the_confusion_row(net, images):
    view = make_view(net, images, LAYER)
    reference = confusion({(0, 4): 3, (0, 5): 2, (3, 1): 1})
    chosen, fallback = case.contrast_classes(view, CLASSES, "confusion", 2, "", reference)
    assert set(chosen[0, 0].tolist()) == {4, 5}
    assert chosen[0, 1].tolist() == [1, 0]  # the tie of zero counts goes to the lower index
    assert not fallback.any()
    explicit = case.saliency(view, CLASSES, contrast="explicit", k=1, against="4+5", reference={})
    confused = case.saliency(view, CLASSES, contrast="confusion", k=2, against="", reference=reference)
    assert torch.allclose(explicit[0, 0], confused[0, 0])


def test_without_a_reference_and_for_unseen_classes_the_image_s_logits_serve(net, images):
    view = make_view(net, images, LAYER)
    by_logits = case.saliency(view, CLASSES, contrast="logits", k=2, reference={})
    assert torch.equal(case.saliency(view, CLASSES, contrast="confusion", k=2, reference={}), by_logits)
    unseen = Confusion(torch.ones(7, 7), torch.ones(7, 7) / 7, torch.tensor([0, 1, 1, 1, 1, 1, 1]))
    chosen, fallback = case.contrast_classes(view, CLASSES, "confusion", 2, "", {"confusion": unseen})
    assert fallback.tolist() == [[True, False], [False, False], [False, False]]
    assert chosen[0, 0].tolist() == case.contrast_classes(view, CLASSES, "logits", 2, "", {})[0][0, 0].tolist()


@pytest.mark.parametrize("contrast", ["confusion", "least", "logits", "random", "explicit"])
@pytest.mark.parametrize("k", [1, 6])
def test_the_contrast_never_holds_the_class_itself(net, images, contrast, k):
    view = make_view(net, images, LAYER)
    never_confused = confusion({(u, u): 9 for u in range(7)})
    against = "" if contrast != "explicit" else "0+1+2+3+4+5+6" if k == 6 else "3+6"
    chosen, _ = case.contrast_classes(view, CLASSES, contrast, k, against, never_confused)
    assert not (chosen == CLASSES[..., None]).any()
    if contrast != "explicit":
        assert chosen.shape == (3, 2, k)
        assert all(len(set(row)) == k for row in chosen.flatten(0, 1).tolist())


def test_projections_are_orthogonal_however_small_the_gradients():
    torch.manual_seed(0)
    for scale in (1.0, 1e-4, 1e-12):
        g, direction = torch.randn(20, 64) * scale, torch.randn(20, 64) * scale
        cosine = torch.nn.functional.cosine_similarity(case.project_off(g, direction) / scale, direction / scale)
        assert cosine.abs().max() < 1e-6
    nearly = direction + 1e-3 * torch.randn(20, 64) * scale
    left = case.project_off(nearly, direction)
    assert torch.nn.functional.cosine_similarity(left / scale, direction / scale).abs().max() < 1e-4


def test_a_zero_contrast_leaves_grad_cam():
    g = torch.randn(3, 8)
    assert torch.equal(case.project_off(g, torch.zeros(3, 8)), g)


def test_mutual_contrasts_flip_the_sign_of_the_cosine():
    """Spec 9.1, exact: cos(P g_u, P g_v) = -cos(g_u, g_v), and norms shrink by the sine."""
    torch.manual_seed(1)
    u, v = torch.randn(50, 32, dtype=torch.float64), torch.randn(50, 32, dtype=torch.float64)
    v = v + 2 * u
    cosine = torch.nn.functional.cosine_similarity(u, v)
    left_u, left_v = case.project_off(u, v), case.project_off(v, u)
    assert torch.allclose(torch.nn.functional.cosine_similarity(left_u, left_v), -cosine)
    assert torch.allclose(left_u.norm(dim=-1), u.norm(dim=-1) * (1 - cosine**2).sqrt())


def test_the_gradient_of_the_mean_logit_is_the_mean_of_the_gradients(net, images):
    view = make_view(net, images, LAYER)
    chosen, _ = case.contrast_classes(view, CLASSES, "logits", 3, "", {})
    _, g_bar = case.gradients(view, CLASSES, chosen)
    one_by_one = view.grads(chosen.flatten(1)).mean(dim=(-2, -1)).unflatten(1, (2, 3)).mean(dim=2)
    assert torch.allclose(g_bar[..., 0, 0], one_by_one, atol=1e-7)


def test_case_of_a_class_against_itself_is_grad_cam_and_differs_otherwise(net, images):
    view = make_view(net, images, LAYER)
    maps = case.saliency(view, CLASSES, contrast="explicit", against="3", reference={})
    plain = gradcam.saliency(view, CLASSES)
    assert torch.allclose(maps[0, 1], plain[0, 1])  # class 3 itself: no contrast is left
    assert not torch.allclose(maps[1:], plain[1:], atol=1e-3)


def test_random_contrast_is_seeded_by_image_and_class(net, images):
    chosen = [
        case.contrast_classes(make_view(net, images, LAYER, seeds=seeds), CLASSES, "random", 2, "", {})[0]
        for seeds in ([1, 2, 3], [1, 2, 3], [7, 8, 9])
    ]
    assert torch.equal(chosen[0], chosen[1])
    assert not torch.equal(chosen[0], chosen[2])


def test_facts_count_what_was_decided(net, images):
    view = make_view(net, images, LAYER)
    reference = confusion({(0, 3): 1, (3, 5): 1, (1, 6): 1, (6, 1): 1, (5, 0): 1, (2, 4): 1})
    facts = parse_method("case").decide(view, CLASSES, reference)[1]
    assert facts["rival_in_contrast"].tolist() == [[True, False], [True, True], [False, False]]
    assert not facts["class_not_in_reference"].any()
    assert "class_not_in_reference" not in parse_method("case:contrast=logits").decide(view, CLASSES)[1]
    chosen, _ = case.contrast_classes(view, CLASSES, "confusion", 1, "", reference)
    g = view.grads(torch.arange(7).expand(3, 7)).double().mean(dim=(-2, -1))
    rows = torch.arange(3)[:, None]
    dots = (g[rows, CLASSES] * g[rows, chosen[..., 0]]).sum(-1)
    assert torch.equal(facts["negative_dot"], dots < 0)
    assert facts["negative_dot"].any() and not facts["negative_dot"].all()


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"contrast": "logits", "k": 7}, "1 to 6"),
        ({"contrast": "logits", "k": 0}, "1 to 6"),
        ({"contrast": "explicit", "against": ""}, "names no class"),
        ({"contrast": "explicit", "against": "9"}, "out of range"),
        ({"contrast": "logits", "against": "3"}, "contrast=explicit only"),
    ],
)
def test_what_does_not_fit_the_model_is_one_line(net, images, parameters, says):
    with pytest.raises(SalcheckError, match=says):
        case.saliency(make_view(net, images), CLASSES, **parameters, reference={})


def test_the_contrast_decides_what_is_read_beside_the_image():
    assert [need.key for need in parse_method("case").needs] == ["confusion"]
    assert [need.key for need in parse_method("case:contrast=least").needs] == ["confusion"]
    assert parse_method("case:contrast=logits").needs == ()
    assert parse_method("case:contrast=random").seeded
    assert not parse_method("case").seeded


def whole_in_numpy(acts, grads, u, contrast):
    """Equations 2 to 6 with positions kept: one projection of the whole gradient, then the sum over channels."""
    A, g = acts.numpy().astype(np.float64), grads.numpy().astype(np.float64)
    g_bar = g[contrast].mean(axis=0)
    g_perp = g[u] - (g[u] * g_bar).sum() / (g_bar**2).sum() * g_bar
    return np.maximum((g_perp * A).sum(axis=0), 0), g_perp


@pytest.mark.oracle
@pytest.mark.parametrize("k", [1, 3])
def test_unpooled_equals_the_formula_with_positions(net, images, k):
    view = make_view(net, images, LAYER)
    every = view.grads(torch.arange(7).expand(3, 7))
    maps = case.saliency(view, CLASSES, contrast="logits", k=k, pooled=False, reference={})
    for b, row in enumerate(CLASSES.tolist()):
        for m, u in enumerate(row):
            contrast = [v for v in view.logits[b].argsort(descending=True).tolist() if v != u][:k]
            expected, _ = whole_in_numpy(view.acts[b], every[b], u, contrast)
            assert maps[b, m].numpy() == pytest.approx(expected, abs=1e-6)
    pooled = case.saliency(view, CLASSES, contrast="logits", k=k, reference={})
    assert not torch.allclose(maps, pooled, atol=0.1 * float(pooled.max()))


def test_unpooled_is_pooled_where_gradients_are_the_same_everywhere(scenes_model):
    view = make_view(scenes_model.net, make_images(side=scenes_model.size[0]))
    maps = [case.saliency(view, CLASSES, contrast="logits", k=2, pooled=pooled, reference={}) for pooled in (0, 1)]
    assert maps[0].max() > 0
    assert torch.allclose(*maps, atol=1e-5 * float(maps[0].max()))


@pytest.mark.parametrize("pooled", [True, False])
@pytest.mark.parametrize("subtract", ["projection", "difference"])
def test_only_if_positive_leaves_the_others_alone(net, images, pooled, subtract):
    view = make_view(net, images, LAYER)
    changed = {"contrast": "logits", "pooled": pooled, "subtract": subtract}
    options = {"k": 1, "against": "", **changed, "reference": {}}
    negative = case.decide(view, CLASSES, **options, only_if_positive=True)[1]["negative_dot"]
    assert negative.any() and not negative.all()
    always = case.saliency(view, CLASSES, **options)
    maps = case.saliency(view, CLASSES, **options, only_if_positive=True)
    assert torch.equal(maps[~negative], always[~negative])
    weights = view.grads(CLASSES)
    weights = weights.mean(dim=(-2, -1), keepdim=True).expand_as(weights) if pooled else weights
    alone = torch.einsum("bmchw,bchw->bmhw", weights, view.acts).clamp(min=0)
    assert torch.allclose(maps[negative], alone[negative], atol=1e-6)
    assert not torch.allclose(always[negative], alone[negative], atol=1e-2 * float(alone.max()))


def test_negative_dots_are_those_of_the_gradients_that_are_projected(net, images):
    view = make_view(net, images, LAYER)
    every = view.grads(torch.arange(7).expand(3, 7)).double()
    pairs = torch.arange(7).expand(3, 7)
    facts = [
        case.decide(view, pairs, contrast="explicit", k=1, against="3", pooled=pooled, reference={})[1]["negative_dot"]
        for pooled in (True, False)
    ]
    means = every.mean(dim=(-2, -1))
    others = pairs != 3
    assert torch.equal(facts[0][others], ((means * means[:, 3:4]).sum(-1) < 0)[others])
    assert torch.equal(facts[1][others], ((every * every[:, 3:4]).flatten(2).sum(-1) < 0)[others])


@pytest.mark.oracle
def test_difference_equals_the_formula(net, images):
    view = make_view(net, images, LAYER)
    every = view.grads(torch.arange(7).expand(3, 7)).double().numpy().mean(axis=(-2, -1))
    maps = case.saliency(view, CLASSES, contrast="explicit", against="4+6", subtract="difference", reference={})
    for b, row in enumerate(CLASSES.tolist()):
        for m, u in enumerate(row):
            weights = every[b, u] - every[b, [v for v in (4, 6) if v != u]].mean(axis=0)
            expected = np.maximum(np.tensordot(weights, view.acts[b].double().numpy(), axes=1), 0)
            assert maps[b, m].numpy() == pytest.approx(expected, abs=1e-6)


def test_the_difference_from_the_highest_logits_is_finer_cam_of_the_first_class(net, images):
    view = make_view(net, images, LAYER)
    first = view.logits.argmax(dim=1, keepdim=True)
    maps = case.saliency(view, first, contrast="logits", k=3, subtract="difference", reference={})
    assert maps.max() > 0
    assert torch.allclose(maps, finercam.saliency(view, first, gamma=1, k=3), atol=1e-6)


def test_least_takes_the_other_end_of_the_confusion_row(net, images):
    view = make_view(net, images, LAYER)
    counts = {(u, v): 1 + (v - u) % 7 for u in range(7) for v in range(7)}  # u + 6 most often, u + 1 least
    reference = confusion(counts)
    chosen, fallback = case.contrast_classes(view, CLASSES, "least", 2, "", reference)
    assert torch.equal(chosen, torch.stack([CLASSES + 1, CLASSES + 2], dim=-1) % 7)
    assert not fallback.any()
    facts = parse_method("case:contrast=least").decide(view, CLASSES, reference)[1]
    assert not facts["class_not_in_reference"].any()


def test_least_falls_back_to_the_lowest_logits(net, images):
    view = make_view(net, images, LAYER)
    chosen, fallback = case.contrast_classes(view, CLASSES, "least", 2, "", {})
    assert fallback.all()
    for b, row in enumerate(CLASSES.tolist()):
        for m, u in enumerate(row):
            assert chosen[b, m].tolist() == [v for v in view.logits[b].argsort().tolist() if v != u][:2]
    assert parse_method("case:contrast=least").decide(view, CLASSES)[1]["class_not_in_reference"].all()


def test_a_model_of_one_class_has_nothing_to_contrast(net):
    assert "has one" in case.unfit(SimpleNamespace(net=net, labels=Labels(["a"]), outputs=SOFTMAX))
    assert case.unfit(SimpleNamespace(net=net, labels=Labels(["a", "b"]), outputs=SOFTMAX)) is None


def test_a_class_that_is_its_own_only_contrast_is_counted(net, images):
    facts = parse_method("case:contrast=explicit,against=3").decide(make_view(net, images, LAYER), CLASSES)[1]
    assert facts["no_contrast"].tolist() == [[False, True], [False, False], [False, False]]
