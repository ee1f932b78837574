import numpy as np
import pytest
import torch
from scipy import stats

from salcheck.datasets import scenes
from salcheck.diagnostics import overlap
from salcheck.diagnostics.stability import level_names, score
from salcheck.errors import SalcheckError
from salcheck.maps.notes import Kind, Note
from salcheck.methods import center, gradxinput, layercam, random
from salcheck.perturb import augment
from salcheck.perturb.augment import CHANGES, changed
from salcheck.runs.asking import parse_question
from tests.nets import make_images, make_net, make_view
from tests.planted import plant

NAMES = tuple(CHANGES)
PHOTOMETRIC = ("brightness", "contrast", "noise", "blur")
CLASSES = torch.tensor([[2], [5], [0]])


@pytest.fixture(scope="module")
def net():
    return make_net("test_resnet")


@pytest.fixture(scope="module")
def view(net):
    """Pictures of 84 x 56 pixels within black and white, in a normalisation of black 0 and white 1."""
    return make_view(net, (0.5 + 0.15 * make_images(3, 84, seed=1)[:, :, :, :56]).clamp(0, 1))


def first_colour(view, classes):
    return view.images[:, :1]


def test_maps_that_move_with_the_picture_agree_with_themselves(view):
    """The map is the picture: only what is interpolated or changes its light is not the same."""
    values = score(view, CLASSES, first_colour(view, CLASSES), explain=first_colour).values
    assert values["shared"].shape == values["spearman"].shape == values["same_class"].shape == (3, 8)
    by_name = dict(zip(NAMES, values["spearman"].T, strict=True))
    for name in ("flip", "shift", "odd-shift", "brightness", "contrast"):
        torch.testing.assert_close(by_name[name], torch.ones(3, dtype=torch.double), atol=2e-5, rtol=0)
    shared = dict(zip(NAMES, values["shared"].T, strict=True))
    for name in ("flip", "shift", "odd-shift", "contrast"):
        assert shared[name].tolist() == [100] * 3
    for name in ("zoom", "noise", "blur"):
        assert (by_name[name] > 0.5).all()
        assert (by_name[name] < 0.9999).all()


def test_maps_that_stay_where_they_are_agree_only_where_nothing_moves(view):
    for explain in (random.saliency, center.saliency):
        maps = explain(view, CLASSES)
        values = score(view, CLASSES, maps, changes=PHOTOMETRIC, explain=explain).values
        assert (values["shared"] == 100).all()
        torch.testing.assert_close(values["spearman"], torch.ones(3, 4, dtype=torch.double), atol=2e-5, rtol=0)
    noise = torch.rand(3, 1, 84, 56, generator=torch.Generator().manual_seed(0))
    moved = score(view, CLASSES, noise, changes=("flip", "shift"), explain=lambda view, classes: noise).values
    assert (moved["shared"] < 10).all()
    assert moved["spearman"].abs().max() < 0.1


@pytest.mark.oracle
@pytest.mark.parametrize("name", [name for name in NAMES if name != "zoom"])  # interpolated: see tests/test_augment.py
@pytest.mark.parametrize("method", [layercam, gradxinput])
def test_equals_plain_numpy(net, view, name, method):
    """The pixels that both show, and where they come from, written down here anew."""
    H, W = view.size
    y, x = np.mgrid[:H, :W]
    sources = {"flip": (y, W - 1 - x), "shift": (y + 2, x + 2), "odd-shift": (y - 1, x - 1)}
    other = make_view(net, changed(view, slice(0, 3), name))
    maps = method.saliency(view, CLASSES)
    found = score(view, CLASSES, maps, percent=10, changes=(name,), explain=method.saliency).values
    to, at = sources.get(name, (y, x))
    both = (to >= 0) & (to < H) & (at >= 0) & (at < W)
    size = round(0.1 * both.sum())
    for b in range(3):
        u, v = (_pixels(one[b, 0], (H, W)) for one in (maps, method.saliency(other, CLASSES)))
        u, v = u[both], v[to[both], at[both]]
        rank = stats.spearmanr(u, v).statistic
        assert found["spearman"][b, 0].item() == pytest.approx(rank, abs=2e-4)
        if (u > 0).sum() >= size and (v > 0).sum() >= size:
            tops = [set(np.argsort(-one, kind="stable")[:size].tolist()) for one in (u, v)]
            expected = 100 * len(tops[0] & tops[1]) / size
            assert found["shared"][b, 0].item() == pytest.approx(expected, abs=200 / size)  # last bits at the cut
        stays = other.logits[b].argmax().item() == CLASSES[b].item()
        assert found["same_class"][b, 0].item() == stays


def _pixels(grid, size):
    return torch.nn.functional.interpolate(grid[None, None], size, mode="bilinear")[0, 0].double().numpy()


def test_a_set_is_that_of_the_question_on_two_classes(view):
    """What rq1 says of two maps, stability says of the same two; signs count for ranks alone."""
    own, other = torch.randn(2, 3, 1, 7, 5, generator=torch.Generator().manual_seed(0))
    expected = overlap.score(view, CLASSES.repeat(1, 2), torch.cat([own, other], 1), percent=20)
    found = score(view, CLASSES, own, percent=20, changes=("noise",), explain=lambda view, classes: other).values
    torch.testing.assert_close(found["shared"], expected.values["overlap"], rtol=1e-6, atol=0)
    assert (found["shared"] > 0).all()


