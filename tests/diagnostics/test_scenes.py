"""Two objects and a right answer: planted maps, class-agnostic ones, noise, and the trained model's."""

import pytest
import torch
from sklearn.metrics import average_precision_score

from salcheck.datasets import Region, scenes
from salcheck.diagnostics.scenes import HIDDEN, score
from salcheck.inputs.truth import Truth
from salcheck.maps.notes import Kind, Note
from salcheck.methods import parse_method
from salcheck.questions import QUESTIONS
from tests.diagnostics.marked import marked, mask_of
from tests.nets import make_net, make_view
from tests.planted import plant, shares

SIDE = 16
LEFT, RIGHT = (mask_of(u, slice(4, 8), columns, (SIDE, SIDE)) for u, columns in ((3, slice(1, 5)), (5, slice(9, 15))))
CLASSES = torch.tensor([[3, 5]])
NET = make_net("test_resnet")


def asked(maps, places):
    B = len(maps)
    view = make_view(NET, torch.zeros(B, 3, SIDE, SIDE))
    return score(view, CLASSES.expand(B, -1), maps, truth=marked(places, (SIDE, SIDE)))


def test_perfect_maps_swapped_maps_and_maps_of_the_whole():
    masks = torch.stack([torch.from_numpy(one.mask).float() for one in (LEFT, RIGHT)])[None]
    both = masks.sum(1, keepdim=True).expand(-1, 2, -1, -1)
    found = asked(torch.cat([masks, masks.flip(1), both]), [[LEFT, RIGHT]] * 3).values
    assert found["right"].tolist() == [1, 0, 0.5]
    assert found["own"].tolist() == [1, 0, 0.5]
    assert found["other"].tolist() == [0, 1, 0.5]
    assert found["pointing"].tolist() == [1, 0, 0.5]
    assert found["most"].tolist() == [1, 0, 0.5]
    assert found["area"].tolist() == pytest.approx([(16 + 24) / 2 / 256] * 3)
    assert found["auprc"].tolist() == pytest.approx([1, (16 / 256 + 24 / 256) / 2, (16 / 40 + 24 / 40) / 2])


@pytest.mark.oracle
def test_shares_by_hand():
    """The first map has 2 on its own, 1 on the other, 5 elsewhere; the second 3, none and 1, and a negative value."""
    maps = torch.zeros(1, 2, SIDE, SIDE)
    maps[0, 0, 4, 1], maps[0, 0, 5, 9], maps[0, 0, 0, 0] = 2, 1, 5
    maps[0, 1, 7, 14], maps[0, 1, 15, 15], maps[0, 1, 4, 1] = 3, 1, -9
    found = asked(maps, [[LEFT, RIGHT]]).values
    assert found["right"].item() == pytest.approx((2 / 3 + 1) / 2)
    assert found["own"].item() == pytest.approx((2 / 8 + 3 / 4) / 2)
    assert found["other"].item() == pytest.approx((1 / 8 + 0) / 2)
    assert found["pointing"].item() == 0.5
    assert found["most"].item() == 1


def test_a_map_that_is_the_same_for_both_classes_is_half_right():
    one = torch.rand(40, 1, 5, 5, generator=torch.Generator().manual_seed(0))
    found = asked(one.expand(-1, 2, -1, -1), [[LEFT, RIGHT]] * 40).values
    assert found["right"].tolist() == pytest.approx([0.5] * 40, abs=1e-7)
    assert found["most"].tolist() == [0.5] * 40


def test_noise_is_half_right_on_average_and_earns_the_areas():
    maps = torch.rand(400, 2, 8, 8, generator=torch.Generator().manual_seed(1))
    found = asked(maps, [[LEFT, RIGHT]] * 400).values
    assert found["right"].mean().item() == pytest.approx(0.5, abs=0.02)
    assert found["own"].mean().item() == pytest.approx(found["area"][0].item(), abs=0.005)
    assert found["most"].mean().item() == pytest.approx(0.5, abs=0.05)


