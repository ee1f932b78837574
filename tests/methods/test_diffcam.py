"""DiffCAM a second way in NumPy at double precision, and the facts T1 to T7 of its spec (1.3)."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.covariance import ledoit_wolf
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from salcheck.datasets import Dataset, Item, scenes
from salcheck.errors import SalcheckError
from salcheck.maps.ranking import mass, upsample
from salcheck.methods import _discriminant, diffcam, parse_method
from salcheck.methods._discriminant import Few, Many, discriminant
from salcheck.network.labels import Labels
from salcheck.network.outputs import SOFTMAX
from salcheck.references import Features, build, read
from tests.held_out import held_out
from tests.methods.conftest import CLASSES, LAYER
from tests.nets import make_images, make_net, make_view

C = 48
FEW, MANY = 21, 140  # references, fewer or more than channels

HELD = Dataset("held out", "", [Item("0")], lambda item: Image.new("RGB", (8, 8)))


@pytest.fixture(scope="module")
def view():
    view = make_view(make_net("test_resnet"), make_images(side=96), LAYER)
    assert view.acts.shape[1] == C
    return view


def reference(count, D=C, labels=None, seed=0, near=None):
    """Features about those of the images, of correlated channels of unlike scales."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(count, D)) @ rng.normal(size=(D, D)) * rng.uniform(0.05, 0.5, D)
    values = values + (0 if near is None else near.numpy().mean(0)) + rng.normal(size=D)
    labels = torch.arange(count)[:, None] % 7 if labels is None else labels
    return {"features": Features(torch.from_numpy(values.astype(np.float32)), labels)}


def maps_of(view, spec, reference, classes=CLASSES):
    return diffcam.saliency(view, classes, **parse_method(spec).parameters, reference=reference)


def facts_of(view, spec, reference, classes=CLASSES):
    return diffcam.decide(view, classes, **parse_method(spec).parameters, reference=reference)[1]


def plain(z, references, matrix="full", alpha=1e-3):
    """w, z - mu and S + lambda I for one image: equation 6 with dense matrices."""
    x, z = np.asarray(references, dtype=np.float64), np.asarray(z, dtype=np.float64)
    mean = x.mean(0)
    scatter = (x - mean).T @ (x - mean)
    scatter = np.diag(np.diag(scatter)) if matrix == "diagonal" else scatter
    total = scatter + alpha * np.trace(scatter) / len(mean) * np.eye(len(mean))
    delta = z - mean
    return (delta if matrix == "identity" else np.linalg.solve(total, delta)), delta, total


def expect(view, maps, references_of, z=None, **how):
    """Every map equals the formula over the references that belong to it."""
    z = read(view, "auto") if z is None else z
    scale = 0
    for b, row in enumerate(CLASSES.tolist()):
        for m, u in enumerate(row):
            w, _, _ = plain(z[b].numpy(), references_of(b, u), **how)
            expected = np.tensordot(w, view.acts[b].numpy().astype(np.float64), axes=1)
            assert maps[b, m].numpy() == pytest.approx(expected, rel=1e-4, abs=1e-5 * abs(expected).max())
            scale = max(scale, abs(expected).max())
    assert scale > 0


def cosine(a, b):
    a, b = np.ravel(a), np.ravel(b)
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


def weights(view, spec, reference):
    """w (B, M, D)."""
    parameters = {k: v for k, v in parse_method(spec).parameters.items() if k not in ("centred", "relu")}
    asked = diffcam.Comparison(**parameters)
    return diffcam._directions(view, CLASSES, asked, reference["features"]).weights.float()


# The formula, for each group of references and each matrix


@pytest.mark.oracle
@pytest.mark.parametrize("matrix", ["full", "diagonal", "identity"])
@pytest.mark.parametrize("count", [FEW, MANY])
def test_equals_the_formula_over_the_images_of_a_folder(view, count, matrix):
    given = reference(count, near=view.acts.mean((-2, -1)))
    maps = maps_of(view, f"diffcam:group=images:there,matrix={matrix},alpha=0.01", given)
    expect(view, maps, lambda b, u: given["features"].values, matrix=matrix, alpha=0.01)


