import math

import numpy as np
import pytest
import torch

from salcheck.diagnostics import confidence_drop
from salcheck.diagnostics.confidence_drop import check
from salcheck.errors import SalcheckError
from salcheck.maps.notes import Kind, Note
from salcheck.perturb.canvas import canvas
from salcheck.questions import QUESTIONS
from tests.diagnostics.memories import with_memory
from tests.linear import LinearNet, linear_view, red
from tests.nets import make_images, make_net, make_view

score = with_memory(confidence_drop.score)

PERCENT = (5.0, 30.0)
CLASS = torch.tensor([[0]])


def counts_view(image: torch.Tensor):
    """Two classes, the one's logit the sum of the red pixels and the other's 0: softmax is a sigmoid."""
    size = image.shape[-2:]
    return linear_view(LinearNet(torch.stack([red(torch.ones(size)), torch.zeros(3, *size)])), red(image)[None])


def corner() -> torch.Tensor:
    """A map (1, 1, 4, 4) that is positive in four pixels: the first row, highest at its left."""
    pixels = torch.zeros(1, 1, 4, 4)
    pixels[0, 0, 0] = torch.tensor([4.0, 3.0, 2.0, 1.0])
    return pixels


@pytest.mark.oracle
def test_by_hand():
    """The first row holds ln 9 of a logit of ln 9: without it the softmax falls from 9/10 to 1/2."""
    image = torch.zeros(4, 4)
    image[0, :2] = math.log(3)
    scores = score(counts_view(image), CLASS, corner(), percent=(6.25, 12.5, 25.0))
    expected = {
        "before": [9 / 10],
        "after": [3 / 4, 1 / 2, 1 / 2],
        "difference": [0.15, 0.4, 0.4],
        "drop": [1 / 6, 4 / 9, 4 / 9],
        "tied": [0, 0, 0],
    }
    for name, values in expected.items():
        assert scores.values[name].flatten().tolist() == pytest.approx(values, abs=1e-6), name
    assert scores.levels == (6.25, 12.5, 25.0)
    assert scores.notes == [None]


def test_a_score_that_rises_has_a_difference_and_no_drop():
    image = torch.ones(4, 4)
    image[0] = -1
    values = score(counts_view(image), CLASS, corner(), percent=(25.0,), output="logit").values
    assert values["before"].item() == 8
    assert values["after"].item() == 12
    assert values["difference"].item() == -4
    assert values["drop"].item() == 0


@pytest.mark.parametrize(("rest", "drop"), [(1.0, 4 / 16), (0.0, 1.0), (-1.0, 4 / 8)])
def test_a_drop_of_logits_is_relative_to_their_size(rest, drop):
    image = torch.full((4, 4), rest)
    image[0] = 1
    values = score(counts_view(image), CLASS, corner(), percent=(25.0,), output="logit").values
    assert values["drop"].item() == pytest.approx(drop)
    assert values["difference"].item() == 4


def test_the_metrics_are_those_of_the_question():
    assert set(score(counts_view(torch.ones(4, 4)), CLASS, corner()).values) == set(QUESTIONS["rq2"].metrics)


@pytest.fixture(scope="module")
def real():
    """Three images of a random ResNet, and signed maps of which most values are positive."""
    view = make_view(make_net("test_resnet"), make_images(side=40))
    maps = 1 + torch.randn(3, 1, 5, 5, generator=torch.Generator().manual_seed(1))
    return view, torch.tensor([[0], [6], [3]]), maps


def by_hand(view, image: int, u: int, pixels: np.ndarray, size: int, output: str, fill: str) -> tuple[float, float]:
    """The score before and after, the pixels removed one after another."""
    changed, behind = view.images[image].clone(), canvas(view, fill)[image]
    for place in np.argsort(-pixels.ravel(), kind="stable")[:size]:
        row, column = divmod(int(place), pixels.shape[1])
        changed[:, row, column] = behind[:, row, column]
    both = view.net(torch.stack([view.images[image], changed])).double()
    before, after = (both.softmax(1) if output == "softmax" else both)[:, u].tolist()
    return before, after


@pytest.mark.oracle
@pytest.mark.parametrize("fill", ["mean", "blur", "grey"])
@pytest.mark.parametrize("output", ["softmax", "logit"])
def test_equals_a_loop_over_images_levels_and_pixels(real, output, fill):
    view, classes, maps = real
    found = score(view, classes, maps, percent=PERCENT, output=output, fill=fill, ties="position").values
    pixels = torch.nn.functional.interpolate(maps, size=(40, 40), mode="bilinear")[:, 0].numpy()
    for image, (u,) in enumerate(classes.tolist()):
        for level, size in enumerate([80, 480]):
            before, after = by_hand(view, image, u, pixels[image], size, output, fill)
            expected = {"after": after, "difference": before - after, "drop": max(before - after, 0) / abs(before)}
            measured = {name: found[name][image, level].item() for name in expected}
            assert measured == pytest.approx(expected, abs=1e-5)
        assert found["before"][image].item() == pytest.approx(before, abs=1e-5)


