import numpy as np
import pytest
import torch

from salcheck.datasets import scenes
from salcheck.diagnostics import contrastive
from salcheck.diagnostics.contrastive import check
from salcheck.errors import SalcheckError
from salcheck.maps.notes import Kind, Note
from salcheck.methods import parse_method
from salcheck.questions import QUESTIONS
from tests.diagnostics.memories import with_memory
from tests.linear import LinearNet, linear_view, red
from tests.nets import make_images, make_net, make_view
from tests.planted import plant

score = with_memory(contrastive.score)

ABOVE = torch.tensor([1.0, 1.0, 0.0, 0.0])[:, None].expand(4, 4)
CLASSES = torch.tensor([[0, 1]])


def rows_view():
    """u sees a white picture's upper half with weight 1 each, s_u = 8; v the lower one with 1/2, s_v = 4."""
    net = LinearNet(red(torch.stack([ABOVE, (1 - ABOVE) / 2])))
    return linear_view(net, red(torch.ones(4, 4))[None])


def first_row() -> torch.Tensor:
    """A map that is positive in the first row alone, and highest at its left."""
    pixels = torch.zeros(4, 4)
    pixels[0] = torch.tensor([4.0, 3.0, 2.0, 1.0])
    return pixels


@pytest.mark.oracle
def test_by_hand():
    """1 pixel and 4 pixels of the row that either map marks: each costs u 1, or v 1/2."""
    maps = torch.stack([first_row(), first_row().flip(0)])[None]
    scores = score(rows_view(), CLASSES, maps, percent=(5.0, 25.0, 30.0))
    assert scores.levels == (5.0, 25.0, 30.0)
    assert scores.notes == [None]
    expected = {"own": [1, 4, torch.nan], "other": [-0.5, -2, torch.nan], "contrast": [1.5, 6, torch.nan]}
    for name, value in scores.values.items():
        assert value[0].tolist() == pytest.approx(expected[name], nan_ok=True), name
    assert scores.gap.kind is Kind.BLANK


def test_the_metrics_are_those_of_the_question():
    maps = torch.stack([first_row(), first_row().flip(0)])[None]
    assert set(score(rows_view(), CLASSES, maps).values) == set(QUESTIONS["contrastive"].metrics)


@pytest.mark.parametrize("few", [0, 1])
def test_a_level_has_no_score_where_one_of_the_maps_has_too_few_positive_pixels(few):
    maps = 1 + torch.rand(1, 2, 4, 4)
    maps[0, few] = first_row()
    for ties, known in (("none", [True, False]), ("random", [True, True])):
        values = score(rows_view(), CLASSES, maps, percent=(25.0, 50.0), ties=ties).values
        assert all(value[0].isfinite().tolist() == known for value in values.values())


@pytest.fixture(scope="module")
def real():
    """Three images of a random ResNet for five of seven classes, and signed maps, most of them positive."""
    view = make_view(make_net("test_resnet"), make_images(side=56)[:, :, :48])  # wider than high
    maps = 1 + torch.randn(3, 2, 7, 7, generator=torch.Generator().manual_seed(1))
    return view, torch.tensor([[0, 3], [6, 2], [3, 5]]), maps


@pytest.mark.oracle
@pytest.mark.parametrize("output", ["logit", "softmax"])
def test_equals_a_loop_over_images_maps_and_levels(real, output):
    view, classes, maps = real
    percent = (5.0, 33.0)
    found = score(view, classes, maps, percent=percent, output=output, ties="position").values

    def margin(image, u, v):
        scores = view.net(image[None])[0].double()
        scores = scores.softmax(0) if output == "softmax" else scores
        return (scores[u] - scores[v]).item()

    pixels = torch.nn.functional.interpolate(maps, size=(48, 56), mode="bilinear").numpy()
    for index, (u, v) in enumerate(classes.tolist()):
        for level, size in enumerate(round(p / 100 * 48 * 56) for p in percent):
            falls = []
            for one in pixels[index]:
                image = view.images[index].clone().flatten(1)
                image[:, np.argsort(-one.ravel(), kind="stable")[:size].copy()] = 0
                falls.append(margin(view.images[index], u, v) - margin(image.view(3, 48, 56), u, v))
            expected = {"own": falls[0], "other": falls[1], "contrast": falls[0] - falls[1]}
            measured = {name: value[index, level].item() for name, value in found.items()}
            assert measured == pytest.approx(expected, abs=1e-5)


