import math

import pytest
import torch
from pytorch_grad_cam.metrics.road import NoisyLinearImputer

from salcheck.diagnostics import road
from salcheck.diagnostics.road import check
from salcheck.errors import SalcheckError
from salcheck.maps.notes import Kind, Note
from salcheck.perturb.answers import Memory
from tests.diagnostics.memories import with_memory
from tests.diagnostics.pixelnets import BETWEEN, CELL, pixel_view, two_cells
from tests.nets import make_net, make_view

score = with_memory(road.score)

pytestmark = pytest.mark.filterwarnings("ignore:__array_wrap__")  # grad-cam gives NumPy a tensor
FIRST = torch.tensor([[0]])
TOPS = torch.tensor([[4], [2], [0]])


@pytest.fixture(scope="module")
def net():
    return make_net("test_resnet")


def pictures(count: int = 3, H: int = 64, W: int = 96) -> torch.Tensor:
    return torch.randn(count, 3, H, W, generator=torch.Generator().manual_seed(0))


def maps_of(count: int = 3, H: int = 64, W: int = 96) -> torch.Tensor:
    return torch.rand(count, 1, H, W, generator=torch.Generator().manual_seed(1))


def changed(view) -> list[torch.Tensor]:
    """Which pixels (H, W) of the view's one image differ in each image that ran after it."""
    return [(image != view.images[0]).any(0) for image in view.net.seen[1:]]


@pytest.mark.oracle
def test_one_pixel_by_hand():
    """4x4 pixels, the most relevant one imputed from a direct neighbour of 6 and a diagonal one of 12: 6/6 + 12/12."""
    images = torch.zeros(1, 3, 4, 4)
    images[0, 0, 1, 1], images[0, 0, 0, 1], images[0, 0, 0, 0] = 100, 6, 12
    maps = torch.rand(1, 1, 4, 4) / 2
    maps[..., 1, 1] = 1
    found = score(pixel_view(images), FIRST, maps, percent=(6.25,), noise=0, output="logit").values
    assert found["before"].item() == 118
    assert found["morf"].item() == pytest.approx(98, abs=1e-2)


def test_images_are_those_of_grad_cam_up_to_its_noise():
    """The sparse solve of pytorch-grad-cam, for masks cut by a stable sort."""
    images, maps = pictures(1), maps_of(1)
    view = pixel_view(images)
    score(view, FIRST, maps, noise=0)
    ranks = maps.flatten().argsort(descending=True, stable=True)
    impute = NoisyLinearImputer(noise=0)
    gone = [ranks[:1536], ranks[:3072], ranks[:4608], ranks[4608:], ranks[3072:], ranks[1536:]]
    assert len(view.net.seen) == 7
    for image, removed in zip(view.net.seen[1:], gone, strict=True):
        kept = torch.ones(6144).index_fill(0, removed, 0).view(64, 96)
        assert image.allclose(impute(images[0], kept), atol=2e-3)


@pytest.mark.oracle
@pytest.mark.parametrize("output", ["softmax", "logit"])
def test_scores_are_those_of_a_loop_with_grad_cams_imputer(net, output):
    images, maps = pictures(), maps_of()
    percent = (10.0, 40.0)
    found = score(make_view(net, images), TOPS, maps, percent=percent, noise=0, output=output).values
    impute = NoisyLinearImputer(noise=0)

    def answer(image: torch.Tensor, u: int) -> float:
        logits = net(image[None])[0].double()
        return (logits.softmax(0) if output == "softmax" else logits)[u].item()

    for b in range(3):
        before, ranks = answer(images[b], TOPS[b, 0]), maps[b].flatten().argsort(descending=True)
        assert found["before"][b].item() == pytest.approx(before, rel=1e-4)
        for level, size in enumerate((614, 2458)):
            falls = {}
            for name, gone in (("morf", ranks[:size]), ("lerf", ranks[-size:])):
                kept = torch.ones(6144).index_fill(0, gone, 0).view(64, 96)
                falls[name] = before - answer(impute(images[b], kept), TOPS[b, 0])
                assert found[name][b, level].item() == pytest.approx(falls[name], abs=2e-4)
            assert found["gap"][b, level].item() == pytest.approx(falls["morf"] - falls["lerf"], abs=4e-4)