@pytest.mark.oracle
@pytest.mark.parametrize("matrix", ["full", "diagonal"])
@pytest.mark.parametrize("count", [FEW, MANY])
def test_equals_the_formula_over_all_others_and_over_the_same_class(view, count, matrix):
    """With many, all others are reached by taking a class off the whole."""
    given = reference(count)
    values, labels = given["features"].values, given["features"].labels[:, 0]
    maps = maps_of(view, f"diffcam:group=others,matrix={matrix}", given)
    expect(view, maps, lambda b, u: values[labels != u], matrix=matrix)
    maps = maps_of(view, f"diffcam:group=same,matrix={matrix}", given)
    expect(view, maps, lambda b, u: values[labels == u], matrix=matrix)


@pytest.mark.oracle
@pytest.mark.parametrize("count", [FEW, MANY])
def test_equals_the_formula_over_named_classes_whichever_is_explained(view, count):
    given = reference(count)
    values, labels = given["features"].values, given["features"].labels[:, 0]
    maps = maps_of(view, "diffcam:group=class:class 4+6", given)
    expect(view, maps, lambda b, u: values[(labels == 4) | (labels == 6)])


@pytest.mark.oracle
@pytest.mark.parametrize("matrix", ["full", "diagonal", "identity"])
@pytest.mark.parametrize("spec", ["k=3", "k=3,own=true", "k=100", "k=4,metric=cosine"])
def test_equals_the_formula_over_the_nearest_class_means(view, spec, matrix):
    given = reference(MANY, near=view.acts.mean((-2, -1)))
    values, labels = given["features"].values.numpy().astype(np.float64), given["features"].labels[:, 0].numpy()
    means = np.stack([values[labels == u].mean(0) for u in range(7)])
    settings = parse_method(f"diffcam:{spec}").parameters

    def nearest(b, u):
        z = read(view, "auto")[b].numpy().astype(np.float64)
        far = np.linalg.norm(means - z, axis=1)
        if settings["metric"] == "cosine":
            far = -(means @ z) / np.linalg.norm(means, axis=1)
        return means[[v for v in far.argsort() if settings["own"] or v != u][: settings["k"]]]

    expect(view, maps_of(view, f"diffcam:{spec},matrix={matrix}", given), nearest, matrix=matrix)


def test_many_references_never_need_their_inner_products(view, monkeypatch):
    """50,000 of them would have 20 GB of these."""
    given = reference(MANY)
    expected = maps_of(view, "diffcam:group=others", given)
    monkeypatch.delattr(Features, "deviations")
    assert torch.equal(maps_of(view, "diffcam:group=others", given), expected)


def test_images_together_or_a_few_at_a_time_are_the_same(view, monkeypatch):
    given = reference(MANY)
    together = maps_of(view, "diffcam:k=3", given)
    monkeypatch.setattr(diffcam, "TOGETHER", 2 * 3 * C)
    at_a_time, nearest = [], Features.nearest
    monkeypatch.setattr(Features, "nearest", lambda self, z, *more: at_a_time.append(len(z)) or nearest(self, z, *more))
    assert torch.allclose(maps_of(view, "diffcam:k=3", given), together, rtol=1e-5)
    assert at_a_time == [2, 1]


# T1 to T7


