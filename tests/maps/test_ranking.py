import numpy as np
import pytest
import torch

from salcheck.maps.ranking import blank, mass, place, ranked, set_size, signature, top_set, upsample


def by_sorting(values: np.ndarray, size: int) -> np.ndarray:
    """The top set by a stable sort of every pixel: the slow definition."""
    mask = np.zeros(values.size, bool)
    mask[np.argsort(-values.flatten(), kind="stable")[:size]] = True
    return mask.reshape(values.shape)


@pytest.mark.parametrize("percent", [0.01, 5, 37.5, 50, 100])
@pytest.mark.parametrize("levels", [2, 7, 10_000])
def test_top_sets_are_those_of_a_stable_sort(percent, levels):
    maps = torch.randint(0, levels, (3, 2, 13, 17), generator=torch.Generator().manual_seed(levels)).float()
    mask, _ = top_set(maps, percent)
    size = set_size(percent, 13 * 17)
    for got, values in zip(mask.flatten(0, 1).numpy(), maps.flatten(0, 1).numpy(), strict=True):
        assert np.array_equal(got, by_sorting(values, size))


def test_a_map_with_many_zeros_keeps_the_exact_size_and_says_how_many_were_tied():
    values = torch.zeros(10, 10)
    values[0, :3] = torch.tensor([3.0, 2.0, 1.0])
    mask, tied = top_set(values, 40)
    assert mask.sum() == 40
    assert tied == 37
    assert top_set(values, 3)[1] == 0


def test_upsampling_is_bilinear_with_half_pixel_centres():
    values = torch.tensor([[0.0, 1.0], [2.0, 3.0]])
    up = upsample(values[None], (4, 4))[0]
    weights = torch.tensor([0.0, 0.25, 0.75, 1.0])  # of the second cell, for each pixel
    expected = 2 * weights[:, None] + weights[None]
    assert torch.allclose(up, expected)


def test_upsampling_keeps_leading_axes_and_leaves_pixel_maps_alone():
    assert upsample(torch.rand(2, 3, 7, 7), (20, 30)).shape == (2, 3, 20, 30)
    pixels = torch.rand(2, 3, 20, 30)
    assert upsample(pixels, (20, 30)) is pixels


def test_blank_maps_say_why():
    good = torch.arange(16.0).reshape(4, 4)
    maps = torch.stack([good, -good, good.clone(), torch.ones(4, 4), torch.zeros(4, 4)])
    maps[2, 0, 0] = float("nan")
    few = torch.zeros(4, 4)
    few[0, 0] = 1
    why = blank(torch.cat([maps, few[None]]), 25)
    assert why[0] is None
    assert [note and note.why for note in why[1:]] == [
        "no positive value",
        "not finite",
        "constant",
        "no positive value",
        "fewer positive pixels than the set",
    ]


def test_signatures_see_proportional_maps_as_one_and_others_as_different():
    torch.manual_seed(0)
    maps = torch.randn(5, 7, 7)
    same = signature(maps * 3.7)
    assert torch.allclose(signature(maps), same, atol=1e-5)
    assert torch.allclose(signature(maps), signature(maps.clamp(min=0)), atol=1e-6)
    assert (signature(maps) - signature(maps**3)).abs().min() > 1e-3
    assert signature(-maps.abs()).isnan().all()


def test_mass_sums_to_one_over_the_positive_part():
    shares = mass(torch.tensor([[1.0, -5.0], [3.0, 0.0]]))
    assert shares.tolist() == [[0.25, 0.0], [0.75, 0.0]]


def test_a_spot_in_the_lower_right_is_found_there():
    pixels = torch.zeros(90, 60)
    pixels[80:90, 50:60] = 1
    spot = place(pixels)
    assert spot is not None
    assert spot.center == pytest.approx((55 / 60, 85 / 90))
    assert spot.half_in == pytest.approx(50 / 5400)
    assert spot.cells[8] == pytest.approx(1)
    assert "100% bottom right" in str(spot)
    assert place(-pixels) is None


def test_equal_scores_rank_by_the_lower_index():
    assert ranked(torch.tensor([[0.0, 2.0, 0.0, 2.0, 1.0]])).tolist() == [[1, 3, 4, 0, 2]]
    assert ranked(torch.zeros(1, 1000)).tolist() == [list(range(1000))]