def test_a_batch_has_the_scores_of_its_images(real):
    view, classes, maps = real
    whole = score(view, classes, maps, percent=PERCENT).values
    for image in range(3):
        alone = make_view(view.net, view.images[[image]], seeds=[image])
        values = score(alone, classes[[image]], maps[[image]], percent=PERCENT).values
        for name, value in values.items():
            assert value[0].numpy() == pytest.approx(whole[name][image].numpy(), abs=1e-5), name


@pytest.mark.parametrize("ranking", ["upsampled", "native"])
def test_transposed_is_the_score_of_the_transposed_map(real, ranking):
    """CASE's released code removes pixels of the transpose."""
    view, classes, maps = real
    one = score(view, classes, maps, percent=PERCENT, ranking=ranking, transposed=True).values
    other = score(view, classes, maps.mT, percent=PERCENT, ranking=ranking).values
    straight = score(view, classes, maps, percent=PERCENT, ranking=ranking).values
    for name in ("drop", "after"):
        assert torch.equal(one[name], other[name])
        assert not torch.allclose(one[name], straight[name], atol=1e-4)


def test_transposed_needs_square_pictures():
    with pytest.raises(SalcheckError, match=r"transposed=true.*4 x 6"):
        score(counts_view(torch.ones(4, 6)), CLASS, torch.rand(1, 1, 4, 6), transposed=True)


def test_pixels_of_pictures_that_are_not_square_go_where_the_map_is_high():
    """Removing all 6 pixels of the second of 4 rows; the transpose would have hit a column."""
    image, maps = torch.zeros(4, 6), torch.zeros(1, 1, 4, 6)
    image[1] = maps[0, 0, 1] = 1
    values = score(counts_view(image), CLASS, maps, percent=(25.0,), output="logit").values
    assert values["after"].item() == 0
    assert values["before"].item() == 6


def test_levels_beyond_the_positive_pixels_have_no_score_unless_ties_are_broken():
    view, percent = counts_view(torch.ones(4, 4)), (25.0, 31.25, 75.0)
    none = score(view, CLASS, corner(), percent=percent, output="logit")
    assert none.notes == [None]
    assert none.gap.kind is Kind.BLANK
    for name in ("drop", "difference", "after", "tied"):
        assert none.values[name].isnan().tolist() == [[False, True, True]]
    assert none.values["before"].item() == 16
    random = score(view, CLASS, corner(), percent=percent, output="logit", ties="random").values
    assert random["after"].tolist() == [[12, 11, 4]]  # 4, 5 and 12 of 16 pixels are gone
    assert random["tied"].tolist()[0] == pytest.approx([0, 100 / 5, 100 * 8 / 12])


def test_blank_maps_are_noted():
    view = linear_view(LinearNet(torch.rand(2, 3, 4, 4)), torch.rand(4, 3, 4, 4))
    maps = torch.rand(4, 1, 4, 4)
    maps[0], maps[1], maps[2, 0, 1, 1] = 0.5, -1, torch.nan
    scores = score(view, CLASS.expand(4, 1), maps, percent=(25.0,))
    assert scores.notes == [
        Note(Kind.BLANK, "constant"),
        Note(Kind.BLANK, "no positive value"),
        Note(Kind.BLANK, "not finite"),
        None,
    ]
    for values in scores.values.values():
        assert values.reshape(4).isfinite().tolist() == [False, False, False, True]


@pytest.mark.parametrize("fill", ["mean", "zero", "grey", "blur", "inpaint"])
def test_every_fill_runs_and_all_differ(real, fill):
    view, classes, maps = real
    found = score(view, classes, maps, percent=PERCENT, fill=fill).values["after"]
    assert found.isfinite().all()
    if fill not in ("mean", "zero"):  # a view without a normalisation is fed 0 for both
        assert not torch.equal(found, score(view, classes, maps, percent=PERCENT).values["after"])


@pytest.mark.parametrize("fill", ["mean", "grey", "blur"])
def test_without_any_pixel_the_canvas_is_left(real, fill):
    view, classes, maps = real
    found = score(view, classes, maps, percent=(100.0,), fill=fill, ties="random").values["after"]
    expected = view.net(canvas(view, fill)).softmax(1).gather(1, classes)
    assert found.numpy() == pytest.approx(expected.numpy(), abs=1e-6)


@pytest.mark.parametrize("percent", [(0.0,), (101.0,), (5.0, -1.0), ()])
def test_senseless_percentages_are_refused(percent):
    with pytest.raises(SalcheckError, match="percent="):
        check(percent=percent)
    check(percent=(0.1, 100.0))
