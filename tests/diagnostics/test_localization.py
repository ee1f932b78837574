"""Is the map where the object is: planted maps, rules by hand, and which images belong to the question."""

import pytest
import torch
from skimage.filters import threshold_otsu
from skimage.measure import label, regionprops
from sklearn.metrics import auc, average_precision_score, precision_recall_curve

from salcheck.datasets import Region
from salcheck.diagnostics import localization
from salcheck.diagnostics.localization import LEVELS, score
from salcheck.errors import SalcheckError
from salcheck.maps.notes import Kind, Note
from salcheck.maps.ranking import upsample
from salcheck.questions import LABEL1, QUESTIONS, TOP1
from salcheck.runs.asking import parse_question
from tests.diagnostics.marked import marked, mask_of
from tests.nets import make_net, make_view

SIDE = 32
BOX = Region(0, box=(4, 8, 20, 24))
NET = make_net("test_resnet")


def view_of(count, side=SIDE):
    return make_view(NET, torch.zeros(count, 3, side, side))


def asked(maps, places, classes=None, **settings):
    B, side = len(maps), SIDE
    classes = torch.zeros(B, 1, dtype=torch.long) if classes is None else classes
    return score(view_of(B, side), classes, maps, truth=marked(places, (side, side)), **settings)


def overlap(one, other):
    return (one & other).sum() / (one | other).sum()


def noise(count, side=7, seed=0):
    return torch.randn(count, 1, side, side, generator=torch.Generator().manual_seed(seed))


def test_a_perfect_map_has_everything_and_its_inverse_the_least():
    perfect = marked([[BOX]], (SIDE, SIDE)).masks(torch.zeros(1, 1, dtype=torch.long)).float()
    found = asked(torch.cat([perfect, 1 - perfect]), [[BOX], [BOX]]).values
    area = 16 * 16 / SIDE**2
    for name, values in found.items():
        if name == "iou":
            assert values[0].tolist() == [1] * 49
            assert values[1].tolist() == [0] * 49
        elif name == "area":
            assert values.tolist() == [area, area]
        else:
            assert values[0] == 1, name
    # Inverted, the object comes last, all of it at once: precision is its share.
    assert found["auprc"][1] == pytest.approx(area)
    for name in ("pointing", "energy", "iou_mean", "iou_half", "iou_otsu", "iou_area", "iou_oracle"):
        assert found[name][1] == 0, name
    assert found["iou_wsol"][1] == pytest.approx(area)  # the rest surrounds it: its box is the picture


@pytest.mark.oracle
@pytest.mark.parametrize("side", [7, SIDE])
def test_every_rule_is_what_two_libraries_say_of_the_upsampled_map(side):
    maps, truth = noise(6, side), marked([[BOX]] * 6, (SIDE, SIDE))
    found = asked(maps, [[BOX]] * 6).values
    mask = truth.masks(torch.zeros(1, 1, dtype=torch.long))[0, 0].flatten().numpy()
    for b, pixels in enumerate(upsample(maps[:, 0], (SIDE, SIDE)).numpy()):
        low, high = pixels.min(), pixels.max()
        flat, scaled = pixels.flatten(), (pixels - low) / (high - low)
        precision, recall, _ = precision_recall_curve(mask, flat)
        component = max(regionprops(label(scaled > 0.2, connectivity=2)), key=lambda one: one.area)
        y0, x0, y1, x1 = component.bbox
        both = max(0, min(x1, 20) - max(x0, 4)) * max(0, min(y1, 24) - max(y0, 8))
        curve = [overlap(mask, scaled.flatten() > level / 100) for level in LEVELS]
        mass = upsample(maps[b, 0].clamp(min=0), (SIDE, SIDE)).flatten().double().numpy()
        expected = {
            "auprc": average_precision_score(mask, flat),
            "auprc_trapezoid": auc(recall, precision),
            "iou_mean": overlap(mask, flat > flat.mean()),
            "iou_half": overlap(mask, flat > (low + high) / 2),
            "iou_otsu": overlap(mask, flat > threshold_otsu(pixels)),
            "iou_oracle": max(curve),
            "iou_wsol": both / ((x1 - x0) * (y1 - y0) + 256 - both),
            "pointing": float(mask[flat.argmax()]),
            "energy": mass[mask].sum() / mass.sum(),
            "area": 0.25,
        }
        if side == SIDE:  # no two pixels are equal
            expected["iou_area"] = overlap(mask, flat > sorted(flat)[-257])
        for name, value in expected.items():
            assert found[name][b].item() == pytest.approx(value, abs=1e-5), name
        assert found["iou"][b].tolist() == pytest.approx(curve, abs=1e-5)


def test_a_map_and_the_same_map_scaled_and_shifted_are_in_the_same_place():
    maps = noise(3)
    found, moved = (asked(one, [[BOX]] * 3).values for one in (maps, 4 * maps + 3))
    for name in set(found) - {"energy"}:
        assert torch.allclose(found[name], moved[name], atol=0.004), name  # a pixel at the edge of a threshold
    assert not torch.allclose(found["energy"], moved["energy"], atol=0.01)


def test_unsigned_maps_are_cut_at_zero_before_anything_else():
    maps = noise(3)
    cut, relu = asked(maps, [[BOX]] * 3, signed=False).values, asked(maps.clamp(min=0), [[BOX]] * 3).values
    signed = asked(maps, [[BOX]] * 3).values
    for name in cut:
        assert torch.equal(cut[name], relu[name]), name
    assert torch.equal(cut["energy"], signed["energy"])
    assert not torch.allclose(cut["auprc"], signed["auprc"], atol=0.005)
    assert not torch.allclose(cut["iou_half"], signed["iou_half"], atol=0.01)


