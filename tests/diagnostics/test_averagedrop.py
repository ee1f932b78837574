import contextlib
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pytorch_grad_cam.metrics.cam_mult_image import DropInConfidence, IncreaseInConfidence
from pytorch_grad_cam.utils.model_targets import ClassifierOutputSoftmaxTarget
from scipy.stats import hmean, pearsonr
from torchcam.metrics import ClassificationMetric

from salcheck.datasets import scenes
from salcheck.diagnostics.averagedrop import score
from salcheck.maps.notes import Kind, Note
from salcheck.methods import parse_method
from salcheck.perturb.canvas import canvas
from salcheck.questions import QUESTIONS
from tests.linear import LinearNet, linear_view, red
from tests.nets import make_images, make_net, make_view
from tests.planted import plant

LOG3 = math.log(3)
TOP = torch.tensor([1.0, 1.0, 0.0, 0.0])[:, None].expand(4, 4)  # a map that is high above, and 0 below
CLASS = torch.tensor([[0]])


def halves(above: float, below: float) -> torch.Tensor:
    """A red image (1, 3, 4, 4) of which each half sums to the number given."""
    return red(torch.where(TOP > 0, above / 8, below / 8))[None]


def sums_view(image: torch.Tensor):
    """A model of two classes, the one's logit the sum of the red pixels and the other's 0: softmax is a sigmoid."""
    return linear_view(LinearNet(torch.stack([red(torch.ones(4, 4)), torch.zeros(3, 4, 4)])), image)


def always(second: torch.Tensor):
    """A method that gives this map (H, W) for any image that it does not know yet."""
    return lambda view, classes: second.expand(len(view), 1, *second.shape)


def values_of(image, second=TOP.T, first=TOP, **parameters):
    scores = score(sums_view(image), CLASS, first[None, None], explain=always(second), **parameters)
    assert scores.notes == [None]
    return {name: value.item() for name, value in scores.values.items()}


@pytest.mark.oracle
def test_a_drop_by_hand():
    """Y = 9/10 on the whole, O = 3/4 on the upper half; the second map has nothing to do with the first."""
    found = values_of(halves(LOG3, LOG3))
    expected = {"drop": 1 / 6, "increase": 0, "gain": 0, "coherency": 1 / 2, "complexity": 1 / 2}
    assert found == pytest.approx({**expected, "adcc": 3 / (2 + 2 + 6 / 5)}, abs=1e-6)


def test_a_gain_by_hand():
    """Y = 1/4, for the lower half speaks against the class, and O = 3/4; the second map is the first, twice as high."""
    found = values_of(halves(LOG3, -2 * LOG3), second=2 * TOP)
    expected = {"drop": 0, "increase": 1, "gain": 2 / 3, "coherency": 1, "complexity": 1 / 2}
    assert found == pytest.approx({**expected, "adcc": 3 / (1 + 2 + 1)}, abs=1e-6)


@pytest.mark.parametrize(
    ("above", "below", "drop", "increase"),
    [(1, 1, 1 / 2, 0), (1, 2, 2 / 3, 0), (-2, 1, 1, 0), (-1, -2, 0, 1), (-3, 2, 2, 0)],
)
def test_a_drop_of_logits_is_relative_to_their_size_and_has_no_gain(above, below, drop, increase):
    found = values_of(halves(above, below), output="logit")
    assert "gain" not in found
    assert (found["drop"], found["increase"]) == pytest.approx((drop, increase), abs=1e-6)
    expected = 3 / (2 + 2 + 1 / (1 - drop)) if drop < 1 else 0
    assert found["adcc"] == pytest.approx(expected, abs=1e-6)


def test_adcc_is_0_and_no_division_by_0_where_a_part_is_0():
    assert values_of(halves(LOG3, LOG3), second=1 - TOP)["coherency"] == pytest.approx(0, abs=1e-6)
    assert values_of(halves(LOG3, LOG3), second=1 - TOP)["adcc"] == pytest.approx(0, abs=1e-6)
    lost = values_of(halves(-500, 700))
    assert (lost["drop"], lost["adcc"]) == (1, 0)


