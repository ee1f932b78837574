"""Precision, recall and overlap of maps and objects, against scikit-learn, scikit-image and counting by hand."""

import warnings

import numpy as np
import pytest
import torch
from skimage.filters import threshold_otsu
from skimage.measure import label, regionprops
from sklearn.metrics import auc, average_precision_score, precision_recall_curve

from salcheck.maps.agreement import agreement, best_box_iou, largest_box, otsu, tight_box
from salcheck.maps.ranking import order, unit

SIZE = (24, 20)


def draw(count: int, kind: str) -> torch.Tensor:
    """Maps (count, 24, 20) of noise: signed, of few different values, or ReLU'd to zeros for the most part."""
    noise = torch.randn(count, *SIZE, generator=torch.Generator().manual_seed(1))
    return {"signed": noise, "few": (2 * noise).round(), "zeros": (noise - 0.8).clamp(min=0)}[kind]


def objects(count: int) -> torch.Tensor:
    """Masks of all sizes, from one pixel to all of them."""
    share = torch.linspace(0, 1, count)[:, None, None]
    masks = torch.rand(count, *SIZE, generator=torch.Generator().manual_seed(2)) < share
    masks[0, 3, 4] = True
    return masks


@pytest.fixture(params=["signed", "few", "zeros"])
def pair(request):
    return draw(9, request.param), objects(9)


def rows(maps, masks):
    return zip(maps.flatten(1).double().numpy(), masks.flatten(1).numpy(), strict=True)


def test_average_precision_is_scikit_learns_with_ties_and_without(pair):
    found = agreement(order(pair[0], SIZE), pair[1]).average_precision()
    expected = [average_precision_score(truth, values) for values, truth in rows(*pair)]
    assert found.tolist() == pytest.approx(expected, abs=1e-6)


def test_the_area_by_trapezoids_is_scikit_learns(pair):
    found = agreement(order(pair[0], SIZE), pair[1]).trapezoid()
    curves = [precision_recall_curve(truth, values) for values, truth in rows(*pair)]
    assert found.tolist() == pytest.approx([auc(recall, precision) for precision, recall, _ in curves], abs=1e-6)


def test_a_picture_of_half_a_million_pixels_loses_no_digits():
    generator = torch.Generator().manual_seed(3)
    maps, mask = torch.randn(1, 700, 700, generator=generator), torch.rand(1, 700, 700, generator=generator) < 0.3
    found = agreement(order(maps, (700, 700)), mask)
    (values, truth), *_ = rows(maps, mask)
    assert found.average_precision().item() == pytest.approx(average_precision_score(truth, values), abs=1e-6)


def test_a_constant_map_has_the_objects_share_of_the_picture():
    masks = objects(9)
    found = agreement(order(torch.ones(9, *SIZE), SIZE), masks)
    area = masks.float().mean((-2, -1)).tolist()
    assert found.average_precision().tolist() == pytest.approx(area, abs=1e-6)
    whole = torch.full((9, 1), 24 * 20)
    assert found.iou(whole)[:, 0].tolist() == pytest.approx(area, abs=1e-6)


def test_iou_above_a_threshold_is_counted_pixel_by_pixel(pair):
    maps, masks = pair
    scaled = unit(maps)
    thresholds = torch.tensor([0.0, 0.2, 0.5, 0.75, 0.98]).expand(9, -1)
    found = agreement(order(scaled, SIZE), masks).iou_above(thresholds)
    for j in range(9):
        for t, threshold in enumerate(thresholds[j]):
            inside, truth = (scaled[j] > threshold).numpy(), masks[j].numpy()
            assert found[j, t].item() == pytest.approx((inside & truth).sum() / (inside | truth).sum(), abs=1e-6)


def test_iou_of_the_first_pixels_takes_exactly_as_many_whatever_is_equal(pair):
    maps, masks = pair
    ranked = order(maps, SIZE)
    found = agreement(ranked, masks).iou(torch.tensor([[1, 37, 200]]).expand(9, -1))
    for t, size in enumerate((1, 37, 200)):
        top = ranked.place < size
        both, either = (top & masks).sum((-2, -1)), (top | masks).sum((-2, -1))
        assert top.sum((-2, -1)).tolist() == [size] * 9
        assert found[:, t].tolist() == pytest.approx((both / either).tolist(), abs=1e-6)


