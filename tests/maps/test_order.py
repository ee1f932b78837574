import numpy as np
import pytest
import torch
import torch.nn.functional as F

from salcheck.maps.notes import Kind, Note
from salcheck.maps.ranking import order, unit

SIZE = (12, 20)  # not square: a row is no column


def maps_of(levels: int, count: int = 4, seed: int = 0) -> torch.Tensor:
    """Maps (count, 12, 20) of so many values; 0 levels: all values are different."""
    generator = torch.Generator().manual_seed(seed)
    if levels:
        return torch.randint(0, levels, (count, *SIZE), generator=generator).float()
    return torch.stack([torch.randperm(240, generator=generator).view(SIZE) for _ in range(count)]).float()


def ranking_of(place: torch.Tensor) -> np.ndarray:
    """The pixels (J, H * W) by their places."""
    return place.flatten(1).argsort(1).numpy()


@pytest.mark.parametrize("ties", ["none", "random", "position"])
@pytest.mark.parametrize("levels", [0, 1, 2, 9])
def test_every_pixel_has_a_place_of_its_own_and_values_fall(levels, ties):
    maps = maps_of(levels)
    found = order(maps, SIZE, ties)
    assert found.place.shape == (4, *SIZE)
    assert found.place.dtype == torch.int32
    assert torch.equal(found.place.flatten(1).sort(1).values, torch.arange(240, dtype=torch.int32).expand(4, -1))
    by_place = maps.flatten(1).gather(1, found.place.flatten(1).argsort(1))
    assert torch.equal(by_place, found.values)
    assert (found.values.diff() <= 0).all()


@pytest.mark.parametrize("ties", ["none", "random", "position"])
def test_without_ties_it_is_a_sort(ties):
    maps = maps_of(0)
    expected = np.argsort(-maps.flatten(1).numpy(), axis=1)
    assert (ranking_of(order(maps, SIZE, ties).place) == expected).all()


@pytest.mark.parametrize("levels", [1, 2, 9])
def test_ties_by_position_are_those_of_a_stable_sort(levels):
    maps = maps_of(levels)
    expected = np.argsort(-maps.flatten(1).numpy(), axis=1, kind="stable")
    assert (ranking_of(order(maps, SIZE, "position").place) == expected).all()


def test_ties_at_random_are_one_shuffle_for_all_images():
    flat = order(torch.ones(3, *SIZE), SIZE, "random").place
    assert torch.equal(flat[0], flat[1]) and torch.equal(flat[0], flat[2])
    assert torch.equal(flat[0], order(torch.zeros(1, *SIZE), SIZE, "none").place[0])
    first_half = flat[0] < 120
    assert 45 < first_half[:6].sum() < 75  # the upper half of the picture has about half of it
    assert 45 < first_half[:, :10].sum() < 75
    maps = maps_of(3)
    shuffled = order(maps, SIZE, "random").place
    assert torch.equal(shuffled[2], order(maps[2:3], SIZE, "random").place[0])
    for value in range(3):  # within equals, the shuffle decides
        there = maps[2] == value
        assert torch.equal(shuffled[2][there].argsort(), flat[0][there].argsort())


def test_top_sets_hold_exactly_what_is_asked_and_nothing_lower():
    maps = maps_of(4)
    sizes = torch.tensor([0, 1, 100, 240])
    sets = order(maps, SIZE).place < sizes[:, None, None]
    assert sets.sum((1, 2)).tolist() == sizes.tolist()
    assert maps[2][sets[2]].min() >= maps[2][~sets[2]].max()


def test_ties_counted_by_hand():
    maps = torch.tensor(
        [[[3.0, 2, 2], [2, 1, 0]], [[5, 5, 5], [5, 5, 5]], [[0, 1, 2], [3, 4, 5]], [[0, 7, 0], [7, 0, 0]]]
    )
    tied = order(maps, (2, 3)).tied([0, 1, 2, 3, 4, 5, 6])
    assert tied.tolist() == [
        [0, 0, 1, 2, 0, 0, 0],
        [0, 1, 2, 3, 4, 5, 0],
        [0, 0, 0, 0, 0, 0, 0],
        [0, 1, 0, 1, 2, 3, 0],
    ]