def test_a_score_of_exactly_1_has_nothing_to_gain():
    found = values_of(halves(100, 100))
    assert (found["drop"], found["gain"], found["increase"]) == (0, 0, 0)


def test_the_metrics_are_those_of_the_question():
    assert set(values_of(halves(1, 1))) == set(QUESTIONS["averagedrop"].metrics)


@pytest.fixture(scope="module")
def real():
    """Three random images of a random ResNet, chunks of two, with Grad-CAM and its maps."""
    view = make_view(make_net("test_resnet"), make_images(), seeds=[5, 6, 7])
    view.batch_size = 2
    classes = view.logits.argmax(1, keepdim=True)
    gradcam = parse_method("gradcam")
    return view, classes, gradcam, gradcam.saliency(view, classes)


def masks_of(maps: torch.Tensor) -> torch.Tensor:
    """(B, H, W) in 0...1, as every formula below takes them."""
    pixels = F.interpolate(maps, size=(56, 56), mode="bilinear")[:, 0].double()
    low, high = pixels.amin((1, 2), keepdim=True), pixels.amax((1, 2), keepdim=True)
    return ((pixels - low) / (high - low)).float()


@pytest.mark.oracle
def test_equals_a_loop_over_images_with_scipy(real):
    view, classes, gradcam, maps = real
    found = score(view, classes, maps, explain=gradcam.saliency).values
    for index, (image, mask) in enumerate(zip(view.images, masks_of(maps), strict=True)):
        alone = make_view(view.net, (image * mask)[None])
        u = int(classes[index])
        before, after = (view.net(x[None]).double().softmax(1)[0, u].item() for x in (image, image * mask))
        again = F.interpolate(gradcam.saliency(alone, classes[[index]]), size=(56, 56), mode="bilinear")
        parts = {
            "coherency": (1 + pearsonr(mask.numpy().ravel().astype(float), again.numpy().ravel())[0]) / 2,
            "complexity": np.abs(mask.numpy()).sum() / 56**2,
            "drop": max(0, before - after) / before,
        }
        expected = {**parts, "gain": max(0, after - before) / (1 - before), "increase": float(after > before)}
        expected["adcc"] = hmean([parts["coherency"], 1 - parts["complexity"], 1 - parts["drop"]])
        assert {name: value[index].item() for name, value in found.items()} == pytest.approx(expected, abs=1e-5)


class Given:
    """What torchcam takes for a method: it gives the masks that are there."""

    def __init__(self, model, masks):
        self.model, self._masks = model, masks

    def __call__(self, classes, scores):
        return [self._masks]

    def fuse_cams(self, cams):
        return cams[0]

    def _hooks_off(self):
        return contextlib.nullcontext()


@pytest.fixture(scope="module")
def many():
    """Twelve images of the model, and masks of noise under which scores fall and rise."""
    view = make_view(make_net("test_resnet"), make_images(count=12, seed=1))
    maps = torch.rand(12, 1, 56, 56, generator=torch.Generator().manual_seed(3))
    classes = torch.arange(12)[:, None] % 7
    values = score(view, classes, maps, explain=lambda seen, classes: torch.rand(len(seen), 1, 7, 7)).values
    assert 0 < values["increase"].sum() < 12
    return view, classes, masks_of(maps), values


def test_drop_and_increase_equal_those_of_torchcam(many):
    view, classes, masks, found = many
    metric = ClassificationMetric(Given(view.net, masks), lambda logits: logits.softmax(-1))
    metric.update(view.images, classes[:, 0].tolist())
    summary = metric.summary()
    assert found["drop"].mean().item() == pytest.approx(summary["avg_drop"], abs=1e-6)
    assert found["increase"].mean().item() == pytest.approx(summary["conf_increase"], abs=1e-6)