@pytest.mark.parametrize("count", [FEW, MANY])
def test_w_maximises_the_ratio_and_the_maximum_is_the_squared_distance(view, count):
    given = reference(count, near=view.acts.mean((-2, -1)))
    distance = facts_of(view, "diffcam:group=images:x", given)["squared_distance"].numpy()
    found = weights(view, "diffcam:group=images:x", given).numpy().astype(np.float64)
    rng = np.random.default_rng(1)
    for b in range(3):
        _, delta, total = plain(read(view, "auto")[b].numpy(), given["features"].values)
        best = found[b, 0]
        others = best + 0.1 * np.linalg.norm(best) * rng.normal(size=(50, C))
        ratios = [(w @ delta) ** 2 / (w @ total @ w) for w in [best, *others]]
        assert ratios[0] == pytest.approx(distance[b, 0], rel=1e-4)
        assert max(ratios[1:]) < 0.999 * ratios[0]
        assert best @ delta > 0


@pytest.mark.parametrize("count", [FEW, MANY])
def test_it_is_grad_cam_of_the_squared_distance(view, count):
    given = reference(count, near=view.acts.mean((-2, -1)))
    maps = maps_of(view, "diffcam:group=images:x", given)
    x = given["features"].values.double()
    x = x - x.mean(0)
    total = x.T @ x + 1e-3 * x.square().sum() / C * torch.eye(C)
    acts = view.acts.double().requires_grad_()
    delta = acts.mean((-2, -1)) - given["features"].values.double().mean(0)
    (grads,) = torch.autograd.grad((delta * torch.linalg.solve(total, delta.T).T).sum(), acts)
    cam = torch.einsum("bc,bchw->bhw", grads.mean((-2, -1)), acts.detach())
    positions = acts[0, 0].numel()
    assert torch.allclose(maps[:, 0].double(), cam * positions / 2, rtol=1e-4, atol=1e-5 * cam.abs().max().item())


@pytest.mark.parametrize("spec", ["diffcam:k=4", "diffcam:group=others", "diffcam:group=class:3,matrix=diagonal"])
def test_the_mean_of_the_centred_map_is_the_squared_distance(view, spec):
    given = reference(MANY, near=view.acts.mean((-2, -1)))
    maps, centred = (maps_of(view, f"{spec},centred={flag}", given) for flag in ("false", "true"))
    distance = facts_of(view, spec, given)["squared_distance"]
    assert torch.allclose(centred.mean((-2, -1)).double(), distance, rtol=1e-4)
    found = parse_method(f"{spec},centred=true")
    claimed = found.module.total(view, CLASSES, **found.parameters, reference=given)
    assert torch.allclose(centred.sum((-2, -1)).double(), claimed, rtol=1e-4)
    apart = maps - centred
    assert (apart.amax((-2, -1)) - apart.amin((-2, -1)) < 1e-4 * maps.abs().amax((-2, -1))).all()
    assert apart.abs().max() > 0.01 * maps.abs().max()
    pooled = torch.einsum("bmc,bc->bm", weights(view, spec, given), read(view, "auto"))
    assert torch.allclose(maps.mean((-2, -1)), pooled, rtol=1e-3)


def test_lambda_follows_the_scatter_so_that_copies_of_the_references_only_scale_w(view):
    once = reference(FEW, near=view.acts.mean((-2, -1)))
    values = once["features"].values.repeat(3, 1)
    thrice = {"features": Features(values, torch.full((len(values), 0), -1))}
    maps = [maps_of(view, "diffcam:group=images:x", given) for given in (once, thrice)]
    assert torch.allclose(maps[0], 3 * maps[1], rtol=1e-4, atol=1e-5 * maps[0].abs().max().item())


@pytest.mark.parametrize("alpha", [1e-6, 1e-2, 10])
def test_woodbury_equals_the_dense_solution(alpha):
    for count in (5, C + 20):
        x, delta = reference(count)["features"].values.double(), torch.randn(4, C).double()
        x = x - x.mean(0)
        few = Few(x[None], torch.zeros(1, 1, C), (x @ x.T)[None], torch.ones(1, 1, count, dtype=torch.bool))
        many = Many(x.T @ x, torch.zeros(C), torch.tensor(count), torch.tensor(0))
        short, long = (
            discriminant(few, delta[None, None], "full", alpha)[0, 0],
            discriminant(many, delta, "full", alpha),
        )
        assert (short - long).norm() < 1e-7 * long.norm()