def test_maps_that_do_not_know_the_class_have_no_contrast_at_all(real):
    view, classes, maps = real
    blind = maps[:, :1].expand(-1, 2, -1, -1)
    found = score(view, classes, blind).values
    assert (found["contrast"] == 0).all()
    assert (found["own"] != 0).all()


def test_images_without_the_same_pixels_are_forwarded_once():
    net = LinearNet(torch.rand(2, 3, 8, 8))
    view = linear_view(net, torch.rand(3, 3, 8, 8), batch_size=4)
    maps = torch.rand(3, 1, 8, 8).expand(-1, 2, -1, -1)
    score(view, torch.tensor([[0, 1]] * 3), maps, percent=(25.0, 50.0))
    assert sum(net.forwarded) == 3 + 3 * 2
    assert max(net.forwarded) == 4  # all levels and maps are one list of jobs


def test_the_contrast_is_the_same_with_the_classes_exchanged(real):
    view, classes, maps = real
    one, other = (score(view, c, m).values for c, m in ((classes, maps), (classes.flip(1), maps.flip(1))))
    for name, expected in {"contrast": other["contrast"], "own": -other["other"], "other": -other["own"]}.items():
        assert one[name].numpy() == pytest.approx(expected.numpy(), abs=1e-6), name


def test_maps_exchanged_without_their_classes_turn_the_contrast_around(real):
    view, classes, maps = real
    assert torch.equal(
        score(view, classes, maps).values["contrast"], -score(view, classes, maps.flip(1)).values["contrast"]
    )


@pytest.mark.parametrize("ties", ["none", "random"])
@pytest.mark.parametrize(("value", "reason"), [(-1, "no positive value"), (1, "constant")])
@pytest.mark.parametrize("which", [0, 1])
def test_an_image_has_no_score_where_one_of_its_maps_is_blank(real, which, value, reason, ties):
    view, classes, maps = real
    changed = maps.clone()
    changed[1, which] = value
    changed[1, which, 0, 0] *= 2 if value < 0 else 1
    scores = score(view, classes, changed, ties=ties)
    assert scores.notes == [None, Note(Kind.BLANK, f"{reason}"), None]
    whole = score(view, classes, maps, ties=ties).values
    for name, values in scores.values.items():
        assert values[1].isnan().all()
        assert torch.equal(values[[0, 2]], whole[name][[0, 2]])


@pytest.mark.parametrize("fill", ["mean", "zero", "grey", "blur", "inpaint"])
def test_every_fill_runs(real, fill):
    view, classes, maps = real
    assert score(view, classes, maps, fill=fill).values["contrast"].isfinite().all()


@pytest.mark.parametrize("percent", [(0.0,), (5.0, 101.0), ()])
def test_senseless_percentages_are_refused(percent):
    with pytest.raises(SalcheckError, match="percent="):
        check(percent=percent)


@pytest.fixture(scope="module")
def planted(scenes_model):
    """Two-object scenes with their classes (B, 2) and exact masks (B, 2, H, W)."""
    return plant(scenes_model, scenes.open_dataset(None, scenes_model.labels, 0).items[:32])


def test_the_true_pixels_have_a_contrast_and_exchanged_ones_its_negative(planted):
    """Objects cover 4.2 % of the picture at least."""
    view, classes, masks = planted
    found = score(view, classes, masks.float(), percent=(4.0,)).values
    assert (found["contrast"] > 0).float().mean() > 0.9
    assert found["contrast"].median() > 3
    assert found["own"].median() > 1 and found["other"].median() < -1
    exchanged = score(view, classes, masks.flip(1).float(), percent=(4.0,)).values
    assert torch.equal(exchanged["contrast"], -found["contrast"])


def test_on_scenes_gradcam_has_a_contrast_and_noise_has_none(planted):
    view, classes, _ = planted
    found = {}
    for name in ("gradcam", "random"):
        maps = parse_method(name).saliency(view, classes)
        found[name] = score(view, classes, maps, percent=(10.0,)).values["contrast"]
    assert (found["gradcam"] > 0).float().mean() > 0.95
    assert found["gradcam"].median() > 5
    assert found["random"].median().abs() < 1
    assert 0.25 < (found["random"] > 0).float().mean() < 0.75
