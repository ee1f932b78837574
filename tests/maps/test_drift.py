import pytest
import torch

from salcheck.maps.drift import drift


def test_error_is_a_share_of_the_peak_and_shared_a_percentage_of_the_top():
    exact = torch.zeros(1, 2, 10, 10)
    exact[0, 0, 0, :5] = torch.tensor([4.0, 3.0, 2.0, 1.5, 1.2])  # the top 5 % of 100 pixels
    cast = exact.clone()
    cast[0, 0, 0, 4] = 0.0
    cast[0, 0, 9, 9] = 1.0
    (row,) = drift(cast, exact, (10, 10))
    assert row[0].error == pytest.approx(1.2 / 4)
    assert row[0].shared == pytest.approx(80)
    assert row[1] is None  # a map of zeros has no peak
    exact[0, 0, 5, 5] = torch.inf
    assert drift(cast, exact, (10, 10))[0] == [None, None]


def test_a_map_that_did_not_move_has_no_error():
    maps = torch.rand(2, 2, 5, 5)
    assert all(one.error == 0 and one.shared == 100 for row in drift(maps, maps, (20, 20)) for one in row)