def test_directions_of_little_scatter_are_projected_off_like_others():
    x = reference(12)["features"].values.double() * torch.logspace(0, -3, 12)[:, None]
    x = x - x.mean(0)
    few = Few(x[None], torch.zeros(1, 1, C), (x @ x.T)[None], torch.ones(1, 1, 12, dtype=torch.bool))
    left = few.project_off(torch.randn(1, 1, 5, C, dtype=torch.float64))[0, 0]
    basis = np.linalg.svd(x.numpy())[2][:11]
    assert np.linalg.svd(x.numpy())[1][10] < 2e-3 * np.linalg.svd(x.numpy())[1][0]
    assert abs(basis @ left.numpy().T).max() < 1e-6


def test_a_matrix_without_a_cholesky_factor_gives_no_number():
    matrices = torch.stack([torch.eye(2), torch.tensor([[1.0, 2.0], [2.0, 1.0]])])
    solved = _discriminant._solved(matrices, torch.ones(2, 2, 1))
    assert solved[0].flatten().tolist() == [1, 1]
    assert solved[1].isnan().all()


def test_the_limits_are_the_difference_of_means_and_its_projection(view):
    given = reference(FEW, near=view.acts.mean((-2, -1)))
    x = given["features"].values.numpy().astype(np.float64)
    _, s, rows = np.linalg.svd(x - x.mean(0), full_matrices=False)
    rows = rows[s > 1e-6 * s[0]]
    assert len(rows) == FEW - 1
    wide, small, projected = (
        weights(view, f"diffcam:group=images:x,{how}", given).numpy().astype(np.float64)
        for how in ("alpha=1000000", "alpha=1e-9", "matrix=projected")
    )
    for b in range(3):
        delta = read(view, "auto")[b].numpy() - x.mean(0)
        left = delta - rows.T @ (rows @ delta)
        assert abs(cosine(left, delta)) < 0.99  # the two limits differ
        assert cosine(wide[b, 0], delta) == pytest.approx(1, abs=1e-6)
        assert cosine(small[b, 0], left) == pytest.approx(1, abs=1e-6)
        assert projected[b, 0] == pytest.approx(left, abs=1e-5 * np.linalg.norm(left))
    near = weights(view, "diffcam:k=4,matrix=projected", given).numpy()
    smallest = weights(view, "diffcam:k=4,alpha=1e-9", given).numpy()
    assert min(cosine(near[b, m], smallest[b, m]) for b in range(3) for m in range(2)) > 1 - 1e-6
    assert cosine(near[0, 0], projected[0, 0]) < 0.999


# Other witnesses


@pytest.mark.parametrize("count", [FEW, MANY])
def test_ledoit_wolf_is_that_of_scikit_learn(view, count):
    given = reference(count, near=view.acts.mean((-2, -1)))
    x = given["features"].values.numpy().astype(np.float64)
    covariance, shrinkage = ledoit_wolf(x)
    assert 0.001 < shrinkage < 0.9
    found = weights(view, "diffcam:group=images:x,matrix=ledoitwolf", given).numpy()
    for b in range(3):
        expected = np.linalg.solve(covariance, read(view, "auto")[b].numpy() - x.mean(0))
        assert cosine(found[b, 0], expected) == pytest.approx(1, abs=1e-7)
        # lambda n s / (1 - s) in units of the sum scatter: the scale is that of (1 - s) S / n
        assert found[b, 0] * count == pytest.approx(
            expected * (1 - shrinkage), rel=1e-3, abs=1e-4 * abs(expected).max()
        )


