"""The library against plain loops over the held-out images, and the laws of its rules."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from salcheck.datasets import Dataset, Item, scenes
from salcheck.errors import SalcheckError
from salcheck.network.labels import Labels
from salcheck.network.loading import load_model
from salcheck.network.view import View
from salcheck.references import Need, build, library
from tests.makers import save_model
from tests.nets import make_images, make_net, make_view

INNER = "layer3.0.conv2"
IMAGES = 24
SETTINGS = {"rule": "contrast", "n": 3, "p_top": 0.5, "p_target": 0.01}


@pytest.fixture(scope="module")
def net():
    net = make_net("test_resnet")
    net.fc.weight.mul_(12)  # some softmax values above 0.8, some below
    return net


@pytest.fixture(scope="module")
def images():
    """Images of stripes and patches: a network that was never trained tells noise images hardly apart."""
    made = make_images(IMAGES, 96, seed=5)
    scale = torch.linspace(0.1, 3, IMAGES)[:, None, None, None]
    return made * scale + torch.randn(IMAGES, 3, 1, 1, generator=torch.Generator().manual_seed(1)) * 2


@pytest.fixture(scope="module")
def items(net, images):
    """Most are labelled as the network sees them, some with a second class, some wrongly, one with none."""
    labels = [(int(u), *([(int(u) + 2) % 7] if i % 4 == 1 else [])) for i, u in enumerate(net(images).argmax(-1))]
    labels[3], labels[11], labels[17] = ((labels[3][0] + 1) % 7,), ((labels[11][0] + 3) % 7,), ()
    return [Item(str(i), label) for i, label in enumerate(labels)]


def collected(net, images, items, scratch, layer=INNER, batch=5, **settings):
    """Through the collector and its files."""
    scratch.mkdir(exist_ok=True)
    model = SimpleNamespace(net=net, labels=Labels([f"class {i}" for i in range(7)]))
    collector = library.collect(model, len(items), scratch, **(SETTINGS | settings))
    for start in range(0, len(items), batch):
        view = make_view(net, images[start : start + batch], layer)
        collector.add(view, items[start : start + batch])
    arrays = collector.arrays()
    return library.restore(arrays | {file.stem: np.load(file, mmap_mode="c") for file in scratch.glob("*.npy")})


def eligible(net, images, items, p_top):
    """(place, softmax, labels) of the images that may be in a pool."""
    chances = net(images).softmax(-1)
    return [
        (i, chances[i], item.labels)
        for i, item in enumerate(items)
        if int(chances[i].argmax()) in item.labels and chances[i].max() >= p_top
    ]


def by_hand(net, images, items, rule, n, p_top, p_target):
    """The images, by place, that serve each class."""
    pool = eligible(net, images, items, p_top)
    chosen = []
    for c in range(7):
        if rule == "contrast":
            fit = [(float(p[c]), i) for i, p, labels in pool if c not in labels and p[c] <= p_target]
            chosen.append([i for _, i in sorted(fit)[:n]])
        else:
            chosen.append([i for i, _, labels in pool if c in labels][:n])
    return chosen


@pytest.mark.parametrize("rule", ["contrast", "same"])
@pytest.mark.parametrize("settings", [{}, {"n": 30, "p_top": 0.3, "p_target": 0.1}])
def test_each_class_has_the_images_that_the_rule_says(net, images, items, tmp_path, rule, settings):
    settings = SETTINGS | settings | {"rule": rule}
    made = collected(net, images, items, tmp_path, **settings)
    acts = make_view(net, images, INNER).acts
    expected = by_hand(net, images, items, **settings)
    assert made.index.shape == (7, settings["n"])
    assert (made.index >= 0).sum(-1).tolist() == [len(rows) for rows in expected]
    for c, rows in enumerate(expected):
        stored = made.pool[made.index[c][made.index[c] >= 0]]
        assert torch.allclose(stored, acts[rows], atol=1e-4)
    sizes = {len(rows) for rows in expected}
    assert max(sizes) > 1
    assert len({str(rows) for rows in expected}) > 3


def test_contrast_never_shows_the_class_and_the_same_always_does(net, images, items, tmp_path):
    pool = eligible(net, images, items, 0.3)
    for rule, shown in (("contrast", False), ("same", True)):
        made = collected(net, images, items, tmp_path / rule, rule=rule, n=30, p_top=0.3, p_target=1.0)
        for c in range(7):
            labels = [pool[row][2] for row in made.index[c].tolist() if row >= 0]
            assert all((c in label) == shown for label in labels)
            assert len(labels) == sum((c in label) == shown for _, _, label in pool)
    assert any(len(label) == 2 for _, _, label in pool)
    assert len(pool) <= IMAGES - 3


def test_random_is_any_image_in_an_order_of_each_class_s_own(net, images, items, tmp_path):
    one, two = (collected(net, images, items, tmp_path / str(i), rule="random", n=5, batch=i) for i in (5, 6))
    count = len(eligible(net, images, items, 0.5))
    assert torch.equal(one.index, two.index)
    assert (one.index >= 0).all() and (one.index < count).all()
    assert all(len(set(row)) == 5 for row in one.index.tolist())
    assert len({tuple(row) for row in one.index.tolist()}) == 7
    whole = collected(net, images, items, tmp_path / "whole", rule="random", n=count + 2)
    assert all(sorted(row) == [-1, -1, *range(count)] for row in whole.index.tolist())
    assert torch.equal(whole.index[:, :5], one.index)


def test_the_mean_is_over_all_images_whatever_they_show(net, images, items, tmp_path):
    made = collected(net, images, items, tmp_path, p_top=1.0)
    expected = make_view(net, images, INNER).acts.double().mean(0)
    assert made.mean.numpy() == pytest.approx(expected.numpy(), abs=1e-5)
    assert (made.index == -1).all()


def test_scores_that_are_not_finite_spoil_nothing(net, images, items, tmp_path):
    torn = images.clone()
    torn[2] = torch.nan
    made = collected(net, torn, items, tmp_path / "torn", p_top=0.3)
    rest = [i for i in range(IMAGES) if i != 2]
    whole = collected(net, images[rest], [items[i] for i in rest], tmp_path / "whole", p_top=0.3)
    assert torch.equal(made.index, whole.index)
    assert torch.allclose(made.mean, whole.mean, atol=1e-5)


def test_where_the_head_is_affine_only_projected_maps_are_kept(net, images, items, tmp_path, monkeypatch):
    kept = collected(net, images, items, tmp_path / "kept", "features", n=6)
    monkeypatch.setattr(View, "affine", False)
    pool = collected(net, images, items, tmp_path / "pool", "features", n=6)
    assert kept.pool is None and pool.projected is None
    assert not list((tmp_path / "kept").iterdir())
    assert torch.equal(kept.index, pool.index)
    grads = make_view(net, images[:1]).grads(torch.arange(7)[None])[0].double()
    for c, rows in enumerate(kept.index.tolist()):
        for place, row in enumerate(rows):
            expected = (grads[c] * pool.pool[row].double()).sum(0) if row >= 0 else torch.zeros(kept.mean.shape[1:])
            assert kept.projected[c, place].numpy() == pytest.approx(expected.numpy(), abs=1e-4)
    assert kept.projected.abs().max() > 0.1
    assert (kept.index == -1).any()


class Unpooled(torch.nn.Module):
    """A linear head that weighs every place by itself."""

    num_classes = 7

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.features, self.head = torch.nn.Conv2d(3, 4, 8, stride=8), torch.nn.Linear(4 * 12 * 12, 7)

    def forward_features(self, images):
        return self.features(images)

    def forward_head(self, acts):
        return self.head(acts.flatten(1))

    def forward(self, images):
        return self.forward_head(self.forward_features(images))


def test_projected_maps_have_the_gradient_of_their_place(images, tmp_path):
    net = Unpooled().requires_grad_(False)
    items = [Item(str(i), (int(u),)) for i, u in enumerate(net(images).argmax(-1))]
    made = collected(net, images, items, tmp_path, "features", p_top=0.0, p_target=1.0)
    acts, weight = net.forward_features(images), net.head.weight.reshape(7, 4, 12, 12)
    expected = torch.einsum("uchw,unchw->unhw", weight, acts[made.index])  # every image is in the pool
    assert (made.index >= 0).all()
    assert torch.allclose(made.projected, expected, atol=1e-5)


def test_the_pool_ends_where_its_room_does(net, images, items, tmp_path, monkeypatch):
    whole = collected(net, images, items, tmp_path / "whole", rule="same", n=30)
    acts = make_view(net, images[:1], INNER).acts
    monkeypatch.setattr(library, "POOL_BYTES", 4 * 4 * acts[0].numel() + 7)
    part = collected(net, images, items, tmp_path / "part", rule="same", n=30)
    assert part.pool.shape == (4, *acts.shape[1:])
    assert torch.equal(part.pool, whole.pool[:4])
    assert part.index.max() == 3 < whole.index.max()
    assert torch.equal(part.mean, whole.mean)


def test_no_image_at_all_is_an_empty_library(tmp_path):
    model = SimpleNamespace(labels=Labels(["a", "b"]))
    made = library.restore(library.collect(model, 0, tmp_path, **SETTINGS).arrays())
    assert made.index.tolist() == [[-1] * 3] * 2
    assert made.mean.tolist() == [[[0.0]]]
    assert made.pool is None and made.projected is None


def test_scenes_of_two_objects_serve_neither_of_them(scenes_model, tmp_path):
    """By way of `build`: p_top of one half, for the softmax is shared by two objects."""
    dataset = scenes.open_dataset(None, scenes_model.labels, 0)
    held = Dataset(dataset.name, dataset.root, dataset.items[:48], dataset.read)
    need = Need("library", SETTINGS | {"n": 48, "p_top": 0.5})
    made = build([need], scenes_model, held, tmp_path).values[need.key]
    (folder,) = (tmp_path / "reference").iterdir()
    assert {file.name for file in folder.iterdir()} == {"arrays.npz", "checksums.json"}
    view = scenes_model.view(
        lambda: scenes_model.batch([scenes_model.transform(scenes.read(item)) for item in held.items]), range(48)
    )
    chances = view.logits.softmax(-1)
    for c, row in enumerate(made.index):
        fit = [
            item.labels
            for item, p in zip(held.items, chances, strict=True)
            if p.max() >= 0.5 and int(p.argmax()) in item.labels and p[c] <= 0.01 and c not in item.labels
        ]
        assert int((row >= 0).sum()) == len(fit)
    assert made.projected.shape == (10, 48, *view.acts.shape[2:])


def test_it_comes_back_from_the_cache_as_it_was(tmp_path):
    model = load_model(save_model(tmp_path / "model"), device="cpu", layer=INNER)
    rng = np.random.default_rng(0)
    pictures = {str(i): Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)) for i in range(14)}
    items = [Item(str(i), (i % 7,)) for i in range(14)]
    data = Dataset("made", "", items, lambda item: pictures[item.key])
    need = Need("library", {"rule": "contrast", "n": 2, "p_top": 0.0, "p_target": 1.0})
    steps = []
    one, two = (
        build([need], model, data, tmp_path / "cache", 4, lambda done, total: steps.append(done)).values[need.key]
        for _ in range(2)
    )
    assert steps == [4, 8, 12, 14]
    assert (one.index >= 0).any()
    assert torch.equal(one.index, two.index) and torch.equal(one.mean, two.mean) and torch.equal(one.pool, two.pool)
    assert one.pool[one.index.max()].abs().sum() > 0
    unlabelled = Dataset("made", "", [Item(item.key) for item in items], data.read)
    with pytest.raises(SalcheckError, match="with class folders"):
        build([need], model, unlabelled, tmp_path / "cache")
