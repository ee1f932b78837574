import warnings

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from skimage.metrics import structural_similarity

from salcheck.maps.likeness import correlation, ranks, spearman, ssim


def noise(count=4, h=23, w=31, seed=0):
    return torch.randn(count, h, w, generator=torch.Generator().manual_seed(seed))


def scaled(one):
    return (one - one.min()) / (one.max() - one.min())


def test_ssim_equals_skimage_on_maps_of_their_own_range():
    a = noise()
    for b in (noise(seed=1), a + 0.3 * noise(seed=2), -a, 7 * a.abs() - 2):
        expected = [
            structural_similarity(
                scaled(x), scaled(y), gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1
            )
            for x, y in zip(a.double().numpy(), b.double().numpy(), strict=True)
        ]
        assert ssim(a, b).tolist() == pytest.approx(expected, abs=1e-5)


def test_ssim_of_a_map_and_itself_moved_and_stretched_is_one():
    a = noise()
    assert ssim(a, 3 * a + 5).tolist() == pytest.approx([1] * 4, abs=1e-5)
    assert (ssim(a, -a) < 0).all()


def test_rank_correlation_equals_scipy_with_and_without_ties():
    a, b = noise(), noise(seed=1)
    for x, y in ((a, b), (a.clamp(min=0), b.clamp(min=0)), (a.round(), b.round()), (a, (a + b).round())):
        expected = [spearmanr(i.flatten(), j.flatten()).statistic for i, j in zip(x.numpy(), y.numpy(), strict=True)]
        assert spearman(x, y).tolist() == pytest.approx(expected, abs=1e-5)


def test_equal_values_share_the_mean_of_their_ranks():
    """Of 1, 1, 0, 3 the places are 1.5, 1.5, 0, 3, in the middle of all 1.5, and there are 4 of them."""
    found = ranks(torch.tensor([[[1.0, 1.0], [0.0, 3.0]]]))
    assert found.tolist() == [[0, 0, -0.375, 0.375]]


def test_a_map_correlates_with_itself_exactly_and_with_its_negative_exactly_opposed():
    for maps in (noise(50, 7, 7), noise(50, 7, 7).clamp(min=0), noise(3, 224, 224).round()):
        assert spearman(maps, maps).eq(1).all()
        assert spearman(maps, -maps).eq(-1).all()


def test_only_the_order_of_values_counts():
    a, b = noise(), noise(seed=1)
    assert spearman(a.exp(), b).equal(spearman(a, b))


def test_constant_maps_and_those_that_are_not_finite_have_no_rank_correlation():
    maps = noise(3, 7, 7)
    maps[0] = 2
    maps[1, 3, 3] = float("nan")
    maps[2, 0, 0] = float("inf")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert spearman(maps, noise(3, 7, 7, seed=1)).isnan().all()
        assert spearman(noise(3, 7, 7, seed=1), maps).isnan().all()


def test_a_batch_equals_single_maps():
    a, b = noise(5), noise(5, seed=1)
    for measure in (ssim, spearman):
        alone = torch.cat([measure(a[j : j + 1], b[j : j + 1]) for j in range(5)])
        torch.testing.assert_close(measure(a, b), alone, rtol=1e-5, atol=1e-6)


def test_many_pixels_are_no_less_exact():
    a, b = noise(1, 224, 224), noise(1, 224, 224, seed=1)
    expected = np.corrcoef(a.flatten().argsort().argsort(), b.flatten().argsort().argsort())[0, 1]
    assert correlation(ranks(a), ranks(b)).item() == pytest.approx(expected, abs=1e-6)
