"""Libra-CAM against its formula written a second way in NumPy at double precision, its laws and its cases."""

import dataclasses

import numpy as np
import pytest
import torch

from salcheck.errors import SalcheckError
from salcheck.methods import hirescam, libracam, parse_method
from salcheck.network.view import View
from salcheck.references import Library
from tests.methods.conftest import CLASSES
from tests.nets import SIDES, make_images, make_net, make_view

INNER = "layer3.0.conv2"
POOL, N = 12, 4


def surer(name):
    """A tiny network whose softmax is not the same for all classes."""
    net = make_net(name)
    net.get_classifier().weight.mul_(20)
    return net


@pytest.fixture(scope="module")
def net():
    return surer("test_resnet")


def library_of(net, layer, side=96, gaps=True):
    """Four of twelve images for each class; with gaps, two for class 3 and none for class 6."""
    pool = make_view(net, make_images(POOL, side, seed=9), layer)
    index = torch.stack([torch.arange(N) + u for u in range(7)])
    if gaps:
        index[3, 2:] = index[6] = -1
    return Library(index, pool.acts.mean(0), None, pool.acts)


def bilinear(one, size):
    """Half-pixel centres, as a product with one matrix for each side."""

    def weights(n, N):
        at = np.clip((np.arange(N) + 0.5) * n / N - 0.5, 0, n - 1)
        return np.maximum(0, 1 - np.abs(at[:, None] - np.arange(n)[None]))

    return weights(one.shape[0], size[0]) @ one @ weights(one.shape[1], size[1]).T


def scaled(one):
    return (one - one.min()) / (one.max() - one.min())


