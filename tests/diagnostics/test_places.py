"""How much of a map lies in a place, counted by hand."""

import pytest
import torch
from scipy.ndimage import distance_transform_edt

from salcheck.diagnostics._places import blanks, lying_on, own_and_other, pointing, positive, widened
from salcheck.maps.notes import Kind, Note, first


def test_shares_of_maps_in_places_by_hand():
    maps = torch.tensor([[[[3.0, 1.0], [0.0, 4.0]], [[1.0, 0.0], [0.0, 0.0]]]])
    masks = torch.tensor([[[[1, 1], [0, 0]], [[0, 0], [0, 1]]]]) > 0
    on = lying_on(maps, masks)
    assert on[0].tolist() == [[0.5, 0.5], [1.0, 0.0]]  # first index: the map
    own, other = own_and_other(on)
    assert own.tolist() == [[0.5, 0.0]]
    assert other.tolist() == [[0.5, 1.0]]


def test_the_other_place_is_the_one_with_the_most():
    on = torch.tensor([[[0.2, 0.3, 0.5], [0.1, 0.7, 0.2], [0.6, 0.1, 0.3]]])
    own, other = own_and_other(on)
    assert own[0].tolist() == pytest.approx([0.2, 0.7, 0.3])
    assert other[0].tolist() == pytest.approx([0.5, 0.2, 0.6])


def test_a_signed_map_has_the_mass_of_its_positive_part():
    maps = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(positive(maps, (9, 9)), positive(maps.clamp(min=0), (9, 9)))
    assert (positive(maps, (9, 9)) >= 0).all()


def test_pixels_that_share_the_maximum_share_the_point():
    pixels = torch.tensor([[5.0, 5.0], [5.0, 1.0]])
    assert pointing(pixels, torch.tensor([[1, 0], [0, 1]]) > 0).item() == pytest.approx(1 / 3)
    assert pointing(pixels, torch.tensor([[0, 0], [0, 1]]) > 0).item() == 0
    assert pointing(-pixels, torch.tensor([[0, 0], [0, 1]]) > 0).item() == 1


@pytest.mark.parametrize("pixels", [0, 1, 4, 15])
def test_a_widened_mask_is_all_that_is_no_farther_away(pixels):
    mask = torch.zeros(2, 40, 37, dtype=torch.bool)
    mask[0, 10, 30] = mask[0, 11:15, 2:9] = mask[1, 39, 0] = True
    away = torch.stack([torch.from_numpy(distance_transform_edt(~one.numpy())) for one in mask])
    assert torch.equal(widened(mask, pixels), away <= pixels)


def test_the_first_blank_map_of_an_image_is_its_note():
    maps = torch.rand(4, 2, 3, 3, generator=torch.Generator().manual_seed(0))
    maps[1, 1], maps[2, 0], maps[2, 1], maps[3, 0] = 1, -1, 1, torch.nan
    expected = [
        None,
        Note(Kind.BLANK, "constant"),
        Note(Kind.BLANK, "no positive value"),
        Note(Kind.BLANK, "not finite"),
    ]
    assert blanks(maps, (7, 7)) == expected
    assert first([None, Note(Kind.EXCLUDED, "x"), None, None], expected) == [
        None,
        Note(Kind.EXCLUDED, "x"),
        *expected[2:],
    ]
