import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from salcheck.diagnostics.intraclass import score
from salcheck.errors import SalcheckError
from salcheck.maps.notes import Kind, Note
from salcheck.methods import gradxinput, layercam, parse_method
from salcheck.perturb import plants
from salcheck.runs.asking import parse_question
from tests.held_out import held_out
from tests.nets import make_images, make_net, make_view

CLASSES = torch.tensor([[2], [5], [0]])
KINDS = ("dot", "stroke", "patch", "gap")


@pytest.fixture(scope="module")
def net():
    return make_net("test_resnet")


@pytest.fixture(scope="module")
def view(net):
    """Pictures of 96 x 64 pixels with a light bar on dark grey, in a normalisation of black 0 and white 1."""
    images = 0.2 + 0.05 * make_images(3, 96, seed=1)[..., :64]
    images[..., 20:50, 10:30] += 0.6
    return make_view(net, images.clamp(0, 1))


def silent(name, view, classes):
    return None


def asked(view, explain, told=silent, **parameters):
    return score(view, CLASSES, explain(view, CLASSES), explain=explain, told=told, **parameters)


def oddness(view):
    """A method that knows the images as they were: how far each pixel is from that."""
    clean = view.images

    def explain(view, classes):
        return (view.images - clean[: len(view)]).abs().amax(1, keepdim=True) - 0.01

    return explain


@pytest.mark.parametrize("plant", KINDS)
def test_a_map_of_what_is_odd_finds_every_pixel_of_it(view, plant):
    values = asked(view, oddness(view), plant=plant).values
    for name in ("auprc", "pointing", "energy", "gained"):
        assert values[name].tolist() == pytest.approx([1, 1, 1]), name
    assert values["area"].tolist() == pytest.approx(plants.plant(view, plant, 0.02).masks.float().mean((1, 2)).tolist())


@pytest.mark.oracle
@pytest.mark.parametrize("plant", KINDS)
@pytest.mark.parametrize("method", [layercam, gradxinput])
def test_equals_scikit_learn_and_plain_numpy(net, view, plant, method):
    values = asked(view, method.saliency, plant=plant, size=0.05).values
    planted = plants.plant(view, plant, 0.05)
    maps = method.saliency(view, CLASSES)[:, 0]
    new = method.saliency(make_view(net, planted.images), CLASSES)[:, 0]
    for b in range(3):
        mask = planted.masks[b].numpy().ravel()
        pixels, above = (_pixels(one[b], view.size) for one in (new, new.clamp(min=0)))
        rise = _pixels((new - maps)[b].clamp(min=0), view.size)
        assert values["auprc"][b].item() == pytest.approx(average_precision_score(mask, pixels), rel=1e-3)
        assert values["gained"][b].item() == pytest.approx(average_precision_score(mask, rise), rel=1e-3)
        assert values["energy"][b].item() == pytest.approx(above[mask].sum() / above.sum(), rel=1e-4)
        assert values["pointing"][b].item() == pytest.approx(mask[pixels == pixels.max()].mean())
        assert values["area"][b].item() == pytest.approx(mask.mean())


def _pixels(grid, size):
    return torch.nn.functional.interpolate(grid[None, None], size, mode="bilinear")[0, 0].double().numpy().ravel()


def test_a_map_that_does_not_move_gains_the_share_of_the_picture(view):
    fixed = torch.rand(3, 1, 5, 4, generator=torch.Generator().manual_seed(0))
    scores = asked(view, lambda view, classes: fixed[: len(view)])
    assert scores.values["gained"].tolist() == pytest.approx(scores.values["area"].tolist())
    assert scores.notes == [None] * 3


def test_only_a_rise_of_the_map_is_gained(view):
    """One map rises on the plant, the other falls there."""
    own = oddness(view)
    up = asked(view, lambda view, classes: 1 + own(view, classes)).values
    down = asked(view, lambda view, classes: 2 - own(view, classes)).values
    assert (up["gained"] == 1).all()
    assert down["gained"].tolist() == pytest.approx(down["area"].tolist())
    assert (down["auprc"] < 0.03).all()
    assert down["pointing"].tolist() == [0, 0, 0]


def test_the_planted_image_is_explained_for_the_class_of_the_image(view):
    seen = []

    def explain(view, classes):
        seen.append((view.images, classes, view.seeds))
        return view.images[:, :1]

    asked(view, explain, plant="stroke")
    (clean, *_), (planted, classes, seeds) = seen
    assert seeds == [0, 1, 2]
    assert clean is view.images
    assert planted.equal(plants.plant(view, "stroke", 0.02).images)
    assert classes.equal(CLASSES)