def test_two_references_ask_for_no_shrinkage_and_pure_noise_for_all(view):
    rng = np.random.default_rng(0)
    two = reference(2)
    found, projected = (
        weights(view, f"diffcam:group=images:x,matrix={m}", two).numpy() for m in ("ledoitwolf", "projected")
    )
    assert cosine(found[0, 0], projected[0, 0]) == pytest.approx(1, abs=1e-5)
    axes = torch.diag(torch.from_numpy(rng.uniform(1, 1.3, C).astype(np.float32)))
    noise = torch.cat([axes, -axes])
    assert ledoit_wolf(noise.numpy())[1] == 1
    given = {"features": Features(noise, torch.full((2 * C, 0), -1))}
    found = weights(view, "diffcam:group=images:x,matrix=ledoitwolf", given).numpy()
    delta = read(view, "auto").numpy()[0] - noise.numpy().mean(0)
    assert cosine(found[0, 0], delta) == pytest.approx(1, abs=1e-6)


@pytest.mark.filterwarnings("ignore:Only one sample available")
def test_it_is_linear_discriminant_analysis_of_the_image_against_the_references(view):
    given = reference(MANY, near=view.acts.mean((-2, -1)))
    found = weights(view, "diffcam:group=images:x,alpha=1e-9", given).numpy()
    for b in range(3):
        rows = np.vstack([given["features"].values, read(view, "auto")[b]]).astype(np.float64)
        lda = LinearDiscriminantAnalysis(solver="lsqr").fit(rows, [0] * MANY + [1])
        assert cosine(found[b, 0], lda.coef_[0]) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("spec", ["diffcam:k=4", "diffcam:group=others", "diffcam:group=same"])
@pytest.mark.parametrize("count", [FEW, MANY])
def test_the_order_and_the_precision_of_the_references_leave_the_map(view, spec, count):
    given = reference(count, near=view.acts.mean((-2, -1)))["features"]
    maps = maps_of(view, spec, {"features": given})
    order = torch.randperm(count, generator=torch.Generator().manual_seed(3))
    other = Features(given.values[order].double(), given.labels[order])
    assert torch.allclose(maps_of(view, spec, {"features": other}), maps, rtol=1e-4, atol=1e-5 * maps.abs().max())
    rounded = Features(given.values.bfloat16().float(), given.labels)
    assert not torch.allclose(maps_of(view, spec, {"features": rounded}), maps, rtol=1e-4)


# Known answers


def planted(count):
    """References with a channel that is silent in them (0) and one that varies (1); an image that is their mean but
    for channel 0 in one cell and, by a standard deviation, channel 1 in another.
    """
    values = torch.from_numpy(np.random.default_rng(0).uniform(1, 2, (count, 12)).astype(np.float32))
    values[:, 0], values[:, 4:] = 0, 1.5
    acts = values.double().mean(0)[None, :, None, None].repeat(1, 1, 4, 4)
    acts[0, 0, 1, 2] = 1.0
    acts[0, 1, 3, 0] += 16 * values[:, 1].std()
    view = SimpleNamespace(acts=acts.float(), prefix=torch.zeros(1, 0, 12), net=None, labels=Labels(["a"]))
    return view, {"features": Features(values, torch.zeros(count, 1, dtype=torch.long))}


@pytest.mark.parametrize("count", [8, 40])
def test_what_only_the_image_has_is_found_and_what_it_shares_is_not(count):
    view, given = planted(count)
    maps = maps_of(view, "diffcam:group=same,centred=true", given, torch.tensor([[0]]))[0, 0]
    assert maps.argmax() == 1 * 4 + 2
    rest = maps.flatten().index_fill(0, torch.tensor([6]), 0)
    assert rest.abs().max() < 0.05 * maps.max()
    # Without a matrix the shared channel wins: it is the scatter that tells them apart.
    plainly = maps_of(view, "diffcam:group=same,centred=true,matrix=identity", given, torch.tensor([[0]]))[0, 0]
    assert plainly.argmax() == 3 * 4 + 0
    facts = facts_of(view, "diffcam:group=same,alpha=1e-6", given, torch.tensor([[0]]))
    assert facts["top_channel_share"] > 0.9  # spec C3: a silent channel takes all


