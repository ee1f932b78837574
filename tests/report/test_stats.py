import itertools
import math

import numpy as np
import pytest
from scipy import stats as scipy_stats

from salcheck.report import stats
from salcheck.report.stats import (
    Comparison,
    alike,
    auroc,
    bands,
    compare,
    holm,
    median_interval,
    rank_agreement,
    rank_biserial_below,
    sign_test_below,
    summarise,
    wilcoxon_below,
)

NAN = float("nan")


def scores_of(*groups):
    return np.repeat([float(value) for value, _ in groups], [count for _, count in groups])


def rank_sum_above(signed_ranks):
    return sum(rank for rank in signed_ranks if rank > 0)


# Wilcoxon


def test_all_below_is_evidence_all_above_and_all_at_the_threshold_are_not():
    assert wilcoxon_below(scores_of((40, 30)), 50) < 1e-6
    assert wilcoxon_below(scores_of((60, 30)), 50) > 1 - 1e-6
    assert wilcoxon_below(scores_of((50, 30)), 50) == 1


@pytest.mark.parametrize("step", [1e-6, 1, 4], ids=["no ties", "ties", "many ties and zeros"])
@pytest.mark.parametrize("n", [1, 2, 5, 10])
def test_wilcoxon_is_the_share_of_sign_patterns_with_as_small_a_rank_sum(n, step):
    scores = 50 + step * np.round(np.random.default_rng(n).normal(-1, 5, n) / step)
    ranks = scipy_stats.rankdata(np.abs(scores - 50))
    seen = rank_sum_above(ranks * np.sign(scores - 50))
    kept = ranks[scores != 50]
    patterns = [rank_sum_above(kept * signs) for signs in itertools.product((-1, 1), repeat=len(kept))]
    assert wilcoxon_below(scores, 50) == pytest.approx(np.mean([total <= seen for total in patterns]))


@pytest.mark.parametrize("n", [20, 50, 51, 300])
def test_wilcoxon_is_scipy_s(n):
    scores = np.random.default_rng(n).normal(49, 5, n)
    p = scipy_stats.wilcoxon(scores - 50, alternative="less").pvalue  # no zeros: no zero_method
    assert wilcoxon_below(scores, 50) == pytest.approx(p)


def test_exact_and_approximate_wilcoxon_meet():
    scores = np.round(np.random.default_rng(1).normal(49, 5, 51))
    assert wilcoxon_below(scores[:50], 50) == pytest.approx(wilcoxon_below(scores, 50), abs=0.02)


def test_wilcoxon_ranks_scores_at_the_threshold_and_then_drops_them():
    scores = np.array([50, 50, 50, 49, 52, 44, 43, 47, 58, 41, 50, 30, 20, 52, 55, 61, 45, 38, 70] * 3, dtype=float)
    d = scores - 50
    ranks = scipy_stats.rankdata(np.abs(d))
    above, kept = ranks[d > 0].sum(), ranks[d != 0]
    z = (above - kept.sum() / 2) / math.sqrt((kept**2).sum() / 4)
    assert wilcoxon_below(scores, 50) == pytest.approx(scipy_stats.norm.cdf(z), rel=1e-9)


def test_wilcoxon_of_the_mirrored_scores_is_the_other_tail():
    scores = np.random.default_rng(0).normal(48, 10, 200)
    assert wilcoxon_below(scores, 50) + wilcoxon_below(100 - scores, 50) == pytest.approx(1)


def test_wilcoxon_keeps_its_level_under_the_null():
    rng = np.random.default_rng(0)
    rejected = [wilcoxon_below(rng.normal(50, 10, 25), 50) < 0.05 for _ in range(1000)]
    assert 0.03 < np.mean(rejected) < 0.07


# Sign test