def test_distances_are_those_of_diffcam_from_its_own_class(net, view, tmp_path):
    method = parse_method("diffcam:group=same,centred=true")  # its map is never without a positive value
    references = held_out(net, method, tmp_path, 96)
    features = references["features"]
    explain = lambda view, classes: method.saliency(view, classes, references)  # noqa: E731
    told = lambda name, view, classes: method.told(name, view, classes, references)  # noqa: E731
    values = asked(view, explain, told, plant="patch").values
    planted = make_view(net, plants.plant(view, "patch", 0.02).images)
    for b, u in enumerate(CLASSES[:, 0].tolist()):
        rows = features.values[features.rows([u])].double().numpy()
        mu, X = rows.mean(0), rows - rows.mean(0)
        S = X.T @ X
        S += 1e-3 * np.trace(S) / len(S) * np.eye(len(S))
        for name, one in (("clean", view), ("planted", planted)):
            delta = one.acts[b].double().numpy().mean((1, 2)) - mu
            expected = delta @ np.linalg.solve(S, delta)
            assert values[f"distance_{name}"][b].item() == pytest.approx(expected, rel=1e-3)
    assert values["farther"].tolist() == (values["distance_planted"] > values["distance_clean"]).double().tolist()
    assert (values["distance_clean"] - values["distance_planted"]).abs().min() > 0


def test_farther_by_hand_and_no_distance_leaves_gaps(view):
    told = lambda name, view, classes: 1 - view.images.mean((1, 2, 3))[:, None]  # noqa: E731
    light = asked(view, oddness(view), told, plant="dot").values  # white on dark: nearer
    dark = asked(view, oddness(view), told, plant="gap").values
    assert light["farther"].tolist() == [0, 0, 0]
    assert dark["farther"].tolist() == [1, 1, 1]
    expected = 1 - view.images.mean((1, 2, 3)).double()
    torch.testing.assert_close(dark["distance_clean"], expected, rtol=1e-6, atol=0)
    scores = asked(view, oddness(view))
    for name in ("distance_clean", "distance_planted", "farther"):
        assert scores.values[name].isnan().all()
    assert scores.notes == [None] * 3
    assert scores.gap.why == "has no distance"


def test_images_that_cannot_be_broken_and_blank_maps_have_no_score(net, view):
    images = view.images.clone()
    images[0] = 0.5
    other = make_view(net, images)
    explain = lambda view, classes: view.images[:, :1] * torch.tensor([1.0, 0.0, 1.0]).view(3, 1, 1, 1)  # noqa: E731
    scores = asked(other, explain, plant="gap")
    assert scores.notes == [
        Note(Kind.EXCLUDED, "nothing stands out from the background"),
        Note(Kind.BLANK, "no positive value"),
        None,
    ]
    for name in ("auprc", "pointing", "energy", "gained", "area"):
        assert scores.values[name].isnan().tolist() == [True, True, False]


def test_a_batch_equals_single_images(net, view):
    told = lambda name, view, classes: view.images.mean((1, 2, 3))[:, None]  # noqa: E731
    together = asked(view, layercam.saliency, told).values
    for b in range(3):
        alone = make_view(net, view.images[b : b + 1], seeds=[b])
        maps = layercam.saliency(alone, CLASSES[b : b + 1])
        part = score(alone, CLASSES[b : b + 1], maps, explain=layercam.saliency, told=told).values
        for name, values in together.items():
            torch.testing.assert_close(part[name], values[b : b + 1], rtol=1e-3, atol=1e-4)


def test_out_of_memory_changes_nothing(view):
    told = lambda name, view, classes: view.images.mean((1, 2, 3))[:, None]  # noqa: E731
    sizes = []

    def tight(view, classes):
        sizes.append(len(view))
        if len(view) > 2 and len(sizes) > 1:
            raise torch.OutOfMemoryError("out of memory")
        return view.images[:, :1]

    plain = asked(view, lambda view, classes: view.images[:, :1], told).values
    found = asked(view, tight, told).values
    assert sizes[-2:] == [2, 1]
    for name, values in plain.items():
        assert values.equal(found[name])


def test_the_command_line_reads_and_refuses_parameters():
    assert parse_question("intraclass:plant=gap,size=0.05").parameters == {"plant": "gap", "size": 0.05}
    for wrong, words in (("plant=hole", "one of dot, patch, gap, stroke"), ("size=0.5", "up to 0.1")):
        with pytest.raises(SalcheckError, match=words):
            parse_question(f"intraclass:{wrong}")