def test_on_scenes_of_two_objects_the_map_follows_the_class_and_the_matrix_earns_it(scenes_model, tmp_path):
    """Spec K7 and K1, with a trained network: the plain difference of means cannot part the two objects."""
    items = scenes.open_dataset(None, scenes_model.labels, 0).items[:184]
    held_out_scenes = Dataset("scenes", "", items[24:], scenes.read)
    (need,) = parse_method("diffcam").needs
    given = {need.name: build([need], scenes_model, held_out_scenes, tmp_path, 32).values[need.key]}
    images = [scenes_model.transform(scenes.read(item)) for item in items[:24]]
    view = scenes_model.view(lambda: scenes_model.batch(images), list(range(24)))
    masks = torch.stack([torch.from_numpy(scenes.masks(item)) for item in items[:24]]).float()
    classes = torch.tensor([item.labels for item in items[:24]])

    def share_on_own_object(spec):
        shares = mass(upsample(maps_of(view, spec, given, classes), view.size))
        on = torch.einsum("bmhw,bnhw->bmn", shares, masks)
        return (on.diagonal(dim1=1, dim2=2) > on.flip(2).diagonal(dim1=1, dim2=2)).float().mean()

    assert share_on_own_object("diffcam") > 0.95
    assert share_on_own_object("diffcam:group=others") > 0.95
    assert share_on_own_object("diffcam:matrix=identity") < 0.8
    assert share_on_own_object("diffcam:group=same") < 0.5  # what is unlike the class is the other object


def test_the_own_class_is_left_out_unless_asked_for(view):
    """Leaving it out equals never having seen it; near z, it takes off what the image shares with its class."""
    z = read(view, "auto")
    given = reference(MANY, near=z)["features"]
    values, labels = given.values.clone(), given.labels[:, 0]
    values[labels == 0] = z[0] + 0.01 * torch.randn(20, C, generator=torch.Generator().manual_seed(0))
    full = {"features": Features(values, given.labels)}
    without = {"features": Features(values[labels != 0], given.labels[labels != 0])}
    outside, inside = (maps_of(view, f"diffcam:own={flag}", full) for flag in ("false", "true"))
    assert torch.allclose(outside[0, 0], maps_of(view, "diffcam", without)[0, 0], rtol=1e-4)
    assert not torch.allclose(outside[0, 1], maps_of(view, "diffcam", without)[0, 1], rtol=0.1)  # class 3 has a 0
    assert torch.allclose(inside[:, 0], inside[:, 1])
    distances = [facts_of(view, f"diffcam:own={flag}", full)["squared_distance"][0, 0] for flag in ("false", "true")]
    assert distances[1] < 0.1 * distances[0]


def test_one_reference_leaves_the_difference_and_none_leaves_no_map(view):
    labels = torch.tensor([[0], [1], [2], [3], [3], [3]])
    values = reference(6)["features"].values
    values[4:] = values[3]  # class 3: copies of one
    given = {"features": Features(values, labels)}
    maps = maps_of(view, "diffcam:group=same", given)
    for b, m, u in [(0, 0, 0), (0, 1, 3), (1, 0, 1), (2, 1, 2)]:
        delta = read(view, "auto")[b] - values[u]
        expected = torch.einsum("c,chw->hw", delta, view.acts[b])
        scale = maps[b, m].norm() / expected.norm()
        assert torch.allclose(maps[b, m], scale * expected, rtol=1e-3, atol=1e-4 * maps[b, m].abs().max().item())
        assert u == 3 or scale.item() == pytest.approx(1, rel=1e-5)
    assert maps[1, 1].isnan().all()  # no image shows class 6
    assert maps[2, 0].isnan().all()
    facts = facts_of(view, "diffcam:group=same", given)
    assert facts["references"].tolist() == [[1, 3], [1, 0], [0, 1]]
    assert facts["squared_distance"].isnan().tolist() == [[False, False], [False, True], [True, False]]