@pytest.mark.oracle
def test_drop_and_increase_equal_those_of_grad_cam(many):
    view, classes, masks, found = many
    targets = [ClassifierOutputSoftmaxTarget(u) for u in classes[:, 0].tolist()]
    absolute = DropInConfidence()(view.images, masks.numpy(), targets, view.net)
    before = view.logits.softmax(1).gather(1, classes)[:, 0]
    assert found["drop"].numpy() == pytest.approx(absolute / before.numpy(), abs=1e-5)
    increase = IncreaseInConfidence()(view.images, masks.numpy(), targets, view.net)
    assert found["increase"].tolist() == increase.tolist()


def test_a_map_that_shows_all_but_one_pixel_loses_nothing_and_earns_nothing(real):
    """Fake-CAM of Poppi et al.: 1 everywhere but in one corner."""
    view, classes, *_ = real
    fake = torch.ones(3, 1, 56, 56)
    fake[..., 0, 0] = 0
    found = score(view, classes, fake, explain=lambda seen, classes: fake[: len(seen)]).values
    assert (found["drop"] < 0.05).all()
    assert found["coherency"].numpy() == pytest.approx(1, abs=1e-6)
    assert found["complexity"].numpy() == pytest.approx(1 - 1 / 56**2, abs=1e-6)
    assert (found["adcc"] < 0.001).all()


def test_a_map_counts_up_to_its_scale_and_height(real):
    view, classes, gradcam, maps = real
    one, other = (score(view, classes, m, explain=gradcam.saliency).values for m in (maps, 7 * maps + 3))
    for name, values in one.items():
        assert other[name].numpy() == pytest.approx(values.numpy(), abs=1e-4), name


def test_blank_maps_are_noted_and_never_shown_to_the_method():
    net = LinearNet(red(torch.rand(2, 4, 4)))
    view = linear_view(net, torch.rand(5, 3, 4, 4), seeds=[10, 11, 12, 13, 14], batch_size=2)
    maps = torch.rand(5, 1, 4, 4)
    maps[0], maps[2], maps[3, 0, 1, 1] = 0.5, -maps[2], torch.nan
    seeds, asked, seen_images = [], [], []

    def explain(seen, classes):
        seeds.append(seen.seeds)
        asked.extend(classes[:, 0].tolist())
        seen_images.append(seen.images)
        return seen.acts[:, :1]

    classes = torch.tensor([[0], [1], [0], [0], [0]])
    scores = score(view, classes, maps, explain=explain)
    reasons = [Note(Kind.BLANK, "constant"), Note(Kind.BLANK, "no positive value"), Note(Kind.BLANK, "not finite")]
    assert scores.notes == [reasons[0], None, reasons[1], reasons[2], None]
    assert (seeds, asked) == ([[11, 14]], [1, 0])
    assert net.forwarded == [2, 5]  # the masked images, for both their scores and their maps, and the images
    expected = torch.stack([view.images[row] * mask_by_hand(maps[row, 0]) for row in (1, 4)])
    assert torch.cat(seen_images).numpy() == pytest.approx(expected.numpy(), abs=1e-6)
    for values in scores.values.values():
        assert values.isfinite().tolist() == [False, True, False, False, True]


def mask_by_hand(pixels: torch.Tensor) -> torch.Tensor:
    return (pixels - pixels.min()) / (pixels.max() - pixels.min())


def test_nothing_is_asked_where_all_maps_are_blank():
    view = sums_view(halves(1, 1))
    scores = score(view, CLASS, torch.zeros(1, 1, 4, 4), explain=None)
    assert scores.notes == [Note(Kind.BLANK, "no positive value")]
    assert all(values.isnan().all() for values in scores.values.values())