def test_ties_counted_one_by_one():
    maps, sizes = maps_of(7) - 3, [1, 2, 50, 119, 239, 240]
    tied = order(maps, SIZE).tied(sizes)
    for pixels, row in zip(maps.flatten(1), tied.tolist(), strict=True):
        values = sorted(pixels.tolist(), reverse=True)
        for size, found in zip(sizes, row, strict=True):
            cut = values[size - 1]
            whole = values.count(cut) == values[:size].count(cut)
            assert found == (0 if whole else values[:size].count(cut))


@pytest.mark.parametrize("ranking", ["upsampled", "native"])
def test_positive_pixels_are_counted_and_blank_maps_named(ranking):
    maps = torch.stack([torch.eye(3), -torch.eye(3), torch.ones(3, 3), torch.eye(3) / 0, torch.zeros(3, 3)])
    found = order(maps, (9, 9), ranking=ranking)
    reasons = [None, "no positive value", "constant", "not finite", "no positive value"]
    assert found.notes == [reason and Note(Kind.BLANK, f"{reason}") for reason in reasons]
    pixels = F.interpolate(maps[:3, None], (9, 9), mode="bilinear") if ranking == "upsampled" else None
    expected = (pixels > 0).sum((1, 2, 3)) if pixels is not None else torch.tensor([27, 0, 81])
    assert found.positive()[:3].tolist() == expected.tolist()


@pytest.mark.parametrize("side", [48, 64])
def test_a_constant_map_is_blank_at_any_size(side):
    assert order(torch.full((1, 7, 7), 0.3), (side, side)).notes == [Note(Kind.BLANK, "constant")]


def test_a_map_of_nan_spoils_no_other():
    maps = maps_of(0)
    spoiled = maps.clone()
    spoiled[1, 3, 3] = torch.nan
    assert torch.equal(order(spoiled, SIZE).place[[0, 2, 3]], order(maps, SIZE).place[[0, 2, 3]])


def test_native_ranking_takes_whole_cells_where_they_lie():
    """A 2 x 5 grid on a 12 x 20 picture: a cell is 6 rows by 4 columns."""
    maps = torch.arange(10.0).view(1, 2, 5)
    found = order(maps, SIZE, ranking="native")
    for cell in range(10):
        row, column = divmod(cell, 5)
        block = found.place[0, 6 * row : 6 * row + 6, 4 * column : 4 * column + 4].flatten().sort().values
        assert block.tolist() == list(range(24 * (9 - cell), 24 * (10 - cell)))


def test_ranking_of_upsampled_maps_is_that_of_their_pixels():
    maps = torch.rand(2, 3, 5, generator=torch.Generator().manual_seed(0))
    pixels = F.interpolate(maps[:, None], SIZE, mode="bilinear", align_corners=False)[:, 0]
    expected = np.argsort(-pixels.flatten(1).numpy(), axis=1, kind="stable")
    assert (ranking_of(order(maps, SIZE, "position").place) == expected).all()
    assert not torch.equal(order(maps, SIZE).place, order(maps, SIZE, ranking="native").place)


def test_unit_maps_reach_from_0_to_1_each_by_its_own_values():
    maps = torch.tensor([[[-1.0, 0], [1, 3]], [[10, 20], [20, 50]]])
    expected = torch.tensor([[[0, 0.25], [0.5, 1]], [[0, 0.25], [0.25, 1]]])
    assert unit(maps).numpy() == pytest.approx(expected.numpy())
    assert unit(maps[:, None]).shape == (2, 1, 2, 2)
    assert torch.equal(unit(maps[None])[0], unit(maps))


def test_unit_maps_that_are_constant_are_0_and_have_no_nan():
    assert torch.equal(unit(torch.full((2, 3, 3), 4.0)), torch.zeros(2, 3, 3))