@pytest.mark.parametrize("matrix", ["full", "diagonal", "identity", "ledoitwolf", "projected"])
def test_where_only_the_own_class_is_known_there_is_no_neighbour(view, matrix):
    given = {"features": Features(reference(4)["features"].values, torch.zeros(4, 1, dtype=torch.long))}
    maps = maps_of(view, f"diffcam:matrix={matrix}", given)
    assert maps.isnan().all((-2, -1)).tolist() == [[True, False], [False, False], [False, False]]
    assert facts_of(view, f"diffcam:matrix={matrix}", given)["references"].tolist() == [[0, 1], [1, 1], [1, 1]]


# Models without classes, and vision transformers


@pytest.mark.parametrize("spec", ["diffcam:k=5", "diffcam:group=others"])
def test_a_model_without_classes_is_compared_with_the_images_themselves(tmp_path, spec):
    net = make_net("test_resnet", classes=0)
    view = make_view(net, make_images(side=96))
    method = parse_method(spec)
    assert method.unfit(SimpleNamespace(net=net, layer="features", labels=view.labels, outputs=SOFTMAX), HELD) is None
    references = held_out(net, method, tmp_path, 96)
    maps = method.saliency(view, torch.full((3, 1), -1), references)
    values = references["features"].values.numpy().astype(np.float64)
    for b in range(3):
        z = view.acts[b].mean((-2, -1)).numpy()
        chosen = values[np.linalg.norm(values - z, axis=1).argsort()[:5]] if "k=5" in spec else values
        expected = np.tensordot(plain(z, chosen)[0], view.acts[b].numpy().astype(np.float64), axes=1)
        assert maps[b, 0].numpy() == pytest.approx(expected, rel=1e-4, abs=1e-5 * abs(expected).max())


@pytest.mark.parametrize("z", ["auto", "pool", "token", "all", "both"])
def test_the_readings_of_a_vision_transformer(z):
    view = make_view(make_net("test_vit"), make_images(side=160), "norm")
    token, patches = view.prefix[:, 0], view.acts.flatten(2)
    by_reading = {
        "auto": token,
        "pool": patches.mean(-1),
        "token": token,
        "all": torch.cat([token[..., None], patches], -1).mean(-1),
        "both": torch.cat([token, patches.mean(-1)], -1),
    }
    given = reference(20, by_reading[z].shape[1], near=by_reading[z])
    maps = maps_of(view, f"diffcam:group=images:x,centred=true,z={z}", given)
    for b in range(3):
        w, delta, _ = plain(by_reading[z][b].numpy(), given["features"].values)
        mean = by_reading[z][b].numpy() - delta
        centred = view.acts[b].numpy().astype(np.float64) - mean[-64:, None, None]
        expected = np.tensordot(w[-64:], centred, axes=1)  # of `both`, the half of the patches
        assert maps[b, 0].numpy() == pytest.approx(expected, rel=1e-4, abs=1e-5 * abs(expected).max())


# What is said


