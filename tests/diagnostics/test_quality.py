"""Libra-CAM's measures of a linear model against the formula in NumPy, and the laws that they keep."""

import numpy as np
import pytest
import torch

from salcheck.datasets import scenes
from salcheck.diagnostics import deletion, insertion, quality
from salcheck.errors import SalcheckError
from salcheck.maps.notes import Kind, Note
from salcheck.maps.ranking import unit
from salcheck.methods import fakecam
from salcheck.network.view import FEATURES, View
from salcheck.perturb.answers import Memory
from salcheck.perturb.canvas import canvas
from salcheck.questions import QUESTIONS
from salcheck.runs.asking import parse_question
from tests.diagnostics.memories import with_memory
from tests.nets import make_images, make_net, make_view
from tests.planted import plant

score = with_memory(quality.score)

SIDE = 12
READINGS = ("", "_in_loop", "_out_of_loop")
MEAN, DEVIATION = (0.4, 0.5, 0.6), (0.2, 0.25, 0.5)


class Linear(torch.nn.Module):
    """Logits that are linear in the pixels."""

    num_classes = 3

    def __init__(self, weights):
        super().__init__()
        self.weights = weights

    def forward_features(self, images):
        return images

    def forward_head(self, features):
        return features.flatten(1) @ self.weights.T

    def forward(self, images):
        return self.forward_head(self.forward_features(images))


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def linear():
    """Six pictures, and a model that is neither sure nor indifferent."""
    images = draw(12, 3, SIDE, SIDE, seed=1)
    view = make_view(Linear(draw(3, 3 * SIDE**2, seed=2) / SIDE), images)
    return View(view.net, FEATURES, lambda: images, view.size, range(12), view.labels, normalisation=(MEAN, DEVIATION))


MAPS, CLASSES = draw(12, 1, SIDE, SIDE, seed=3), (torch.arange(12) % 3)[:, None]