def test_the_maximum_may_be_a_few_pixels_away_if_that_is_asked_for():
    maps = torch.zeros(1, 1, SIDE, SIDE)
    maps[0, 0, 10, 22] = 1  # the box ends with column 19
    found = [asked(maps, [[BOX]], tolerance=n).values for n in (0, 2, 3)]
    assert [one["pointing"].item() for one in found] == [0, 0, 1]
    assert found[0]["auprc"] == found[2]["auprc"]


def test_boxes_of_the_largest_component_are_held_against_the_nearest_box_of_the_class():
    maps = torch.zeros(1, 1, SIDE, SIDE)
    maps[..., 1:3, 1:3], maps[..., 20:24, 20:24] = 9, 2  # the smaller is the more salient
    places = [[Region(0, box=(0, 0, 4, 4)), Region(0, box=(20, 20, 24, 26))]]
    assert asked(maps, places, single=False).values["iou_wsol"].item() == pytest.approx(16 / 24)
    maps[..., 20:24, 20:24] = 1.7  # below 20 % of the range
    assert asked(maps, places, single=False).values["iou_wsol"].item() == pytest.approx(4 / 16)


def test_images_that_do_not_belong_to_the_question_are_told_apart():
    places = [
        [BOX],
        [],
        [Region(3, box=(0, 0, 9, 9))],
        [BOX, Region(0, box=(0, 0, 2, 2))],
        [BOX, Region(3, box=(0, 0, 2, 2))],
        [Region(0, box=(0, 0, 32, 17))],
        [Region(0, box=(0, 0, 32, 16))],
        [Region(0, box=(-5, 3, 0, 9))],
        [mask_of(0, slice(0, 3), slice(0, 3), (32, 32)), mask_of(0, slice(9, 12), slice(0, 3), (32, 32))],
        [BOX],
    ]
    maps = noise(len(places))
    maps[1] = maps[9] = 1
    several, large = (
        Note(Kind.EXCLUDED, "several objects of the class"),
        Note(Kind.EXCLUDED, "the object covers more than 50 % of the picture"),
    )
    outside = Note(Kind.EXCLUDED, "the object is outside of the picture as the model sees it")
    unmarked = Note(Kind.EXCLUDED, "no object of the class is marked")
    expected = [None, unmarked, unmarked, several, None, large, None, outside, None, Note(Kind.BLANK, "constant")]
    found = asked(maps, places)
    assert found.notes == expected
    for values in found.values.values():
        assert values.reshape(len(places), -1).isnan().any(1).tolist() == [note is not None for note in expected]
    rest = asked(maps, places, single=False, largest=1.0)
    assert rest.notes[3] is None
    assert rest.notes[5] is None
    assert rest.values["area"][3].item() == pytest.approx(260 / 1024)
    assert rest.values["area"][5].item() == pytest.approx(17 / 32)


def test_the_class_is_the_one_that_is_asked_for():
    other = Region(3, box=(24, 24, 30, 30))
    maps = torch.zeros(2, 1, SIDE, SIDE)
    maps[:, :, 24:30, 24:30] = 1
    found = asked(maps, [[BOX, other]] * 2, torch.tensor([[0], [3]])).values
    assert found["energy"].tolist() == [0, 1]
    assert found["auprc"][1] == 1
    assert localization.roles(target="label") == (LABEL1,)
    assert parse_question("localization:target=top1").roles == (TOP1,)


def test_an_image_has_the_same_scores_in_any_company():
    maps, places = noise(4), [[BOX], [Region(0, box=(1, 2, 8, 9))], [BOX], [Region(0, box=(3, 3, 6, 30))]]
    together, alone = asked(maps, places), asked(maps[3:], places[3:])
    for name, values in together.values.items():
        assert torch.allclose(values[3:], alone.values[name], atol=1e-6), name


def test_pixels_of_noise_have_the_objects_share_on_average():
    """Upsampled noise does not point by chance: cells at the border keep their value, others lose some."""
    found = asked(noise(300, SIDE, seed=4), [[BOX]] * 300).values
    assert found["energy"].mean().item() == pytest.approx(0.25, abs=0.005)
    assert found["auprc"].mean().item() == pytest.approx(0.25, abs=0.01)
    assert found["pointing"].mean().item() == pytest.approx(0.25, abs=0.06)
    assert found["iou_area"].mean().item() == pytest.approx(1 / 7, abs=0.01)  # of 16: 4 + 4 - 1


def test_all_metrics_of_the_question_and_no_others():
    found = asked(noise(1), [[BOX]])
    stored = {name for name, metric in QUESTIONS["localization"].metrics.items() if not metric.best_of}
    assert set(found.values) == stored
    assert found.values["iou"].shape == (1, len(found.levels)) == (1, 49)
    assert (found.levels[0], found.levels[-1]) == (2, 98)


@pytest.mark.parametrize("typed", ["largest=0", "largest=1.5", "tolerance=-1", "target=top2", "single=maybe"])
def test_what_does_not_fit_is_one_line(typed):
    with pytest.raises(SalcheckError, match=typed.split("=")[0]):
        parse_question(f"localization:{typed}")