@pytest.mark.parametrize(("below", "at", "above"), [(1, 0, 0), (7, 0, 3), (7, 5, 3), (0, 2, 4), (300, 0, 260)])
def test_sign_test_is_the_binomial_tail_without_scores_at_the_threshold(below, at, above):
    n = below + above
    expected = sum(math.comb(n, k) for k in range(below, n + 1)) / 2**n
    scores = scores_of((40, below), (50, at), (60, above))
    assert sign_test_below(scores, 50) == pytest.approx(expected)


def test_sign_test_of_nothing_but_the_threshold_is_no_evidence():
    assert sign_test_below(scores_of((50, 8)), 50) == 1


# The examples of spec/case.md, 9.3: Wilcoxon's test is not about the median


def test_a_median_above_the_threshold_can_still_reject():
    summary = summarise(scores_of((60, 520), (0, 480)), 50)
    assert summary.median == 60
    assert summary.wilcoxon == pytest.approx(8e-39, rel=0.1)
    assert summary.sign > 0.85
    assert (summary.beyond, summary.low, summary.high) == (0.48, 0, 60)


def test_a_median_below_the_threshold_need_not_reject():
    summary = summarise(scores_of((45, 520), (100, 480)), 50)
    assert summary.median == 45
    assert summary.wilcoxon > 0.999
    assert summary.sign == pytest.approx(0.109, abs=0.01)
    assert summary.beyond == 0.52


# Effect


def test_rank_biserial_is_one_minus_one_or_zero_in_its_limits():
    assert rank_biserial_below(scores_of((10, 3), (49, 2)), 50) == 1
    assert rank_biserial_below(scores_of((51, 3), (99, 2)), 50) == -1
    assert rank_biserial_below(scores_of((50, 4)), 50) == 0
    assert rank_biserial_below(scores_of((40, 5), (60, 5)), 50) == 0


def test_rank_biserial_counts_ranks_by_hand():
    # |d| = 0, 1, 2, 2, 5: ranks 1, 2, 3.5, 3.5, 5 and the first dropped; below: 3.5 + 5, above: 2 + 3.5
    assert rank_biserial_below(np.array([51.0, 48.0, 52.0, 45.0, 50.0]), 50) == pytest.approx((8.5 - 5.5) / 14)


def test_effect_and_test_never_point_apart():
    """With many zeros, dropped before ranking, they would."""
    scores = np.concatenate([np.zeros(5000), np.full(60, -1.0), -np.arange(1, 2), np.arange(2.0, 42.0)])
    p = wilcoxon_below(scores, 0.0)
    assert (p < 0.5) == (rank_biserial_below(scores, 0.0) > 0)
    assert p < 0.05


def test_rank_biserial_is_the_share_of_walsh_averages_below_minus_the_share_above():
    scores = np.random.default_rng(0).normal(47, 10, 15)
    pairs = itertools.combinations_with_replacement(scores - 50, 2)
    signs = [np.sign(a + b) for a, b in pairs]
    assert rank_biserial_below(scores, 50) == pytest.approx(-np.mean(signs))


# Interval