@pytest.mark.parametrize("second", [torch.full((4, 4), 0.3), torch.zeros(4, 4), -TOP, TOP / 0])
def test_a_second_map_that_is_blank_leaves_coherency_and_adcc_without_a_score(second):
    found = values_of(halves(LOG3, LOG3), second=second)
    assert math.isnan(found["coherency"]) and math.isnan(found["adcc"])
    assert (found["drop"], found["complexity"]) == pytest.approx((1 / 6, 1 / 2))
    assert score(sums_view(halves(1, 1)), CLASS, TOP[None, None], explain=always(second)).gap.kind is Kind.BLANK


@pytest.mark.parametrize("side", [48, 56])
def test_constant_maps_on_a_grid_are_blank_at_any_size(side):
    """Upsampled from 7 x 7 to 48 pixels, equal values differ in their last bits."""
    view = linear_view(LinearNet(torch.rand(2, 3, side, side)), torch.rand(2, 3, side, side))
    maps = torch.rand(2, 1, 7, 7)
    maps[0] = 0.3
    flat = lambda seen, classes: torch.full((len(seen), 1, 7, 7), 0.3)  # noqa: E731
    scores = score(view, torch.tensor([[0], [1]]), maps, explain=flat)
    assert scores.notes == [Note(Kind.BLANK, "constant"), None]
    assert scores.values["complexity"].isfinite().tolist() == [False, True]
    assert scores.values["coherency"].isnan().all()


@pytest.mark.parametrize("fill", ["mean", "zero", "grey", "blur"])
def test_what_is_hidden_is_the_fill(fill):
    mean, deviation = (0.5, 0.4, 0.3), (0.2, 0.25, 0.5)
    net = LinearNet(torch.rand(2, 3, 20, 24))
    view = linear_view(net, torch.rand(2, 3, 20, 24), normalisation=(mean, deviation))
    mask = torch.rand(2, 1, 20, 24)
    mask[:, 0, 0, 0], mask[:, 0, 0, 1] = 0, 1
    seen_images = []

    def explain(seen, classes):
        seen_images.append(seen.images)
        return mask[: len(seen)]

    found = score(view, torch.tensor([[0], [1]]), mask, explain=explain, fill=fill)
    expected = mask * view.images + (1 - mask) * canvas(view, fill)
    assert torch.cat(seen_images).numpy() == pytest.approx(expected.numpy(), abs=1e-5)
    after = net(expected).softmax(1).diagonal()
    before = net(view.images).softmax(1).diagonal()
    assert found.values["drop"].numpy() == pytest.approx(((before - after).clamp(min=0) / before).numpy(), abs=1e-4)


def test_out_of_memory_the_chunk_halves():
    weights, images, maps = torch.rand(2, 3, 4, 4), torch.rand(5, 3, 4, 4), torch.rand(5, 1, 4, 4)
    classes = torch.tensor([[0], [1], [0], [1], [1]])
    explain = lambda seen, classes: seen.acts[:, :1]  # noqa: E731
    expected = score(linear_view(LinearNet(weights), images), classes, maps, explain=explain)
    net = LinearNet(weights)
    view = linear_view(net, images)
    assert view.logits.shape == (5, 2)
    net.most = 2
    found = score(view, classes, maps, explain=explain)
    assert net.forwarded == [5, 2, 2, 1]
    for name, values in expected.values.items():
        assert found.values[name].numpy() == pytest.approx(values.numpy(), abs=1e-6), name


def test_on_scenes_gradcam_beats_noise(scenes_model):
    items = scenes.open_dataset(None, scenes_model.labels, 0).items[:16]
    view, _, _ = plant(scenes_model, items)
    classes = view.logits.argmax(1, keepdim=True)
    found = {}
    for name in ("gradcam", "random"):
        method = parse_method(name)
        found[name] = score(view, classes, method.saliency(view, classes), explain=method.saliency).values
    assert found["random"]["coherency"].numpy() == pytest.approx(1, abs=1e-6)
    for metric in ("adcc", "gain", "increase"):
        assert found["gradcam"][metric].mean() > found["random"][metric].mean() + 0.1, metric