@pytest.mark.parametrize("ties", ["random", "position"])
def test_removes_exactly_what_was_asked_of_a_map_that_is_mostly_zero(ties):
    """60 % zeros: a threshold at the percentile removes all pixels for 75 % of the most, 60 % for 25 % of the least."""
    maps = maps_of(1, 20, 30)
    maps[maps < maps.quantile(0.6)] = 0
    view = pixel_view(pictures(1, 20, 30))
    scores = score(view, FIRST, maps, percent=(10.0, 25.0, 50.0, 75.0), ties=ties)
    counts = [int(pixels.sum()) for pixels in changed(view)]
    assert counts == [60, 150, 300, 450, 60, 150, 300, 450]
    assert scores.values["tied"][0].tolist() == pytest.approx([0, 0, 100 * 60 / 300, 100 * 210 / 450])


def test_the_most_relevant_go_and_the_least_relevant_where_they_are():
    """A wide picture, high on the left: its left half goes first; a mask the wrong way round would go elsewhere."""
    maps = torch.linspace(1, 0.1, 30).expand(1, 1, 20, 30)
    view = pixel_view(pictures(1, 20, 30))
    score(view, FIRST, maps, percent=(50.0,))
    left = torch.arange(30).expand(20, 30) < 15
    most, least = changed(view)
    assert most.equal(left)
    assert least.equal(~left)


def test_ties_by_position_go_row_by_row():
    maps = torch.zeros(1, 1, 20, 30)
    maps[..., -1, -1] = 1
    view = pixel_view(pictures(1, 20, 30))
    score(view, FIRST, maps, percent=(50.0,), ties="position")
    first = torch.arange(600).view(20, 30) < 299
    first[-1, -1] = True
    most, least = changed(view)
    assert most.equal(first)
    assert least.equal(~first)


def test_cells_rank_as_a_whole_with_native_ranking():
    for ranking, gone in (("native", CELL), ("upsampled", BETWEEN)):
        view = pixel_view(pictures(1, 8, 8))
        score(view, FIRST, two_cells(), percent=(6.25,), ranking=ranking)
        assert changed(view)[0].nonzero().tolist() == gone


def test_the_least_relevant_of_a_map_are_the_most_relevant_of_its_negative(net):
    images, maps = pictures(), maps_of()
    one = score(make_view(net, images), TOPS, maps).values
    other = score(make_view(net, images), TOPS, 1 - maps).values
    assert one["lerf"].allclose(other["morf"], atol=1e-6)
    assert one["gap"].allclose(-other["gap"], atol=1e-6)
    assert not one["gap"].allclose(torch.zeros(3, 3), atol=1e-4)


def test_a_constant_image_stays_as_it_is():
    images = torch.full((1, 3, 16, 24), 0.5)
    found = score(pixel_view(images), FIRST, maps_of(1, 16, 24), noise=0, output="logit").values
    assert found["before"].item() == 576
    assert found["morf"].abs().max() < 1e-2
    assert found["lerf"].abs().max() < 1e-2


def test_the_map_of_a_bright_object_loses_it_first():
    """A bright square on a dark ground, seen by a net that adds up pixels: imputed, it is dark; the ground stays so."""
    images = torch.zeros(1, 3, 20, 20)
    images[..., 5:15, 5:15] = 1
    far = (torch.arange(20) - 9.5).abs()
    maps = 10 - torch.maximum(far[:, None], far)[None, None]
    found = score(pixel_view(images), FIRST, maps, percent=(25.0,), output="logit").values
    assert found["morf"].item() == pytest.approx(300, abs=1)
    assert found["lerf"].item() == pytest.approx(0, abs=1)


def noise_of(images, seeds, **parameters) -> list[torch.Tensor]:
    """What noise added to a constant image where pixels were removed, 25 % of the most and of the least relevant."""
    view = pixel_view(images, seeds=seeds, normalisation=((0.5, 0.4, 0.3), (0.1, 0.25, 0.5)))
    score(view, FIRST.expand(len(images), 1), maps_of(len(images), 60, 80), percent=(25.0,), **parameters)
    return [image - images[0] for image in view.net.seen[len(images) :]]