def test_facts_equal_their_formulas(view):
    given = reference(MANY, near=view.acts.mean((-2, -1)))
    values, labels = given["features"].values, given["features"].labels[:, 0]
    z = read(view, "auto").numpy().astype(np.float64)
    for spec, group in [("group=others", lambda u: values[labels != u]), ("group=same", lambda u: values[labels == u])]:
        facts = facts_of(view, f"diffcam:{spec},relu=true", given)
        for b, row in enumerate(CLASSES.tolist()):
            for m, u in enumerate(row):
                x = group(u).numpy().astype(np.float64)
                w, delta, total = plain(z[b], x)
                spectrum = np.linalg.svd(x - x.mean(0), compute_uv=False) ** 2
                parts = abs(w * z[b])
                signed = np.tensordot(w, view.acts[b].numpy().astype(np.float64), axes=1)
                expected = {
                    "squared_distance": delta @ np.linalg.solve(total, delta),
                    "references": len(x),
                    "top_channel_share": parts.max() / parts.sum(),
                    "effective_rank": spectrum.sum() ** 2 / (spectrum**2).sum(),
                    "negative_share": -signed.clip(max=0).sum() / abs(signed).sum(),
                }
                assert {name: float(fact[b, m]) for name, fact in facts.items()} == pytest.approx(expected, rel=1e-3)
    assert ((facts["negative_share"] > 0.01) & (facts["negative_share"] < 0.99)).any()


def test_the_rectified_map_is_the_positive_part(view):
    values = reference(MANY)["features"].values
    values = values - values.mean(0) + read(view, "auto")[0] - 0.01  # about the first image, so that D^2 is small
    given, rectified = {"features": Features(values, torch.arange(MANY)[:, None] % 7)}, {}
    for centred in ("true", "false"):
        spec = f"diffcam:group=others,centred={centred}"
        signed, rectified[centred] = (maps_of(view, f"{spec},relu={flag}", given) for flag in ("false", "true"))
        assert signed[0].amin() < 0 < signed[0].amax()
        assert torch.equal(rectified[centred], signed.clamp(min=0))
    assert not torch.allclose(rectified["true"], rectified["false"], rtol=0.1)


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("k=0", "k is at least 1"),
        ("alpha=0", "alpha positive"),
        ("alpha=nan", "it takes finite numbers"),
        ("group=nearest", "it is one of knn, others"),
        ("group=class:", "it is one of knn, others"),
        ("group=knn:3", "it is one of knn, others"),
        ("group=class:class 99", "class 9"),
        ("group=class:class 6", "no held-out image shows it"),
        ("z=token", "take z=pool"),
        ("matrix=projected,group=others", "140 references for 48 channels"),
    ],
)
def test_what_does_not_fit_is_one_line(view, spec, says):
    labels = torch.arange(MANY)[:, None] % 6
    labels[labels == 0] = 7
    with pytest.raises(SalcheckError, match=says):
        maps_of(view, f"diffcam:{spec}", reference(MANY, labels=labels))


def test_more_neighbours_than_channels_leave_nothing_to_project_on(view):
    given = reference(MANY, labels=torch.full((MANY, 0), -1))
    with pytest.raises(SalcheckError, match="60 references for 48 channels"):
        maps_of(view, "diffcam:matrix=projected,k=60", given)
    assert maps_of(view, "diffcam:matrix=projected,k=30", given).isfinite().all()


def test_references_without_classes_or_images_are_one_line(view):
    with pytest.raises(SalcheckError, match="known classes"):
        maps_of(view, "diffcam:group=same", reference(FEW, labels=torch.full((FEW, 0), -1)))
    unsound = reference(FEW)
    unsound["features"].values[3, 4] = torch.nan
    with pytest.raises(SalcheckError, match="not finite"):
        maps_of(view, "diffcam:matrix=projected", unsound)
    with pytest.raises(SalcheckError, match="none of them could be read"):
        maps_of(view, "diffcam", {"features": Features(torch.zeros(0, 0), torch.zeros(0, 0, dtype=torch.long))})


def test_the_reference_is_the_held_out_images_or_a_folder_of_the_user_s_own():
    keys = {spec: parse_method(spec).needs[0].key for spec in ("diffcam", "diffcam:group=class:a", "diffcam:k=3")}
    assert set(keys.values()) == {"features"}
    (own,) = parse_method("diffcam:group=images:/some/where,z=pool").needs
    assert own.parameters == {"images": "/some/where", "z": "pool"}
    assert not parse_method("diffcam").seeded