class InNumpy:
    """The whole method for one image and class, one masked image at a time."""

    def __init__(self, net, view, b, u):
        self.net, self.image, self.u = net, view.images[b], u
        self.acts = view.acts[b].double().numpy()
        self.grads = view.grads(torch.full((len(view), 1), u))[b, 0].double().numpy()
        self.before = float(view.logits[b].double().softmax(-1)[u])

    def softmax(self, mask):
        with torch.no_grad():
            masked = self.image * torch.from_numpy(mask).float()
            return float(self.net(masked[None])[0].double().softmax(-1)[self.u])

    def base(self, reference):
        return sum(self.grads[k] * (self.acts[k] - reference[k]) for k in range(len(self.acts)))

    def kept(self, rises):
        rose = [i for i, d in enumerate(rises) if d > 0]
        if rose:
            m, s = np.mean([rises[i] for i in rose]), np.std([rises[i] for i in rose])
            return [i for i in rose if rises[i] >= m - s - 1e-12]
        m, s = np.mean(rises), np.std(rises)
        return [i for i, d in enumerate(rises) if d > m + s + 1e-12] or list(range(len(rises)))

    def map(self, references, rejection, calibrate, normalise):
        size = tuple(self.image.shape[-2:])
        base = [self.base(reference.double().numpy()) for reference in references]
        masks = [bilinear(scaled(one), size) for one in base]
        chosen = list(range(len(base)))
        if rejection:
            chosen = self.kept([self.softmax(mask) - self.before for mask in masks])
        one = np.mean([masks[i] for i in chosen], axis=0)
        if normalise == "mean":
            one = bilinear(scaled(np.mean([base[i] for i in chosen], axis=0)), size)
        if calibrate == "none":
            return one, len(chosen), 0
        order = np.argsort(one.ravel(), kind="stable")
        cuts = [one.copy() for _ in range(11)]
        for i, cut in enumerate(cuts):
            cut.ravel()[order[: i * one.size // 10]] = 0
        rises = [self.softmax(cut) - self.before for cut in cuts[:10]]
        if calibrate != "unrectified":
            rises = [max(0, d) for d in rises]
        best = int(np.argmax(rises)) + (calibrate == "compat")
        return cuts[best], len(chosen), best / 10


@pytest.mark.oracle
@pytest.mark.parametrize(
    ("name", "layer", "parameters"),
    [
        ("test_resnet", INNER, {}),
        ("test_resnet", INNER, {"rejection": False, "calibrate": "none"}),
        ("test_resnet", INNER, {"calibrate": "compat", "normalise": "mean"}),
        ("test_resnet", INNER, {"against": "mean", "calibrate": "unrectified"}),
        ("test_resnet", "features", {"against": "zero"}),
        ("test_convnext", "stages.3.blocks.0", {"calibrate": "unrectified"}),
        ("test_vit", "blocks.5.norm1", {"normalise": "mean"}),
    ],
)
def test_equals_the_formula(name, layer, parameters):
    asked = {"against": "contrast", "rejection": True, "calibrate": "intended", "normalise": "each"} | parameters
    net, side = surer(name), SIDES.get(name, 96)
    library = library_of(net, layer, side)
    view = make_view(net, make_images(side=side), layer)
    method = parse_method("libracam:n=4," + ",".join(f"{k}={v}" for k, v in asked.items()))
    references = {need.key: library for need in method.needs}
    maps, facts = method.decide(view, CLASSES, references)
    asked.pop("against")
    for b, row in enumerate(CLASSES.tolist()):
        for m, u in enumerate(row):
            one = {"zero": torch.zeros_like(library.mean), "mean": library.mean}.get(method.parameters["against"])
            few = library.pool[library.index[u][library.index[u] >= 0]] if one is None else one[None]
            few = few if len(few) else torch.zeros_like(library.mean)[None]
            expected, count, threshold = InNumpy(net, view, b, u).map(few, **asked)
            made = maps[b, m].numpy()
            if asked["calibrate"] == "none":
                made = bilinear(made.astype(np.float64), (side, side))
            assert np.mean(np.abs(made - expected) > 1e-4) < 1e-3  # pixels at the cut may change places
            assert "references_kept" not in facts or int(facts["references_kept"][b, m]) == count
            assert float(facts.get("threshold", torch.zeros(3, 2))[b, m]) == pytest.approx(threshold)
    assert maps.max() > 0.5


def plain(view, library, against="contrast"):
    """Base maps (B, M, n, h, w) of classes CLASSES."""
    return libracam.compare(view, CLASSES, against, library).base.unflatten(0, CLASSES.shape)


def test_at_a_pooled_linear_head_it_is_the_difference_of_two_class_activation_maps(net, images):
    """Spec 6.1, and the sum is the difference of the logits, exactly."""
    library = library_of(net, "features", gaps=False)
    view = make_view(net, images)
    h, w = view.acts.shape[-2:]
    weight = net.fc.weight[CLASSES] / (h * w)
    own = torch.einsum("bmc,bchw->bmhw", weight, view.acts)
    others = torch.einsum("bmc,bmnchw->bmnhw", weight, library.pool[library.index[CLASSES]])
    assert torch.allclose(plain(view, library), own[:, :, None] - others, atol=1e-5)
    assert completeness_errors(view, library, "mean").max() < 1e-4


def completeness_errors(view, library, against):
    method = parse_method(f"libracam:against={against},calibrate=none,rejection=false")
    return method.decide(view, CLASSES, {need.key: library for need in method.needs})[1]["completeness_error"]


@pytest.mark.parametrize("against", ["zero", "mean"])
def test_the_completeness_error_is_that_of_the_logits(net, images, against):
    view, library = make_view(net, images, INNER), library_of(net, INNER)
    activations = library.mean if against == "mean" else torch.zeros_like(library.mean)
    error = completeness_errors(view, library, against)
    for b, m, u in ((0, 0, 0), (0, 1, 3), (1, 1, 6)):
        change = float(view.logits[b, u] - view.head(activations[None], torch.tensor([b]))[0, u])
        missed = InNumpy(net, view, b, u).base(activations.double().numpy()).sum() - change
        assert float(error[b, m]) == pytest.approx(abs(missed / change), rel=1e-3)
        assert abs(missed / change) > 0.01
    assert "completeness_error" not in parse_method("libracam:calibrate=none,rejection=false").decide(view, CLASSES)[1]


def test_a_reference_that_is_the_image_itself_gives_zeros(net, images):
    view = make_view(net, images[:1], INNER)
    library = Library(torch.zeros(7, N, dtype=torch.long), view.acts[0], None, view.acts)
    maps = libracam.saliency(view, CLASSES[:1], n=N, reference={"library": library})
    assert torch.equal(maps, torch.zeros(1, 2, 96, 96))


def test_the_mean_of_base_maps_is_the_base_map_of_the_mean_reference(net, images):
    view, library = make_view(net, images, INNER), library_of(net, INNER, gaps=False)
    library = dataclasses.replace(library, index=torch.arange(POOL).expand(7, POOL))
    assert torch.allclose(plain(view, library).mean(2), plain(view, library, "mean")[:, :, 0], atol=1e-6)
    options = {"rejection": False, "normalise": "mean", "calibrate": "none", "reference": {"library": library}}
    averaged = libracam.saliency(view, CLASSES, n=POOL, **options)
    assert torch.allclose(averaged, libracam.saliency(view, CLASSES, against="mean", **options), atol=1e-4)
    options["normalise"] = "each"
    assert not torch.allclose(libracam.saliency(view, CLASSES, n=POOL, **options), averaged, atol=1e-2)


def test_against_zero_it_is_hirescam_brought_to_its_range(net, images):
    view = make_view(net, images, INNER)
    base, peer = plain(view, None, "zero")[:, :, 0], hirescam.saliency(view, CLASSES)
    assert torch.allclose(base, peer, atol=1e-6)
    map = libracam.saliency(view, CLASSES, against="zero", calibrate="none", reference={})
    span = peer.amax((-2, -1), keepdim=True) - peer.amin((-2, -1), keepdim=True)
    assert torch.allclose(map, (peer - peer.amin((-2, -1), keepdim=True)) / span, atol=1e-5)
    assert peer.min() < 0 < peer.max()


def test_the_library_of_projected_maps_gives_what_the_pool_gives(net, images):
    view, pool = make_view(net, images), library_of(net, "features")
    grads = view.grads(torch.arange(7).expand(3, 7))[0]
    projected = torch.einsum("uchw,unchw->unhw", grads, pool.pool[pool.index]) * (pool.index >= 0)[..., None, None]
    projected = dataclasses.replace(pool, pool=None, projected=projected)
    for against in ("contrast", "same"):
        maps = [libracam.saliency(view, CLASSES, against=against, reference={"library": r}) for r in (pool, projected)]
        assert torch.allclose(*maps, atol=1e-4)
    two = [libracam.compare(view, CLASSES, "contrast", r) for r in (pool, projected)]
    assert torch.equal(two[0].known, two[1].known)
    assert torch.allclose(*(c.base * c.known[..., None, None] for c in two), atol=1e-5)


@pytest.mark.parametrize(
    ("rises", "known", "kept", "empty"),
    [
        ([0.1, 0.5, 0.5, 0.6, -0.2], 5, [1, 2, 3], False),  # m = 0.425, s = 0.192: 0.1 is too little
        ([0.1, 0.3, -1.0], 3, [0, 1], False),  # two: m - s is the lower one, and the fall does not count
        ([-0.1, 0.2, -0.3], 3, [1], False),  # |S| = 1
        ([-0.5, -0.5, -0.5, -0.1], 4, [3], True),  # m + s = -0.227
        ([-0.4, -0.2], 2, [0, 1], True),  # m + s is the higher one: none beats it, all stay
        ([-0.3, -0.3, -0.3], 3, [0, 1, 2], True),
        ([0.0, 0.0, 0.0], 3, [0, 1, 2], True),
        ([-0.5, -0.5, -0.5, -0.1, 0.9], 4, [3], True),  # the fifth is no reference
        ([0.7, 0.9], 1, [0], False),
    ],
)
def test_references_are_rejected_by_the_rise_of_the_softmax(rises, known, kept, empty):
    there = torch.arange(len(rises)) < known
    made, none_rose = libracam.reject(torch.tensor([rises], dtype=torch.float64), there[None])
    assert made[0].nonzero()[:, 0].tolist() == kept
    assert none_rose.tolist() == [empty]


def test_without_any_reference_zero_serves_and_is_counted(net, images):
    view, library = make_view(net, images, INNER), library_of(net, INNER)
    zero = libracam.saliency(view, CLASSES, against="zero", reference={})
    for against in ("contrast", "mean"):
        assert torch.equal(libracam.saliency(view, CLASSES, against=against, reference={}), zero)
    some = libracam.saliency(view, CLASSES, reference={"library": library})
    assert torch.equal(some[1, 1], zero[1, 1])
    assert not torch.allclose(some[0], zero[0], atol=1e-2)
    method = parse_method("libracam:n=4")
    lacking = method.decide(view, CLASSES, {need.key: library for need in method.needs})[1]["no_reference"]
    assert lacking.tolist() == [[False, False], [False, True], [False, False]]
    assert method.decide(make_view(net, images, INNER), CLASSES)[1]["no_reference"].all()
    assert not parse_method("libracam:against=zero").decide(view, CLASSES)[1]["no_reference"].any()


def test_facts_cost_no_second_map(net, images, monkeypatch):
    spent = []
    forward = View.forward
    monkeypatch.setattr(View, "forward", lambda self, images: spent.append(len(images)) or forward(self, images))
    view, method, library = make_view(net, images, INNER), parse_method("libracam:n=4"), library_of(net, INNER)
    references = {need.key: library for need in method.needs}
    facts = method.decide(view, CLASSES, references)[1]
    there = (library.index[CLASSES] >= 0).sum(-1).clamp(min=1)
    assert sum(spent) == int(there.sum()) + 6 * 10
    assert ((facts["references_kept"] >= 1) & (facts["references_kept"] <= there)).all()
    other = method.decide(view, CLASSES.flip(1), references)[1]
    assert torch.equal(other["references_kept"], facts["references_kept"].flip(1))


def test_nothing_is_forwarded_that_nothing_is_chosen_by(net, images, monkeypatch):
    monkeypatch.setattr(View, "forward", None)
    options = {"rejection": False, "calibrate": "none", "reference": {"library": library_of(net, INNER)}}
    view = make_view(net, images, INNER)
    assert libracam.saliency(view, CLASSES, **options).shape == (3, 2, *view.acts.shape[-2:])


def test_parameters_decide_what_is_read_beside_the_image():
    def wanted(text):
        return [(need.name, need.parameters["rule"], need.parameters["n"]) for need in parse_method(text).needs]

    assert wanted("libracam") == [("library", "contrast", 30)]
    assert wanted("libracam:against=same,n=5") == [("library", "same", 5)]
    assert wanted("libracam:against=random") == [("library", "random", 30)]
    assert parse_method("libracam:against=mean").needs == parse_method("libracam").needs
    assert parse_method("libracam:against=zero").needs == ()


@pytest.mark.parametrize("wrong", ["n=0", "p_top=1.5", "p_target=-1"])
def test_what_does_not_fit_is_one_line(wrong):
    with pytest.raises(SalcheckError, match="n is 1 or more, p_top and p_target are 0 to 1"):
        _ = parse_method(f"libracam:{wrong}").needs