def exact_interval_of_odd(scores):
    """Quantiles of the bootstrap median: it is at most the k-th score where most of n draws are."""
    n, ordered = len(scores), np.sort(scores)
    at_most = scipy_stats.binom.sf((n - 1) // 2, n, np.arange(1, n + 1) / n)
    return ordered[np.searchsorted(at_most, 0.025)], ordered[np.searchsorted(at_most, 0.975)]


@pytest.mark.parametrize("n", [3, 11, 101, 1001])
def test_interval_has_the_ends_of_the_exact_bootstrap_distribution(n):
    scores = np.arange(n, dtype=float)
    exact = exact_interval_of_odd(scores)
    assert median_interval(scores) == pytest.approx(exact, abs=max(1, 0.02 * math.sqrt(n)))


@pytest.mark.parametrize("n", [2, 5, 12, 60])
def test_interval_agrees_with_resampling_image_by_image(n):
    rng = np.random.default_rng(n)
    scores = np.sort(rng.exponential(20, n))
    medians = np.median(scores[rng.integers(0, n, (40_000, n))], axis=1)
    for own, quantile in zip(median_interval(scores), (0.025, 0.975), strict=True):
        near = np.quantile(medians, [quantile - 0.005, quantile + 0.005])
        assert near[0] <= own <= near[1]


def test_interval_covers_the_median_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    intervals = [median_interval(rng.exponential(1, 80), seed) for seed in range(600)]
    covered = np.mean([low <= math.log(2) <= high for low, high in intervals])
    assert 0.92 < covered < 0.98


def test_interval_is_of_scores_repeats_itself_and_does_not_read_their_order():
    scores = np.random.default_rng(0).normal(size=41)
    low, high = median_interval(scores, seed=3)
    assert low in scores
    assert high in scores
    assert median_interval(scores[::-1], seed=3) == (low, high)
    assert median_interval(np.array([7.0])) == (7, 7)
    assert median_interval(np.array([7.0] * 8)) == (7, 7)


# Summary


def test_no_scores_have_no_numbers():
    summary = summarise([], 50)
    assert summary.n == 0
    assert {summary.mean, summary.median, summary.sd, summary.wilcoxon, summary.sign, summary.effect} == {None}


def test_one_score_has_no_deviation_and_half_a_chance():
    summary = summarise([10], 50)
    assert (summary.n, summary.mean, summary.median, summary.low, summary.high) == (1, 10, 10, 10, 10)
    assert (summary.sd, summary.wilcoxon, summary.sign, summary.effect) == (None, 0.5, 0.5, 1)


def test_two_scores_by_hand():
    summary = summarise([10, 50], 50)
    assert (summary.mean, summary.median, summary.beyond, summary.at_threshold) == (30, 30, 0.5, 1)
    assert summary.sd == pytest.approx(math.sqrt(800))
    assert 0 < summary.wilcoxon <= 0.5


def test_numbers_are_plain_floats():
    summary = summarise(np.array([1.0, 2.0, 3.0], dtype=np.float32), 50)
    assert all(type(value) in (int, float) for value in vars(summary).values())


# Holm


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holm_is_its_definition():
    p = np.random.default_rng(0).uniform(0, 0.2, 20)
    order = np.argsort(p)
    expected = np.empty(20)
    for step, index in enumerate(order):
        expected[index] = min(1, max((20 - earlier) * p[order[earlier]] for earlier in range(step + 1)))
    assert holm(p.tolist()) == pytest.approx(expected)


def test_holm_is_that_of_statsmodels():
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    p = np.random.default_rng(1).uniform(0, 0.1, 30).round(3).tolist()
    assert holm(p) == pytest.approx(multitest.multipletests(p, method="holm")[1])


def test_holm_leaves_out_what_is_missing():
    assert holm([None, 0.02, None, 0.03]) == [None, pytest.approx(0.04), None, pytest.approx(0.04)]
    assert holm([]) == []
    assert holm([None]) == [None]
    assert holm([0.3]) == [pytest.approx(0.3)]


# Methods under another name


def signatures(**methods):
    return {name: np.array(values, dtype=float) for name, values in methods.items()}


def test_twins_are_named_by_the_first_of_them():
    found = alike(signatures(a=[1, 2], b=[3, 4], c=[1, 2], d=[3, 4], e=[1, 2]))
    assert found == {"c": "a", "d": "b", "e": "a"}


def test_blanks_must_be_in_the_same_places():
    assert alike(signatures(a=[1, NAN, 2], b=[1, NAN, 2])) == {"b": "a"}
    assert alike(signatures(a=[1, NAN, 2], b=[1, 5, 2])) == {}
    assert alike(signatures(a=[1, NAN, 2], b=[NAN, 1, 2])) == {}


def test_one_image_apart_is_no_twin():
    assert alike(signatures(a=[0.1] * 100, b=[0.1] * 99 + [0.1 + 2e-4])) == {}
    assert alike(signatures(a=[0.1] * 100, b=[0.1 + 1e-5] * 100)) == {"b": "a"}


def test_methods_with_no_map_or_only_blank_ones_are_nobodys_twins():
    assert alike(signatures(a=[], b=[])) == {}
    assert alike(signatures(a=[NAN, NAN], b=[NAN, NAN])) == {}


# Above a threshold, and without one


def test_above_is_below_turned_over():
    scores = np.random.default_rng(0).normal(0.2, 1, 40)
    above, below = summarise(scores, 0.0, above=True), summarise(-scores, 0.0)
    for name in ("wilcoxon", "sign", "effect", "beyond", "at_threshold"):
        assert getattr(above, name) == getattr(below, name)
    assert (above.mean, above.median) == pytest.approx((-below.mean, -below.median))
    assert above.beyond == (scores > 0).mean()
    assert above.effect > 0


def test_without_a_threshold_there_is_no_test():
    scores = np.random.default_rng(0).exponential(1, 200)
    summary = summarise(scores, None)
    assert (summary.wilcoxon, summary.sign, summary.effect, summary.beyond) == (None, None, None, None)
    assert (summary.mean, summary.n) == (pytest.approx(scores.mean()), 200)


# Two methods on the same images


def test_a_comparison_is_that_of_scipy_on_the_images_that_both_have():
    rng = np.random.default_rng(1)
    first = rng.normal(0.3, 1, 60)
    second = first - rng.normal(0.2, 0.5, 60)
    holes = first.copy()
    holes[[3, 10]] = NAN
    second[20] = NAN
    one, two = np.delete(first, [3, 10, 20]), np.delete(second, [3, 10, 20])
    found = compare(holes, second, higher_is_better=True)
    assert (found.n, found.equal) == (57, 0)
    assert found.difference == pytest.approx((one - two).mean())
    assert found.wilcoxon == pytest.approx(scipy_stats.wilcoxon(one, two).pvalue)
    assert found.t == pytest.approx(scipy_stats.ttest_rel(one, two).pvalue)
    assert found.t_one_sided == pytest.approx(scipy_stats.ttest_rel(one, two, alternative="greater").pvalue)
    assert found.welch == pytest.approx(scipy_stats.ttest_ind(one, two, equal_var=False).pvalue)
    assert found.welch > 3 * found.t  # which image is which matters here


def test_effect_and_one_sided_p_say_which_is_better_and_the_difference_which_is_larger():
    low, high = np.arange(10.0), np.arange(10.0) + np.linspace(1, 2, 10)
    up, down = compare(high, low, higher_is_better=True), compare(high, low, higher_is_better=False)
    assert (up.effect, down.effect) == (1, -1)
    assert up.difference == down.difference == pytest.approx(1.5)
    assert up.t_one_sided < 0.001
    assert down.t_one_sided > 0.999
    assert up.wilcoxon == down.wilcoxon == pytest.approx(2 / 2**10)


def test_two_methods_that_are_one_differ_in_nothing():
    same = compare([1, 2, 3], [1, 2, 3], higher_is_better=True)
    assert (same.n, same.difference, same.effect, same.wilcoxon, same.t, same.equal) == (3, 0, 0, 1, None, 3)
    assert compare([NAN, 1], [1, NAN], higher_is_better=True) == Comparison(n=0)


# Curves and rankings


def test_bands_are_the_means_and_the_quantiles_of_means_of_whole_curves():
    curves = np.random.default_rng(2).normal([0, 5, 5], [1, 1, 10], (150, 3))
    mean, low, high = bands(curves)
    assert mean == pytest.approx(curves.mean(0))
    error = curves.std(0, ddof=1) / math.sqrt(150)
    assert low == pytest.approx(mean - 1.96 * error, abs=0.3 * error.max())
    assert (high - low) / error == pytest.approx([3.92] * 3, rel=0.1)


def test_bands_leave_out_what_is_missing_and_say_nothing_of_nothing():
    curves = np.array([[1.0, NAN, NAN], [3.0, 4.0, NAN]])
    mean, low, high = bands(curves)
    assert mean[:2].tolist() == [2, 4]
    assert (low[0], high[0], low[1], high[1]) == (1, 3, 4, 4)
    assert np.isnan([mean[2], low[2], high[2]]).all()


def test_bands_do_not_depend_on_how_many_fit_the_memory(monkeypatch):
    curves = np.random.default_rng(3).normal(0, 1, (50, 2))
    whole = bands(curves)
    monkeypatch.setattr("salcheck.report.stats.WEIGHTS", 50 * 300)  # seven pieces
    pieces = bands(curves)
    for one, other in zip(whole, pieces, strict=True):
        assert one == pytest.approx(other, abs=1e-9)  # the same draws, in pieces


def test_tau_by_hand():
    assert rank_agreement([1, 2, 3, 4], [10, 20, 30, 40]) == 1
    assert rank_agreement([1, 2, 3, 4], [4, 3, 2, 1]) == -1
    assert rank_agreement([1, 2, 3, 4], [2, 1, 3, 4]) == pytest.approx((5 - 1) / 6)
    assert rank_agreement([1], [2]) is None
    assert rank_agreement([1, 1, 1], [1, 2, 3]) is None


# Images of one class belong together


def in_classes(rng, classes, each, shared=1.0, own=0.5):
    """Scores about 0 that images of a class have in common but for noise, and their classes."""
    codes = np.repeat(np.arange(classes), each)
    return rng.normal(0, shared, classes)[codes] + rng.normal(0, own, codes.size), codes


@pytest.mark.parametrize("n", [5, 9, 40, 300])
def test_clusters_of_one_image_change_no_figure(n):
    rng = np.random.default_rng(n)
    one, two = np.round(rng.normal(0.1, 1, n), 1), np.round(rng.normal(0, 1, n), 1)
    names = rng.permutation(n) + 1000
    for threshold in (None, 0.0):
        assert summarise(one, threshold, 3, clusters=names) == summarise(one, threshold, 3)
    assert compare(one, two, higher_is_better=True, clusters=names) == compare(one, two, higher_is_better=True)
    for own, plain in zip(bands(one[:, None], 3, names), bands(one[:, None], 3), strict=True):
        assert (own == plain).all()
    assert auroc(one, two, 3, names) == auroc(one, two, 3)


def test_one_shared_class_among_many_single_images_hardly_moves_p():
    """The clustered formula meets scipy's where clusters are nearly all of one image."""
    scores = np.random.default_rng(0).normal(-0.2, 1, 400)
    codes = np.r_[0, np.arange(399)]
    assert wilcoxon_below(scores, 0.0, codes) == pytest.approx(wilcoxon_below(scores, 0.0), rel=0.02)
    assert sign_test_below(scores, 0.0, codes) == pytest.approx(sign_test_below(scores, 0.0), abs=0.02)


def test_clustered_wilcoxon_counts_the_sign_patterns_of_whole_classes():
    rng = np.random.default_rng(1)
    scores, codes = in_classes(rng, 7, 3)
    scores[4] = 0  # ranked, then dropped
    signed = np.sign(scores) * scipy_stats.rankdata(np.abs(scores))
    totals = [
        sum(sign * signed[codes == code].sum() for code, sign in enumerate(signs))
        for signs in itertools.product((-1, 1), repeat=7)
    ]
    assert wilcoxon_below(scores, 0.0, codes) == pytest.approx(np.mean(np.array(totals) <= signed.sum()))
    two_sided = np.mean(np.abs(totals) >= abs(signed.sum()))
    assert compare(scores, 0 * scores, higher_is_better=True, clusters=codes).wilcoxon == pytest.approx(two_sided)


def test_clustered_wilcoxon_of_many_classes_has_the_variance_of_their_sums_of_ranks():
    scores, codes = in_classes(np.random.default_rng(2), 40, 5)
    ranks = scipy_stats.rankdata(np.abs(scores)) * np.sign(scores)
    sums = np.array([ranks[codes == code].sum() for code in range(40)])
    z = sums.sum() / math.sqrt((sums**2).sum())
    assert wilcoxon_below(scores, 0.0, codes) == pytest.approx(scipy_stats.norm.cdf(z))
    signs = np.array([np.sign(scores[codes == code]).sum() for code in range(40)])
    z = signs.sum() / math.sqrt((signs**2).sum())
    assert sign_test_below(scores, 0.0, codes) == pytest.approx(scipy_stats.norm.cdf(z))


def test_exact_and_approximate_flips_meet(monkeypatch):
    scores, codes = in_classes(np.random.default_rng(3), 18, 4)
    exact = wilcoxon_below(scores, 0.0, codes)
    monkeypatch.setattr("salcheck.report.stats.EXACT", 0)
    assert wilcoxon_below(scores, 0.0, codes) == pytest.approx(exact, abs=0.01)
    assert 0.02 < exact < 0.98


def test_images_of_one_class_count_as_one():
    """A class said 30 times is no more evidence than said once; the plain test takes it for thirty."""
    scores, codes = np.repeat([-1.0, -2.0, -3.0], 30), np.repeat([0, 1, 2], 30)
    assert wilcoxon_below(scores, 0.0, codes) == 1 / 8
    assert sign_test_below(scores, 0.0, codes) == 1 / 8
    assert wilcoxon_below(scores, 0.0) < 1e-10


@pytest.mark.parametrize("classes", [12, 60])
def test_with_alike_classes_the_clustered_tests_keep_their_size_and_the_plain_ones_do_not(classes):
    rng, trials = np.random.default_rng(4), 400
    rejected = dict.fromkeys(("two-sided", "below", "sign", "t", "plain", "plain t"), 0)
    for _ in range(trials):
        scores, codes = in_classes(rng, classes, 8)
        clustered = compare(scores, 0 * scores, higher_is_better=True, clusters=codes)
        plain = compare(scores, 0 * scores, higher_is_better=True)
        rejected["two-sided"] += clustered.wilcoxon < 0.05
        rejected["t"] += clustered.t < 0.05
        rejected["below"] += wilcoxon_below(scores, 0.0, codes) < 0.05
        rejected["sign"] += sign_test_below(scores, 0.0, codes) < 0.05
        rejected["plain"] += plain.wilcoxon < 0.05
        rejected["plain t"] += plain.t < 0.05
    for name in ("two-sided", "below", "sign", "t"):
        assert 0.02 < rejected[name] / trials < 0.08, rejected
    assert rejected["plain"] / trials > 0.3
    assert rejected["plain t"] / trials > 0.3


def test_with_alike_classes_a_clustered_interval_covers_and_a_plain_one_does_not():
    rng, covered = np.random.default_rng(5), {"mean": 0, "median": 0, "plain": 0}
    for seed in range(60):
        scores, codes = in_classes(rng, 50, 6)
        _, low, high = bands(scores[:, None], seed, codes)
        covered["mean"] += low[0] <= 0 <= high[0]
        low, high = median_interval(scores, seed, codes)
        covered["median"] += low <= 0 <= high
        _, low, high = bands(scores[:, None], seed)
        covered["plain"] += low[0] <= 0 <= high[0]
    assert 0.87 < covered["mean"] / 60 <= 1
    assert 0.87 < covered["median"] / 60 <= 1
    assert covered["plain"] / 60 < 0.75


def test_clustered_intervals_agree_with_drawing_classes_one_by_one():
    rng = np.random.default_rng(6)
    codes = np.array([0, 0, 0, 1, 2, 2, 3, 3, 3, 3, 4, 5])
    scores = rng.exponential(1, codes.size) + codes
    drawn = rng.integers(0, 6, (20_000, 6))
    resampled = [np.concatenate([scores[codes == code] for code in row]) for row in drawn]
    _, low, high = bands(scores[:, None], 0, codes)
    means = np.quantile([one.mean() for one in resampled], [0.025, 0.975])
    assert [low[0], high[0]] == pytest.approx(means, abs=0.12)
    medians = np.quantile([np.median(one) for one in resampled], [0.025, 0.975])
    assert median_interval(scores, 0, codes) == pytest.approx(medians, abs=0.12)


@pytest.mark.parametrize(("n", "classes"), [(5, 2), (9, 7), (30, 7), (200, 40), (200, 199), (999, 3)])
def test_clustered_medians_are_those_of_the_images_drawn(n, classes, monkeypatch):
    """The same draws, every image written out as often as its class was drawn."""
    monkeypatch.setattr(stats, "RESAMPLES", 3)
    rng = np.random.default_rng(n)
    scores = np.round(rng.normal(size=n), 1)
    _, codes = np.unique(rng.integers(0, classes, n), return_inverse=True)
    for seed in range(40):
        (times,) = stats._draws(codes.max() + 1, 1, seed)
        expected = [np.median(np.repeat(scores, row[codes].astype(int))) for row in times]
        assert stats._medians(scores, codes, seed).tolist() == expected


def test_a_clustered_t_test_is_the_regression_on_a_constant_with_clustered_errors():
    sm = pytest.importorskip("statsmodels.api")
    rng = np.random.default_rng(7)
    codes = rng.integers(0, 15, 90)
    one, two = rng.normal(0.3, 1, 90) + 0.5 * codes % 2, rng.normal(0, 1, 90)
    fitted = sm.OLS(one - two, np.ones(90)).fit(cov_type="cluster", cov_kwds={"groups": codes}, use_t=True)
    expected = 2 * scipy_stats.t.sf(abs((one - two).mean() / fitted.bse[0]), 14)
    told = compare(one, two, higher_is_better=True, clusters=codes)
    assert told.t == pytest.approx(expected, rel=1e-6)
    assert told.t_one_sided == pytest.approx(expected / 2, rel=1e-6)


def test_one_class_alone_says_nothing():
    told = compare([1.0, 2.0, 3.0], [0.0, 0.0, 0.5], higher_is_better=True, clusters=[4, 4, 4])
    assert (told.wilcoxon, told.t) == (1, None)


def test_clusters_follow_their_images_where_some_have_no_score():
    codes = [0, 0, 1, 1, 2]
    full = compare([1, 2, 3, 4], [0, 0, 5, 1], higher_is_better=True, clusters=[0, 0, 1, 2])
    assert compare([1, 2, 3, NAN, 4], [0, 0, 5, 1, 1], higher_is_better=True, clusters=codes) == full


# Area under the ROC


@pytest.mark.parametrize("step", [1e-9, 0.5], ids=["no ties", "many ties"])
def test_auroc_is_scikit_learn_s(step):
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(8)
    high, low = (step * np.round(rng.normal(shift, 1, 60) / step) for shift in (0.5, 0))
    area, below, above = auroc(high, low)
    assert area == pytest.approx(metrics.roc_auc_score(np.repeat([1, 0], 60), np.concatenate([high, low])))
    assert below < area < above
    assert auroc(low, high)[0] == pytest.approx(1 - area)


def test_the_interval_of_auroc_is_that_of_images_drawn_with_both_their_values():
    rng = np.random.default_rng(9)
    codes = np.repeat(np.arange(12), 3)
    high, low = rng.normal(0.8, 1, 36) + rng.normal(0, 1, 12)[codes], rng.normal(0, 1, 36)
    for clusters, names in ((None, np.arange(36)), (codes, codes)):
        found = []
        for _ in range(4000):
            rows = np.concatenate(
                [np.flatnonzero(names == name) for name in rng.integers(0, names.max() + 1, names.max() + 1)]
            )
            found.append(np.mean(np.sign(high[rows][:, None] - low[rows]) / 2 + 0.5))
        assert auroc(high, low, 0, clusters)[1:] == pytest.approx(np.quantile(found, [0.025, 0.975]), abs=0.015)
