import warnings

import numpy as np
import pytest
import torch

from salcheck.diagnostics._sampled import seeds
from salcheck.diagnostics.sensitivity import score
from salcheck.errors import SalcheckError
from salcheck.maps.notes import Kind, Note
from salcheck.methods import gradxinput, layercam, random
from salcheck.runs.asking import parse_question
from tests.nets import make_images, make_net, make_view

CLASSES = torch.tensor([[2], [5], [0]])


@pytest.fixture(scope="module")
def net():
    return make_net("test_resnet")


def view_of(net, count=3):
    return make_view(net, make_images(count, 56, seed=1)[:, :, 8:48])


class Recorded:
    """A method, and the images and classes that it was asked to explain."""

    def __init__(self, saliency):
        self.saliency, self.images, self.classes = saliency, [], []

    def __call__(self, view, classes):
        self.images.append(view.images)
        self.classes.append(classes)
        return self.saliency(view, classes)


@pytest.mark.oracle
@pytest.mark.parametrize("method", [layercam, gradxinput])
def test_equals_captum_on_the_same_disturbed_images(net, method):
    view, explain = view_of(net), Recorded(method.saliency)
    maps = method.saliency(view, CLASSES)
    found = score(view, CLASSES, maps, radius=0.3, samples=4, explain=explain).values["sensitivity"]
    disturbed = torch.cat(explain.images)

    def saliency(images, target):
        with torch.enable_grad():  # captum turns it off
            return method.saliency(make_view(net, images), target[:, None])[:, 0]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from captum.metrics import sensitivity_max

        expected = sensitivity_max(
            lambda inputs, target: (saliency(inputs[0], target),),
            view.images,
            perturb_func=lambda inputs: (disturbed,),
            n_perturb_samples=4,
            target=CLASSES[:, 0],
        )
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert (found > 0.01).all()


def test_largest_and_mean_in_plain_numpy(net):
    """The map is the first colour of the image: it moves as far as that does."""
    view, explain = view_of(net), Recorded(lambda view, classes: view.images[:, :1])
    values = score(view, CLASSES, view.images[:, :1], radius=0.5, samples=6, explain=explain).values
    disturbed = torch.cat(explain.images).double().numpy().reshape(3, 6, 3, 40, 56)
    for b, image in enumerate(view.images.double().numpy()):
        moves = [np.sqrt(((one[0] - image[0]) ** 2).sum() / (image[0] ** 2).sum()) for one in disturbed[b]]
        assert values["sensitivity"][b].item() == pytest.approx(max(moves), rel=1e-5)
        assert values["mean_change"][b].item() == pytest.approx(np.mean(moves), rel=1e-5)
        # The mean square of noise in -r...r is r^2 / 3.
        assert values["mean_change"][b].item() == pytest.approx(
            0.5 / 3**0.5 / np.sqrt((image[0] ** 2).mean()), rel=0.02
        )


@pytest.mark.oracle
def test_by_hand_on_2x2(net):
    """(3, 4, 0, 0) becomes (3, 4, 0, 12): 12 / 5; the sign and the scale of a map do not matter."""
    own = torch.tensor([[3.0, 4.0], [0.0, 0.0]]).expand(3, 1, 2, 2)
    moved = own + torch.tensor([[0.0, 0.0], [0.0, 12.0]])
    for factor in (1, 1e-25):
        explain = lambda view, classes: factor * moved[: len(view)]  # noqa: B023, E731
        values = score(view_of(net), CLASSES, factor * own, samples=1, explain=explain).values
        assert values["sensitivity"].tolist() == pytest.approx([2.4] * 3, rel=1e-6)


