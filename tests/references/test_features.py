"""Features of held-out images: collected, restored, and what is counted from them, each a second way."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from salcheck.datasets import Dataset, Item
from salcheck.errors import SalcheckError
from salcheck.network.loading import load_model
from salcheck.references import Features, Need, _features, build, read
from tests.makers import save_images, save_model
from tests.nets import make_images, make_net, make_view

NEED = Need("features", {})


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return load_model(save_model(tmp_path_factory.mktemp("model")), device="cpu")


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    pictures = {str(i): Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)) for i in range(20)}
    items = [Item(str(i), (i % 7,) if i < 16 else (1, 4) if i < 18 else ()) for i in range(20)]
    return Dataset("made", "", items, lambda item: pictures[item.key])


def gathered(model, data, cache, need=NEED):
    return build([need], model, data, cache, 6).values[need.key]


def test_they_equal_one_image_at_a_time_with_their_labels(model, data, tmp_path):
    found = gathered(model, data, tmp_path)
    order = {tuple(row.tolist()): item for row, item in zip(found.values, by_row(model, data, found), strict=True)}
    assert len(order) == len(found) == 20
    for values, labels in zip(found.values, found.labels, strict=True):
        item = order[tuple(values.tolist())]
        assert sorted(label for label in labels.tolist() if label >= 0) == sorted(item.labels)


def by_row(model, data, found):
    """The item that each row is of: the one whose features, made alone, are the row."""
    made = torch.stack(
        [model.net.forward_features(model.transform(data.read(i))[None])[0].mean((-2, -1)) for i in data.items]
    )
    apart = torch.cdist(found.values, made)
    assert apart.amin(1).max() < 1e-4
    assert apart.topk(2, largest=False).values[:, 1].min() > 0.01
    return [data.items[column] for column in apart.argmin(1).tolist()]


def test_they_are_mapped_from_the_cache_and_made_again_where_their_file_is_gone(model, data, tmp_path):
    first = gathered(model, data, tmp_path).values.clone()
    (file,) = tmp_path.glob("reference/*/features.npy")
    assert np.load(file).shape == (20, first.shape[1])
    file.unlink()
    assert torch.equal(gathered(model, data, tmp_path).values, first)
    assert torch.equal(gathered(model, data, tmp_path).values, first)


def test_unreadable_images_leave_no_rows(model, data, tmp_path):
    def read_some(item):
        if item.key in unreadable:
            raise SalcheckError("cannot read")
        return data.read(item)

    unreadable = {"3", "11"}
    found = gathered(model, Dataset("made", "", data.items, read_some), tmp_path)
    assert len(found) == len(found.values) == 18
    assert (found.values.abs().sum(-1) > 0).all()
    unreadable = {item.key for item in data.items}
    assert len(gathered(model, Dataset("made", "", data.items, read_some), tmp_path)) == 0


def test_a_folder_of_the_user_s_own_serves_in_place_of_the_dataset(model, tmp_path):
    folder = save_images(tmp_path / "own", classes=2, each=3)
    need = Need("features", {"images": str(folder), "z": "pool"})
    found = build([need], model, None, tmp_path / "cache", 4).values[need.key]
    assert len(found) == 6
    assert sorted(found.labels.flatten().tolist()) == [0, 0, 0, 1, 1, 1]


def made(labels, D=5, seed=0):
    rng = np.random.default_rng(seed)
    width = max(map(len, labels))
    padded = [[*row, *[-1] * (width - len(row))] for row in labels]
    values = rng.normal(2, 1, (len(labels), D)).astype(np.float32)
    return Features(torch.from_numpy(values), torch.tensor(padded, dtype=torch.long).reshape(len(labels), width))


LABELS = [(0,), (1,), (3, 1), (), (3,), (0, 3), (1,), (5,), (5,), ()]


def test_rows_are_those_that_show_a_class_or_all_others():
    found = made(LABELS)
    assert found.rows([1]).tolist() == [1, 2, 6]
    assert found.rows([1, 5]).tolist() == [1, 2, 6, 7, 8]
    assert found.rows([1], shown=False).tolist() == [0, 3, 4, 5, 7, 8, 9]
    assert found.rows([2]).tolist() == []
    assert found.rows([-1]).tolist() == []  # what pads the labels is no class
    assert found.rows([-1], shown=False).tolist() == list(range(10))
    unlabelled = made([()] * 4)
    assert unlabelled.rows([0], shown=False).tolist() == [0, 1, 2, 3]


def test_prototypes_are_class_means_or_else_the_images(monkeypatch):
    found = made(LABELS)
    monkeypatch.setattr(_features, "ROWS", 3)
    means, classes = found.prototypes
    assert classes.tolist() == [0, 1, 3, 5]
    for mean, u in zip(means.numpy(), classes.tolist(), strict=True):
        shown = [i for i, row in enumerate(LABELS) if u in row]
        assert mean == pytest.approx(found.values.numpy()[shown].astype(float).mean(0), rel=1e-12)
    unlabelled = made([()] * 4)
    assert torch.equal(unlabelled.prototypes[0], unlabelled.values)
    assert unlabelled.prototypes[1].tolist() == [-1] * 4


@pytest.mark.parametrize("cosine", [False, True])
@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("k", [1, 4, 9])
def test_the_nearest_are_those_of_a_plain_search(monkeypatch, k, own, cosine):
    found = made([(u % 9,) for u in range(30)])
    monkeypatch.setattr(_features, "ROWS", 4)
    z = torch.randn(6, 5, generator=torch.Generator().manual_seed(1)) + 2
    classes = torch.tensor([[0, 3], [4, 4], [8, 1], [2, 7], [5, 77], [6, -1]])
    rows, there = found.nearest(z, classes, k, own, cosine)
    means = found.prototypes[0].numpy()
    for b, row in enumerate(classes.tolist()):
        target = z[b].numpy().astype(float)
        far = ((means - target) ** 2).sum(1)
        if cosine:
            far = -(means @ target) / np.linalg.norm(means, axis=1)
        for m, u in enumerate(row):
            expected = [v for v in far.argsort() if own or v != u][:k]
            assert rows[b][there[b, m]].numpy() == pytest.approx(means[expected])


def test_near_neighbours_far_from_zero_keep_their_order():
    values = torch.full((300, 8), 1000.0)
    values[:, 0] += torch.arange(300) * 1e-3
    found = Features(values, torch.full((300, 0), -1))
    rows, there = found.nearest(torch.full((1, 8), 1000.0), torch.tensor([[-1]]), 20)
    assert torch.equal(rows[0][there[0, 0]], values[:20].double())


@pytest.mark.parametrize("rows", [[2], [1, 5, 7], [0, 1, 2, 3, 5, 6, 7, 9], list(range(10))])
def test_the_scatter_of_some_images_equals_the_direct_sum(monkeypatch, rows):
    """Few of them summed, most of them as all less the others: once all are summed, never more than half."""
    found = made(LABELS)
    monkeypatch.setattr(_features, "ROWS", 3)
    found.scatter(torch.arange(10))
    summed, plainly = [], Features._summed
    monkeypatch.setattr(Features, "_summed", lambda self, *some: summed.append(len(some[0])) or plainly(self, *some))
    mean, scatter = found.scatter(torch.tensor(rows))
    assert sum(summed) == min(len(rows), 10 - len(rows))
    x = found.values.numpy()[rows].astype(float)
    assert mean.numpy() == pytest.approx(x.mean(0), rel=1e-12)
    assert scatter.numpy() == pytest.approx((x - x.mean(0)).T @ (x - x.mean(0)), abs=1e-11)
    fourth = (np.linalg.norm(x - x.mean(0), axis=1) ** 4).sum()
    assert found.fourth(torch.tensor(rows), mean).item() == pytest.approx(fourth, abs=1e-11)


@pytest.mark.parametrize("D", [5, 12])
def test_products_of_some_images_equal_the_direct_ones(D):
    found = made(LABELS, D)
    deviations, products = found.deviations(torch.tensor([1, 4, 8]))
    x = found.values.numpy().astype(float)
    expected = x[[1, 4, 8]] - x.mean(0)
    assert deviations.numpy() == pytest.approx(expected, abs=1e-12)
    assert products.numpy() == pytest.approx(expected @ expected.T, abs=1e-11)


def test_the_readings_of_a_vision_transformer():
    view = make_view(make_net("test_vit"), make_images(side=160), "norm")
    tokens = view.net.norm(last_tokens(view))
    assert torch.allclose(read(view, "auto"), tokens[:, 0], atol=1e-5)
    assert torch.equal(read(view, "auto"), read(view, "token"))
    assert torch.allclose(read(view, "pool"), tokens[:, 1:].mean(1), atol=1e-5)
    assert torch.allclose(read(view, "all"), tokens.mean(1), atol=1e-5)
    assert torch.allclose(read(view, "both"), torch.cat([tokens[:, 0], tokens[:, 1:].mean(1)], 1), atol=1e-5)


def last_tokens(view):
    """What the last norm is given."""
    kept = []
    hook = view.net.norm.register_forward_pre_hook(lambda module, args: kept.append(args[0]))
    view.net(view.images)
    hook.remove()
    return kept[0]


def test_registers_are_no_class_token_and_neither_is_a_feature_map():
    acts, registers = torch.rand(2, 6, 3, 3), torch.rand(2, 4, 6)
    view = SimpleNamespace(acts=acts, prefix=registers, net=SimpleNamespace(num_reg_tokens=4))
    assert torch.equal(read(view, "auto"), acts.mean((-2, -1)))
    with pytest.raises(SalcheckError, match="take z=pool"):
        read(view, "token")
    with_token = SimpleNamespace(acts=acts, prefix=registers, net=SimpleNamespace(num_reg_tokens=3))
    assert torch.equal(read(with_token, "auto"), registers[:, 0])
    with pytest.raises(SalcheckError, match="take z=pool"):
        read(make_view(make_net("test_resnet"), make_images(side=96)), "both")