class InNumpy:
    """The measures of one picture, in double precision."""

    def __init__(self, view, b, output):
        self.image, self.weights = view.images[b].double().numpy(), view.net.weights.double().numpy()
        self.u, self.output, self.view, self.b = int(CLASSES[b]), output, view, b
        one = MAPS[b, 0].double().numpy()
        self.mask = (one - one.min()) / (one.max() - one.min())
        self.Y = self.score(self.image)

    def score(self, image):
        logits = self.weights @ image.ravel()
        return logits[self.u] if self.output == "logit" else (np.exp(logits) / np.exp(logits).sum())[self.u]

    def without(self, i):
        kept = self.mask.copy().ravel()
        kept[np.argsort(kept, kind="stable")[: i * SIDE**2 // 10]] = 0
        return kept.reshape(SIDE, SIDE)

    def behind(self, fill):
        mean, deviation = (np.array(part)[:, None, None] for part in (MEAN, DEVIATION))
        if fill == "blur":
            return canvas(self.view, "blur")[self.b].double().numpy()
        return {"mean": 0 * mean, "zero": -mean / deviation, "grey": (0.5 - mean) / deviation}[fill]

    def through(self, i, fill):
        mask = self.without(i)
        return self.score(mask * self.image + (1 - mask) * self.behind(fill))

    def best(self, fill, mode):
        gains = [self.through(i, fill) - self.Y for i in range(10)]
        return int(np.argmax(gains if mode == "unrectified" else np.maximum(gains, 0))) + (mode == "compat")

    def measures(self, i, fill):
        O = self.through(i, fill)  # noqa: E741
        api, apd = max(0, O - self.Y), max(0, self.Y - O)
        return {
            "change": O - self.Y,
            "api": api,
            "apd": apd,
            "api_relative": api / abs(self.Y),
            "apd_relative": apd / abs(self.Y),
            "ir": float(O > self.Y),
            "dr": float(O < self.Y),
            "mask_mean": self.without(i).mean(),
            "kept": np.count_nonzero(self.without(i)) / SIDE**2,
        }


@pytest.mark.oracle
@pytest.mark.parametrize(
    ("fill", "calibrate_on", "mode", "output"),
    [
        ("mean", "blur", "intended", "softmax"),
        ("zero", "mean", "unrectified", "softmax"),
        ("grey", "zero", "compat", "softmax"),
        ("blur", "mean", "intended", "logit"),
        ("mean", "zero", "compat", "logit"),
    ],
)
def test_equals_the_formula(linear, fill, calibrate_on, mode, output):
    found = score(linear, CLASSES, MAPS, fill=fill, calibrate_on=calibrate_on, mode=mode, output=output, steps=4)
    assert found.levels == [0, 10, 20, 30, 40, 50, 60, 70, 80, 90]
    assert found.notes == [None] * 12
    taken = []
    for b in range(12):
        one = InNumpy(linear, b, output)
        steps = [0, one.best(fill, mode), one.best(calibrate_on, mode)]
        for suffix, i in zip(READINGS, steps, strict=True):
            for name, value in one.measures(i, fill).items():
                assert float(found.values[name + suffix][b]) == pytest.approx(value, abs=2e-5, rel=2e-5), name + suffix
        through = [one.through(i, fill) for i in range(10)]
        assert found.values["through"][b].numpy() == pytest.approx(through, abs=2e-5)
        rises = np.maximum(np.array(through) - one.Y, 0)
        area = rises.sum() - (rises[0] + rises[9]) / 2
        assert float(found.values["auc_api_index"][b]) == pytest.approx(area, abs=1e-4)
        taken.append(steps)
    assert len({tuple(steps) for steps in taken}) > 3
    assert any(here != elsewhere for _, here, elsewhere in taken)


@pytest.mark.oracle
def test_a_case_by_hand():
    """One row of pixels that speak for the class or against it, under a map that ranks them 1, 2, 3, 4 by column."""
    images = torch.ones(1, 3, 4, 4)
    weights = torch.zeros(3, 3, 4, 4)
    weights[0, 0] = torch.tensor([-1.0, -1.0, 2.0, 2.0]) / 4  # logits 2 for the class, 0 for two others
    view = make_view(Linear(weights.flatten(1)), images)
    maps = torch.tensor([1.0, 2.0, 3.0, 4.0]).expand(1, 1, 4, 4)
    found = score(view, torch.tensor([[0]]), maps, output="logit", steps=2).values
    # The mask is 0, 1/3, 2/3, 1 by column, and the columns give 0 - 1/3 + 4/3 + 2. Up to 30 % only the first column
    # goes, which is zero anyway; then 2 and 4 pixels of -1/12, 1, 3 and 4 of the third column's 1/3, 2 of 1/2.
    top = 3 + 4 / 12
    expected = [3, 3, 3, 3, 3 + 2 / 12, top, top - 1 / 3, top - 3 / 3, top - 4 / 3, top - 4 / 3 - 2 / 2]
    assert found["through"][0].tolist() == pytest.approx(expected, abs=1e-5)
    assert float(found["api"]) == pytest.approx(1, abs=1e-5)
    assert float(found["api_in_loop"]) == pytest.approx(4 / 3, abs=1e-5)
    assert float(found["api_relative_in_loop"]) == pytest.approx(2 / 3, abs=1e-5)
    assert float(found["kept"]) == 0.75
    assert float(found["kept_in_loop"]) == 0.5
    assert float(found["mask_mean"]) == pytest.approx(0.5)
    assert float(found["mask_mean_in_loop"]) == pytest.approx((2 / 3 + 1) / 4)
    assert float(found["ir"]) == 1
    assert float(found["dr"]) == 0


def test_out_of_the_loop_is_chosen_on_the_other_canvas():
    """For a class that likes bright pixels, an image of ones between the mean colour, 0, and a "black" of 2.

    On the mean colour every pixel taken out costs, on black it pays: one takes none of the tenths, the other nine.
    """
    images, net = torch.ones(1, 3, 4, 4), Linear(torch.tensor([1.0, 0.0, 0.0])[:, None].expand(3, 48) / 48)
    labels = make_view(net, images).labels
    view = View(net, FEATURES, lambda: images, (4, 4), [0], labels, normalisation=((-2.0,) * 3, (1.0,) * 3))
    maps = torch.arange(1.0, 17).reshape(1, 1, 4, 4)
    found = score(view, torch.tensor([[0]]), maps, fill="mean", calibrate_on="zero", steps=1).values
    assert float(found["kept_in_loop"]) == float(found["kept"]) == 15 / 16
    assert float(found["kept_out_of_loop"]) == 2 / 16
    assert float(found["change_out_of_loop"]) == float(found["through"][0, 9] - view.logits.softmax(-1)[0, 0])
    assert float(found["change_out_of_loop"]) < float(found["change_in_loop"]) < 0


def test_equal_pixels_go_in_a_random_order():
    """Each pixel adds a power of two of its own, so that the score tells which are there."""
    weights = torch.zeros(3, 3, 16)
    weights[0, 0] = 2.0 ** torch.arange(16)
    view, classes = make_view(Linear(weights.flatten(1)), torch.ones(1, 3, 4, 4)), torch.tensor([[0]])
    found = score(view, classes, fakecam.saliency(view, classes), output="logit", steps=1).values
    drawn = torch.randperm(16, generator=torch.Generator().manual_seed(0)).tolist()
    drawn.remove(0)  # of the lowest value, it goes first
    for i, value in enumerate(found["through"][0].long().tolist()):
        left = {pixel for pixel in range(16) if value >> pixel & 1}
        assert left == set(drawn[: 16 - max(1, 16 * i // 10)])
    assert drawn[-3:] != [3, 2, 1]


def test_what_stays_the_same_neither_rises_nor_falls():
    """An image of the mean colour, seen through any map on the mean colour."""
    view = make_view(Linear(draw(3, 48, seed=2)), torch.zeros(1, 3, 4, 4))
    found = score(view, torch.tensor([[1]]), draw(1, 1, 4, 4), steps=1).values
    for name in ("change", "api", "apd", "ir", "dr", "api_relative", "apd_relative"):
        for suffix in READINGS:
            assert float(found[name + suffix]) == 0


@pytest.fixture(scope="module")
def net():
    """Random weights, with logits of mean 0 and deviation 1 over images: else all have one class, and as surely."""
    net = make_net("test_resnet")
    logits = net(make_images(24, 64))
    net.fc.weight.div_(logits.std(0)[:, None])
    net.fc.bias.sub_(logits.mean(0)).div_(logits.std(0))
    return net


COUNT = 12
NOISE = torch.rand(COUNT, 1, 4, 4, generator=torch.Generator().manual_seed(5))


@pytest.fixture(scope="module")
def noise(scenes_model):
    """What maps of noise get on scenes, and the score of each."""
    view, _, _ = plant(scenes_model, scenes.open_dataset(None, scenes_model.labels, 0).items[:COUNT])
    classes = view.logits.argmax(-1)[:, None]
    return score(view, classes, NOISE, steps=2).values, view.logits.softmax(-1).gather(1, classes)[:, 0]


def test_the_measures_of_an_image_add_up(noise):
    found, before = noise
    for suffix in READINGS:
        change, api, apd = (found[name + suffix] for name in ("change", "api", "apd"))
        assert torch.equal(api - apd, change)
        assert torch.equal(found[f"ir{suffix}"] + found[f"dr{suffix}"] + (change == 0), torch.ones(COUNT))
        assert 0 < found[f"ir{suffix}"].mean() < 1
        assert torch.allclose(found[f"api_relative{suffix}"] * before, api)
        assert torch.allclose(found[f"apd_relative{suffix}"] * before, apd)
    assert torch.equal(found["change"], found["through"][:, 0] - before)


def test_noise_earns_increase_in_the_loop_and_less_out_of_it(noise):
    """Spec 6.6: no fixed threshold does better than the calibrated one, of any map."""
    found, before = noise
    best = (found["through"] - before[:, None]).clamp(min=0).amax(dim=1)
    assert torch.equal(found["api_in_loop"], best)
    assert (found["api_in_loop"] >= found["api"]).all()
    assert (found["api_in_loop"] >= found["api_out_of_loop"]).all()
    for name in ("change", "api", "ir"):
        assert found[f"{name}_in_loop"].mean() > found[name].mean() + 0.05
        assert found[f"{name}_in_loop"].mean() > found[f"{name}_out_of_loop"].mean() + 0.05
    assert (found["auc_api_index"] <= 9 * best + 1e-6).all()
    assert found["auc_api_index"].mean() > found["api"].mean()


def test_the_areas_are_those_of_the_diagnostics(net):
    view, maps = make_view(net, make_images(3, 64)), NOISE[:3]
    classes = torch.tensor([[2], [0], [5]])
    for output in ("softmax", "logit"):
        found = score(view, classes, maps, output=output, steps=7).values
        for diagnostic, name in ((insertion, "insertion"), (deletion, "deletion")):
            alone = with_memory(diagnostic.score)(
                make_view(net, make_images(3, 64)), classes, maps, output=output, steps=7
            )
            assert torch.allclose(found[name], alone.values[name], atol=1e-5)
        assert not torch.allclose(found["insertion"], found["deletion"], atol=1e-2)


def test_a_mask_that_hides_nothing_changes_nothing(net):
    """Ones but for one pixel: no decrease to speak of, which looks like a perfect map (spec 6.7)."""
    view = make_view(net, make_images(3, 64))
    classes = torch.tensor([[2], [0], [5]])
    found = score(view, classes, fakecam.saliency(view, classes), steps=1).values
    assert found["change"].abs().max() < 0.02
    assert found["mask_mean"].tolist() == pytest.approx([1 - 1 / 64**2] * 3)
    assert found["kept"].tolist() == pytest.approx([1 - 1 / 64**2] * 3)
    centre = torch.zeros(3, 1, 64, 64)
    centre[..., 32, 32] = 1
    assert score(view, classes, centre, steps=1).values["apd"].max() > 0.1


def test_a_map_counts_by_its_own_lowest_and_highest_value(net):
    """Negative values are part of it."""
    view, classes = make_view(net, make_images(3, 64)), torch.tensor([[2], [0], [5]])
    signed = (draw(3, 1, 64, 64, seed=4) * 256).round() / 256  # so that the sum below is exact
    found = score(view, classes, signed, steps=2).values
    moved = score(view, classes, 4 * signed + 5, steps=2).values
    for name in ("through", "mask_mean_in_loop", "change_out_of_loop"):
        assert torch.allclose(found[name], moved[name], atol=1e-5)
    assert torch.allclose(found["mask_mean"], unit(signed[:, 0]).mean((-2, -1)))
    positive = score(view, classes, signed.clamp(min=0), steps=2).values
    assert not torch.allclose(found["through"], positive["through"], atol=1e-3)


def test_blank_maps_have_no_score_and_leave_the_others_theirs(net):
    view, classes = make_view(net, make_images(5, 64)), torch.tensor([[2], [0], [5], [1], [3]])
    maps = torch.cat([torch.ones(1, 1, 4, 4), NOISE[:2], -NOISE[2:3], NOISE[3:4]])
    maps[4, 0, 1, 1] = torch.nan
    scores = score(view, classes, maps, steps=2)
    assert scores.notes == [
        Note(Kind.BLANK, "constant"),
        None,
        None,
        Note(Kind.BLANK, "no positive value"),
        Note(Kind.BLANK, "not finite"),
    ]
    alone = score(view.part([1, 2]), classes[1:3], NOISE[:2], steps=2)
    for name, values in scores.values.items():
        assert values[[0, 3, 4]].isnan().all()
        assert torch.allclose(values[1:3], alone.values[name], atol=1e-5), name


def test_all_metrics_of_the_question_and_no_others(noise):
    assert set(noise[0]) == set(QUESTIONS["quality"].metrics)


def test_a_map_costs_twenty_images_the_same_map_none_and_a_blank_one_one_on_each_canvas(net):
    view, spent = make_view(net, make_images(2, 64)), []
    plain, memory, classes = view.forward, Memory(), torch.tensor([[2], [0]])
    view.forward = lambda images: spent.append(len(images)) or plain(images)

    def cost(maps, mode="intended"):
        for diagnostic in (insertion, deletion):  # what they ask is not asked again
            diagnostic.score(view, classes, maps, steps=3, memory=memory)
        spent.clear()
        score(view, classes, maps, steps=3, mode=mode, memory=memory)
        assert max(spent, default=0) <= view.batch_size
        return sum(spent)

    assert cost(NOISE[:2]) == 2 * 20
    assert cost(NOISE[:2] * 2) == 0  # of another method, which sees the same
    assert cost(NOISE[:2], "compat") == 2  # on one canvas all ten tenths
    assert cost(-NOISE[2:4]) == 2  # and on the other
    assert cost(-NOISE[4:6]) == 0


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ("quality:fill=blur", "fill=blur,calibrate_on=blur"),
        ("quality:fill=zero,calibrate_on=zero", "the same canvas"),
        ("quality:steps=0", "steps=0"),
        ("quality:fill=inpaint", "one of mean, zero, grey, blur"),
    ],
)
def test_what_does_not_fit_is_one_line(typed, says):
    with pytest.raises(SalcheckError, match=says):
        parse_question(typed)
    assert parse_question("quality:fill=blur,calibrate_on=mean").parameters["calibrate_on"] == "mean"