def test_disturbed_images_stay_in_the_ball_and_are_those_of_all_methods(net):
    view, explain = view_of(net), Recorded(layercam.saliency)
    other = Recorded(lambda view, classes: view.images[:, :1])
    score(view, CLASSES, layercam.saliency(view, CLASSES), radius=0.02, samples=5, explain=explain)
    score(view, CLASSES, view.images[:, :1], radius=0.02, samples=5, explain=other)
    disturbed = torch.cat(explain.images)
    assert disturbed.equal(torch.cat(other.images))
    noise = disturbed - view.images.repeat_interleave(5, dim=0)
    assert 0.0199 < noise.max() < 0.02001
    assert -0.02001 < noise.min() < -0.0199
    assert abs(noise.mean()) < 2e-4
    drawn = [torch.rand(noise[0].shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds(view, 5)]
    assert noise.allclose(0.02 * (2 * torch.stack(drawn) - 1), atol=1e-5)
    assert len(noise.flatten(1)[:, :4].unique(dim=0)) == 15


def test_the_class_stays_that_of_the_whole_image(net):
    view, explain = view_of(net), Recorded(layercam.saliency)
    score(view, CLASSES, layercam.saliency(view, CLASSES), samples=3, explain=explain)
    assert torch.cat(explain.classes).tolist() == [[2]] * 3 + [[5]] * 3 + [[0]] * 3


def test_a_small_ball_moves_a_map_little(net):
    view = view_of(net)
    maps = gradxinput.saliency(view, CLASSES)
    large, small = (
        score(view, CLASSES, maps, radius=radius, samples=3, explain=gradxinput.saliency).values["sensitivity"]
        for radius in (1e-2, 1e-7)
    )
    assert (small < 1e-4).all()
    assert (large > 100 * small).all()


def test_maps_that_do_not_look_at_the_image_do_not_move(net):
    view = view_of(net)
    fixed = torch.rand(1, 1, 5, 7)
    for explain in (lambda view, classes: fixed.expand(len(view), -1, -1, -1), random.saliency):
        values = score(view, CLASSES, explain(view, CLASSES), explain=explain, samples=3).values
        assert values["sensitivity"].tolist() == values["mean_change"].tolist() == [0, 0, 0]


def test_a_batch_equals_single_images(net):
    view = view_of(net)
    maps = layercam.saliency(view, CLASSES)
    together = score(view, CLASSES, maps, samples=3, radius=0.1, explain=layercam.saliency).values
    for b in range(3):
        alone = make_view(net, view.images[b : b + 1], seeds=[b])
        part = score(alone, CLASSES[b : b + 1], maps[b : b + 1], samples=3, radius=0.1, explain=layercam.saliency)
        for name in ("sensitivity", "mean_change"):
            torch.testing.assert_close(part.values[name], together[name][b : b + 1], rtol=1e-3, atol=1e-6)


def test_out_of_memory_changes_nothing(net):
    sizes = []

    def tight(view, classes):
        sizes.append(len(view))
        if len(view) > 2:
            raise torch.OutOfMemoryError("out of memory")
        return view.images[:, :1]

    view = view_of(net)
    plain = score(view, CLASSES, view.images[:, :1], samples=5, explain=lambda view, classes: view.images[:, :1])
    found = score(view, CLASSES, view.images[:, :1], samples=5, explain=tight)
    assert sizes == [8, 4, *[2] * 7, 1]
    for name, values in plain.values.items():
        assert values.equal(found.values[name])


def test_each_method_pays_for_samples_and_not_for_the_whole_image(net):
    view = view_of(net)
    maps = layercam.saliency(view, CLASSES)
    seen = []
    hook = net.conv1.register_forward_hook(lambda module, args, out: seen.append(len(out)))
    score(view, CLASSES, maps, samples=4, explain=layercam.saliency)
    hook.remove()
    assert sum(seen) == 12
    assert max(seen) <= view.batch_size


def test_blank_maps_have_no_score_and_leave_the_others_theirs(net):
    view = make_view(net, make_images(4, 40))
    classes, explain = torch.zeros(4, 1, dtype=torch.long), lambda view, classes: view.images[:, :1]
    maps = view.images[:, :1].clone()
    whole = score(view, classes, maps, explain=explain).values["sensitivity"]
    maps[0, 0, 3, 3] = torch.inf
    maps[1] = 2
    maps[2] = 0
    scores = score(view, classes, maps, explain=explain)
    assert scores.notes == [
        Note(Kind.BLANK, "not finite"),
        Note(Kind.BLANK, "constant"),
        Note(Kind.BLANK, "no positive value"),
        None,
    ]
    for values in scores.values.values():
        assert values.isnan().tolist() == [True, True, True, False]
    assert scores.values["sensitivity"][3] == whole[3]


def test_a_disturbed_map_that_is_not_finite_leaves_a_gap(net):
    view = view_of(net)
    explain = lambda view, classes: view.images[:, :1] * torch.tensor([[[[torch.nan]]]])  # noqa: E731
    scores = score(view, CLASSES, view.images[:, :1], explain=explain, samples=2)
    assert scores.values["sensitivity"].isnan().all()
    assert scores.notes == [None] * 3


def test_the_command_line_reads_and_refuses_parameters():
    question = parse_question("sensitivity:radius=0.2,samples=3")
    assert (question.parameters["radius"], question.parameters["samples"]) == (0.2, 3)
    for wrong, words in (("radius=0", "above 0"), ("samples=0", "1 disturbed image or more")):
        with pytest.raises(SalcheckError, match=words):
            parse_question(f"sensitivity:{wrong}")