def test_by_hand_on_four_pixels():
    """Values 4, 3, 3, 1 and the object under the first 3 and the 1: precision 1/3 at the equals, 2/4 at the last."""
    found = agreement(order(torch.tensor([[[4.0, 3.0], [3.0, 1.0]]]), (2, 2)), torch.tensor([[[0, 1], [0, 1]]]) > 0)
    assert found.average_precision().item() == pytest.approx((1 / 3 + 2 / 4) / 2)
    # (recall, precision): (0, 1), (0, 0), (1/2, 1/3), (1, 1/2)
    assert found.trapezoid().item() == pytest.approx(0.5 * (0 + 1 / 3) / 2 + 0.5 * (1 / 3 + 1 / 2) / 2)
    assert found.iou_above(torch.tensor([[0.9, 1, 2.9, 3]]))[0].tolist() == pytest.approx([2 / 4, 1 / 4, 1 / 4, 0])
    assert found.iou(torch.tensor([[4, 1]]))[0].tolist() == pytest.approx([1 / 2, 0])


def test_without_an_object_there_is_no_number():
    found = agreement(order(draw(1, "signed"), SIZE), torch.zeros(1, *SIZE, dtype=torch.bool))
    assert found.average_precision().isnan().all()
    assert found.trapezoid().isnan().all()


@pytest.mark.parametrize("kind", ["signed", "few", "zeros"])
def test_otsus_threshold_is_scikit_images_to_the_bin(kind):
    maps = torch.cat([draw(9, kind), torch.rand(3, *SIZE, generator=torch.Generator().manual_seed(4)) ** 3])
    values = unit(maps).flatten(1)
    assert otsu(values).tolist() == pytest.approx([threshold_otsu(one.numpy()) for one in values], abs=1e-7)


def test_otsu_sets_two_clusters_apart_wherever_they_are():
    for cut in (0.05, 0.5, 0.9):
        values = torch.tensor([[0.0, 0.01, 0.02, cut, cut + 0.01, 1.0 if cut > 0.6 else cut + 0.02, 1.0]])
        found = float(otsu(values))
        assert found == pytest.approx(float(threshold_otsu(values.numpy())), abs=1e-7)
    assert 0.02 < found < 0.9


def test_the_largest_component_is_scikit_images_and_corners_connect():
    generator = torch.Generator().manual_seed(5)
    for share in (0.1, 0.3, 0.5):
        mask = (torch.rand(30, 40, generator=generator) < share).numpy()
        largest = max(regionprops(label(mask, connectivity=2)), key=lambda one: one.area)
        y0, x0, y1, x1 = largest.bbox
        assert largest_box(mask) == (x0, y0, x1, y1)
    corner = np.zeros((5, 6), bool)
    corner[0, 0] = corner[1, 1] = corner[4, 5] = True
    assert largest_box(corner) == (0, 0, 2, 2)
    assert largest_box(np.zeros((5, 6), bool)) == (0, 0, 0, 0)


def test_boxes_have_edges_and_areas():
    mask = np.zeros((5, 6), bool)
    mask[2, 1] = mask[3, 4] = True
    assert tight_box(mask) == (1, 2, 5, 4)
    assert best_box_iou((0, 0, 2, 2), [(1, 1, 3, 3)]) == pytest.approx(1 / 7)
    assert best_box_iou((0, 0, 2, 2), [(4, 4, 5, 5), (0, 0, 2, 1)]) == pytest.approx(1 / 2)
    assert best_box_iou((0, 0, 0, 0), [(0, 0, 2, 1)]) == 0


def test_maps_that_are_not_finite_disturb_no_other():
    maps, masks = draw(3, "signed"), objects(3)
    alone = agreement(order(maps[2:], SIZE), masks[2:])
    maps[1, 0, 0] = torch.nan
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = agreement(order(maps, SIZE), masks)
        assert otsu(unit(maps).flatten(1))[2] == otsu(unit(maps[2:]).flatten(1))[0]
    assert found.average_precision()[2] == alone.average_precision()[0]