def test_agreement_is_the_mean_over_the_changes_that_leave_the_class(view, net):
    """A head that only sees whether the left is lighter than the right: flipped, every picture is of another class."""
    maps = first_colour(view, CLASSES)

    def explain(view, classes):
        view.__dict__["_pass"] = type("Said", (), {"scores": said(view.images)})()
        return view.images[:, :1]

    def said(images):
        half = images.shape[-1] // 2
        left, right = images[..., :half].mean((1, 2, 3)), images[..., half:].mean((1, 2, 3))
        return torch.stack([left, right], dim=1)

    classes = said(view.images).argmax(1)[:, None]
    values = score(view, classes, maps, changes=("flip", "noise", "blur"), explain=explain).values
    assert values["same_class"].tolist() == [[0, 1, 1]] * 3
    torch.testing.assert_close(values["agreement"], values["shared"][:, 1:].mean(1))
    assert (values["shared"][:, 0] == 100).all()  # said, and not counted
    assert (values["agreement"] < 100).all()
    scores = score(view, 1 - classes, maps, changes=("noise",), explain=explain)
    assert scores.values["agreement"].isnan().all()
    assert scores.notes == [None] * 3
    assert "no change leaves the class" in scores.gap.why


def test_the_class_that_is_explained_stays_that_of_the_image(view):
    asked = []

    def explain(view, classes):
        asked.append(classes)
        return view.images[:, :1]

    score(view, CLASSES, first_colour(view, CLASSES), changes=("flip", "blur"), explain=explain)
    assert torch.stack(asked).tolist() == [CLASSES.tolist()] * 2


def test_blank_maps_have_no_score_and_a_blank_one_of_a_changed_image_leaves_a_gap(view):
    maps = first_colour(view, CLASSES).clone()
    maps[0] = 0
    maps[1, 0, 5, 5] = torch.nan

    def explain(view, classes):
        gone = view.images[2:].mean() > changed_mean
        return view.images[:, :1] * (0 if gone else 1)

    changed_mean = view.images[2:].mean() + 0.05
    scores = score(view, CLASSES, maps, changes=("brightness", "noise"), explain=explain)
    assert scores.notes == [Note(Kind.BLANK, "no positive value"), Note(Kind.BLANK, "not finite"), None]
    for values in scores.values.values():
        assert values[:2].isnan().all()
    assert scores.values["shared"][2].isnan().tolist() == [True, False]
    assert scores.values["spearman"][2].isnan().tolist() == [True, False]


def test_a_batch_equals_single_images(net, view):
    together = score(view, CLASSES, layercam.saliency(view, CLASSES), explain=layercam.saliency).values
    for b in range(3):
        alone = make_view(net, view.images[b : b + 1], seeds=[b])
        maps = layercam.saliency(alone, CLASSES[b : b + 1])
        part = score(alone, CLASSES[b : b + 1], maps, explain=layercam.saliency).values
        torch.testing.assert_close(part["spearman"], together["spearman"][b : b + 1], atol=1e-3, rtol=0)
        torch.testing.assert_close(part["shared"], together["shared"][b : b + 1], atol=1.0, rtol=0, equal_nan=True)


def test_out_of_memory_changes_nothing(view):
    sizes = []

    def tight(view, classes):
        sizes.append(len(view))
        if len(view) > 2:
            raise torch.OutOfMemoryError("out of memory")
        return view.images[:, :1]

    plain = score(view, CLASSES, first_colour(view, CLASSES), changes=("noise",), explain=first_colour)
    found = score(view, CLASSES, first_colour(view, CLASSES), changes=("noise",), explain=tight)
    assert sizes == [3, 3, 2, 1]  # of eight, of four, of two
    for name, values in plain.values.items():
        torch.testing.assert_close(values, found.values[name], rtol=0, atol=0, equal_nan=True)


def test_every_change_is_a_level(view):
    maps = layercam.saliency(view, CLASSES)
    found = score(view, CLASSES, maps, changes=("flip", "blur", "shift"), explain=layercam.saliency)
    assert list(found.levels) == [1, 2, 3]
    assert found.values["shared"].shape == (3, 3)


def test_the_command_line_reads_changes_and_names_the_levels():
    question = parse_question("stability:changes=flip+blur,percent=20")
    assert level_names(**question.parameters) == ["flip", "blur"]
    assert level_names(**parse_question("stability").parameters) == list(augment.CHANGES)
    for wrong, words in (("changes=turn", "unknown change"), ("changes=flip+flip", "once"), ("percent=0", "above 0")):
        with pytest.raises(SalcheckError, match=words):
            parse_question(f"stability:{wrong}")


def test_a_trained_model_keeps_its_maps(scenes_model):
    """Real pictures, real maps: they move with the picture, but for what the grid takes; a fixed map does not."""
    view, _, _ = plant(scenes_model, scenes.open_dataset(None, scenes_model.labels, 0).items[:6])
    classes = view.logits.argmax(1)[:, None]
    names = ("shift", "noise")
    own, still = (
        score(view, classes, method.saliency(view, classes), changes=names, explain=method.saliency).values
        for method in (layercam, center)
    )
    assert own["agreement"].nanmedian() > 75
    assert own["shared"][:, 0].median() > still["shared"][:, 0].median() + 5
    assert own["same_class"].mean() > 0.7