@pytest.mark.oracle
def test_average_precision_is_scikit_learns_and_ranks_negative_values():
    maps = torch.randn(1, 2, SIDE, SIDE, generator=torch.Generator().manual_seed(2))
    found = asked(maps, [[LEFT, RIGHT]]).values["auprc"].item()
    pairs = zip((LEFT, RIGHT), maps[0], strict=True)
    expected = [average_precision_score(one.mask.flatten(), pixels.flatten().numpy()) for one, pixels in pairs]
    assert found == pytest.approx(sum(expected) / 2, abs=1e-6)


def test_pixels_of_both_objects_are_as_if_they_were_not_there():
    """Boxes that overlap, and the same picture without the columns in which they do."""
    over = [Region(3, box=(0, 0, 10, 16)), Region(5, box=(6, 0, 16, 16))]
    maps = torch.randn(1, 2, SIDE, SIDE, generator=torch.Generator().manual_seed(3))
    maps[..., 8] = 99  # on both: the maximum, and most of the mass
    found = asked(maps, [over]).values
    rest = maps[..., [0, 1, 2, 3, 4, 5, 10, 11, 12, 13, 14, 15]]
    view = make_view(NET, torch.zeros(1, 3, 16, 12))
    apart = [Region(3, box=(0, 0, 6, 16)), Region(5, box=(6, 0, 12, 16))]
    alone = score(view, CLASSES, rest, truth=marked([apart], (16, 12))).values
    for name, values in found.items():
        assert values.item() == pytest.approx(alone[name].item(), abs=1e-5), name


def test_images_without_an_answer_have_no_score_and_say_why():
    outside = Region(5, box=(16, 0, 20, 4))
    within = Region(5, box=(2, 4, 4, 6))  # all of it on the other
    maps = torch.rand(6, 2, 4, 4, generator=torch.Generator().manual_seed(4))
    maps[3, 0], maps[4, 1] = 1, -1
    maps[5] = 0
    maps[5, :, 3] = 1
    places = [[LEFT, RIGHT], [LEFT, outside], [LEFT, within], [LEFT, RIGHT], [LEFT, RIGHT], [LEFT, RIGHT]]
    found = asked(maps, places)
    assert found.notes == [
        None,
        HIDDEN,
        HIDDEN,
        Note(Kind.BLANK, "constant"),
        Note(Kind.BLANK, "no positive value"),
        None,
    ]
    assert found.values["right"].isnan().tolist() == [False, True, True, True, True, True]
    assert found.values["own"].isnan().tolist() == [False, True, True, True, True, False]
    assert found.values["own"][5] == 0  # the bottom rows, far from both: no `right`, with the words of the gap
    assert found.gap == Note(Kind.BLANK, "a map without mass on either object")


@pytest.fixture(scope="module")
def drawn(scenes_model):
    items = scenes.open_dataset(None, scenes_model.labels, 0).items[:16]
    view, classes, masks = plant(scenes_model, items)
    dataset = scenes.open_dataset(None, scenes_model.labels, 0)
    truth = Truth(dataset, items, [(128, 128)] * 16, scenes_model.transform, torch.device("cpu"))
    return view, classes, masks, truth


def test_the_trained_model_is_right_and_its_channels_mean_is_not(drawn):
    view, classes, masks, truth = drawn
    method = parse_method("gradcam")
    found = score(view, classes, method.saliency(view, classes), truth=truth).values
    expected = shares(method, view, classes, masks, {})
    assert torch.allclose(found["own"], expected[..., 0].mean(-1), atol=1e-5)
    assert torch.allclose(found["other"], expected[..., 1].mean(-1), atol=1e-5)
    assert found["right"].mean() > 0.9
    agnostic = parse_method("lafam")
    found = score(view, classes, agnostic.saliency(view, classes), truth=truth).values
    assert found["right"].tolist() == pytest.approx([0.5] * 16, abs=1e-6)


def test_all_metrics_of_the_question_and_no_others(drawn):
    view, classes, _, truth = drawn
    assert set(score(view, classes, torch.rand(16, 2, 4, 4), truth=truth).values) == set(QUESTIONS["scenes"].metrics)