def test_noise_is_on_imputed_pixels_alone_and_as_large_as_said():
    images = torch.full((1, 3, 60, 80), 0.5)
    for noise in (0.01, 0.2):
        for field in noise_of(images, [3], noise=noise):
            assert (field[0] != 0).sum() == 1200
            assert field[field != 0].std().item() == pytest.approx(noise, rel=0.05)
            assert field[field != 0].mean().item() == pytest.approx(0, abs=0.1 * noise)
            drawn = noise * torch.randn(3, 60, 80, generator=torch.Generator().manual_seed(3))
            assert field[field != 0].allclose(drawn[field != 0], atol=1e-4)


def test_noise_of_pixels_is_divided_by_the_deviation_of_each_channel():
    """As if 0.01 had been added in 0...1 and the image normalised afterwards."""
    images = torch.full((1, 3, 60, 80), 0.5)
    model = noise_of(images, [3], noise=0.1)
    pixels = noise_of(images, [3], noise=0.1, space="pixels")
    for one, other in zip(model, pixels, strict=True):
        assert (one / torch.tensor([0.1, 0.25, 0.5]).view(3, 1, 1)).allclose(other, atol=1e-4)


def test_noise_is_the_images_own_in_any_batch():
    images = torch.full((2, 3, 60, 80), 0.5)
    both, alone, other = noise_of(images, [3, 4]), noise_of(images[:1], [3]), noise_of(images[:1], [4])
    assert both[0].allclose(alone[0], atol=1e-6)
    assert not alone[0].allclose(other[0], atol=1e-3)


def test_the_same_mask_is_the_same_image_for_every_method_and_runs_once():
    images, maps = pictures(2, 20, 30), maps_of(2, 20, 30)
    view = pixel_view(images)
    assert len(view.logits) == len(images)  # the images themselves have run
    memory, ran = Memory(), []
    for one in (maps, 2 * maps, 1 - maps):
        before = len(view.net.seen)
        score(view, FIRST.expand(2, 1), one, memory=memory)
        ran.append(len(view.net.seen) - before)
    assert ran == [12, 0, 0]  # what is least relevant to the negative is most relevant to the map


def test_other_noise_is_another_image():
    images, maps = pictures(1, 20, 30), maps_of(1, 20, 30)
    view = pixel_view(images, normalisation=((0.4,) * 3, (0.25,) * 3))
    falls = [
        score(view, FIRST, maps, output="logit", **parameters).values["morf"][0, 0].item()
        for parameters in ({}, {"noise": 0.0}, {"noise": 0.5}, {"space": "pixels"})
    ]
    assert len(set(falls)) == 4


def test_a_batch_equals_its_images_one_by_one(net):
    images, maps = pictures(), maps_of()
    together = score(make_view(net, images), TOPS, maps, percent=(30.0,)).values
    for b in range(3):
        view = make_view(net, images[b : b + 1], seeds=[b])
        alone = score(view, TOPS[b : b + 1], maps[b : b + 1], percent=(30.0,)).values
        for name, value in alone.items():
            assert value.allclose(together[name][b : b + 1], atol=1e-4)


def test_halving_the_chunks_for_want_of_memory_changes_nothing():
    images, maps = pictures(3, 20, 30), maps_of(3, 20, 30)
    views = pixel_view(images), pixel_view(images, most=2)
    found = [score(view, FIRST.expand(3, 1), maps, output="logit").values for view in views]
    for name, value in found[0].items():
        assert value.allclose(found[1][name], atol=1e-2)  # of sums of 1,800 pixels


def test_a_map_that_ranks_nothing_has_no_score():
    images, maps = pictures(3, 20, 30), maps_of(3, 20, 30)
    maps[0] = 0
    maps[1, 0, 2, 2] = math.nan
    scores = score(pixel_view(images), FIRST.expand(3, 1), maps)
    assert scores.notes == [Note(Kind.BLANK, "no positive value"), Note(Kind.BLANK, "not finite"), None]
    for value in scores.values.values():
        assert value[:2].isnan().all()
        assert value[2].isfinite().all()
    assert scores.levels == (25.0, 50.0, 75.0)


@pytest.mark.parametrize("percent", [(), (0.0,), (50.0, 100.0), (-5.0,)])
def test_percentages_leave_something_to_impute_from(percent):
    with pytest.raises(SalcheckError, match="percent="):
        check(percent=percent, noise=0.01)


def test_a_deviation_is_not_negative():
    check(percent=(25.0, 75.0), noise=0)
    with pytest.raises(SalcheckError, match="noise=-1"):
        check(percent=(25.0,), noise=-1.0)
