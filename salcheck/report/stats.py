"""Tests, effects and intervals: numbers in, numbers out. No torch, no SQL.

Images of one class are alike. Where `clusters` (n,) says which of n images belong together, whole clusters are
resampled, and a test asks how often the signs of whole clusters would do as much: Wilcoxon's statistic with the
variance of its clusters' sums (Larocque, Statistics & Probability Letters 2005; Rosner, Glynn and Lee, Biometrics
2006), every image with the same weight. Where every cluster is one image, the plain tests are used.
"""

import dataclasses
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from statsmodels.stats.multitest import multipletests

ALPHA = 0.05  # level of every test
ZERO_METHOD = "pratt"  # scores equal to the threshold are ranked, then their ranks are dropped
RESAMPLES = 2000
CONFIDENCE = 0.95
NEARLY_ALL = 0.98  # of scores: where rounding changes which pixels are in a set, a few move
WEIGHTS = 10_000_000  # of resampled images in memory at a time: 80 MB
EXACT = 20  # clusters: with fewer every pattern of signs is counted


@dataclass(frozen=True)
class Summary:
    """Statistics of one method's scores, with tests against a threshold if there is one; None where undefined.

    low, high: percentile bootstrap interval, 95 %, of the median with a threshold and of the mean without. beyond:
    share in 0...1 on the claimed side of the threshold. effect: matched-pairs rank-biserial correlation in -1...1,
    positive on the claimed side. wilcoxon, sign: one-sided p-values for that side. at_threshold: number of scores equal
    to the threshold.
    """

    n: int
    mean: float | None = None
    median: float | None = None
    sd: float | None = None
    low: float | None = None
    high: float | None = None
    beyond: float | None = None
    at_threshold: int = 0
    wilcoxon: float | None = None
    sign: float | None = None
    effect: float | None = None


@dataclass(frozen=True)
class Comparison:
    """One method's scores beside another's on the same images; None where a figure is undefined.

    difference: mean of the first minus the second; low, high: its percentile bootstrap interval, 95 %. effect:
    matched-pairs rank-biserial correlation in -1...1, positive where the first is better. wilcoxon, t: two-sided
    p-values of the paired tests. t_one_sided: one-sided p-value for "the first is better". welch: p-value of Welch's
    unpaired two-sided t test, clusters ignored. equal: number of images on which both scores are the same.
    """

    n: int
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    effect: float | None = None
    wilcoxon: float | None = None
    t: float | None = None
    t_one_sided: float | None = None
    welch: float | None = None
    equal: int = 0


def summarise(
    values: ArrayLike,
    threshold: float | None,
    seed: int = 0,
    *,
    above: bool = False,
    clusters: ArrayLike | None = None,
) -> Summary:
    """The summary of scores (n,), none of them NaN, tested one-sided for lying below the threshold, or above it.

    Without a threshold the interval is left to `bands`, which makes those of many means at once.
    """
    scores = np.asarray(values, dtype=float)
    if scores.size == 0:
        return Summary(n=0)
    plain = Summary(
        n=scores.size,
        mean=float(scores.mean()),
        median=float(np.median(scores)),
        sd=float(scores.std(ddof=1)) if scores.size > 1 else None,
    )
    if threshold is None:
        return plain
    low, high = median_interval(scores, seed, clusters)
    oriented, limit = (-scores, -threshold) if above else (scores, threshold)
    return dataclasses.replace(
        plain,
        low=low,
        high=high,
        beyond=float((oriented < limit).mean()),
        at_threshold=int((scores == threshold).sum()),
        wilcoxon=wilcoxon_below(oriented, limit, clusters),
        sign=sign_test_below(oriented, limit, clusters),
        effect=rank_biserial_below(oriented, limit),
    )


def compare(
    first: ArrayLike, second: ArrayLike, *, higher_is_better: bool, clusters: ArrayLike | None = None
) -> Comparison:
    """Scores (n,) of two methods on the same images in the same order; images where either is NaN are left out.

    The interval is left to `bands`, which makes those of many comparisons at once.
    """
    one, two = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    both = np.isfinite(one) & np.isfinite(two)
    one, two = one[both], two[both]
    if one.size == 0:
        return Comparison(n=0)
    groups = None if clusters is None else np.asarray(clusters)[both]
    differences = one - two
    worse = -differences if higher_is_better else differences  # below 0 where the first is better
    plain = Comparison(
        n=one.size,
        difference=float(differences.mean()),
        effect=rank_biserial_below(worse, 0.0),
        wilcoxon=_wilcoxon(worse, "two-sided", groups),
        equal=int((differences == 0).sum()),
    )
    if one.size < 2 or np.ptp(differences) == 0:
        return plain
    two_sided, one_sided = _t_tests(worse, groups)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Precision loss")  # of scores that are nearly all the same
        welch = float(stats.ttest_ind(one, two, equal_var=False).pvalue)
    return dataclasses.replace(plain, t=two_sided, t_one_sided=one_sided, welch=welch)


def bands(
    values: NDArray[np.float64], seed: int = 0, clusters: ArrayLike | None = None
) -> tuple[NDArray[np.float64], ...]:
    """Mean of each column of `values` (n images, C columns), and the ends of its 95 % interval: three arrays (C,).

    Percentile bootstrap. Images (or whole clusters) are resampled, the same ones for all columns. NaN values are left
    out of a column's mean; a column of nothing else has NaN.
    """
    finite = np.isfinite(values)
    filled = np.where(finite, values, 0.0)
    codes = _codes(clusters)
    sums, counts = (
        (filled, finite.astype(float)) if codes is None else (_by_cluster(filled, codes), _by_cluster(finite, codes))
    )
    means = []
    for times in _draws(len(sums), RESAMPLES * len(sums), seed):
        with np.errstate(invalid="ignore"):
            means.append((times @ sums) / (times @ counts))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "All-NaN slice")
        low, high = np.nanquantile(np.concatenate(means), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=0)
    with np.errstate(invalid="ignore"):
        return filled.sum(0) / finite.sum(0), low, high


def auroc(
    positive: ArrayLike, negative: ArrayLike, seed: int = 0, clusters: ArrayLike | None = None
) -> tuple[float, float, float]:
    """Area under the ROC curve and the ends of its 95 % interval: the share of pairs in which the positive is larger.

    Ties count half. Both (n,) are of the same n images, without NaN; the bootstrap draws an image (or a whole cluster)
    with both its values.
    """
    first, second = np.asarray(positive, dtype=float), np.asarray(negative, dtype=float)
    order = np.argsort(second)
    places = [np.searchsorted(second[order], first, side=side) for side in ("left", "right")]

    def areas(times: NDArray[np.float64]) -> NDArray[np.float64]:
        """(R,) of images drawn so many times (R, n)."""
        passed = np.concatenate([np.zeros((len(times), 1)), np.cumsum(times[:, order], axis=1)], axis=1)
        beaten = (passed[:, places[0]] + passed[:, places[1]]) / 2
        return (times * beaten).sum(1) / times.sum(1) ** 2

    codes = _codes(clusters)
    spread = np.arange(first.size) if codes is None else codes
    draws = _draws(int(spread.max()) + 1, 4 * RESAMPLES * first.size, seed)
    resampled = np.concatenate([areas(times[:, spread]) for times in draws])
    low, high = np.quantile(resampled, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(areas(np.ones((1, first.size)))[0]), float(low), float(high)


def rank_agreement(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Kendall's tau-b of two lists of scores of the same methods; None for fewer than two methods, or all equal."""
    if len(first) < 2 or len(set(first)) < 2 or len(set(second)) < 2:
        return None
    return float(stats.kendalltau(first, second).statistic)


def wilcoxon_below(scores: NDArray[np.float64], threshold: float, clusters: ArrayLike | None = None) -> float:
    """p of the one-sided Wilcoxon signed-rank test, H1: scores lie below the threshold.

    1 where every score equals the threshold: that is no evidence. Exact for small samples, else by the normal
    approximation (scipy's rule; of clusters, our own). It tests the pseudo-median under symmetry.
    """
    return _wilcoxon(scores - threshold, "less", clusters)


def _wilcoxon(differences: NDArray[np.float64], alternative: str, clusters: ArrayLike | None = None) -> float:
    codes = _codes(clusters)
    if not differences.any():
        return 1.0
    if codes is None:
        return float(stats.wilcoxon(differences, alternative=alternative, zero_method=ZERO_METHOD).pvalue)
    signed = np.sign(differences) * stats.rankdata(np.abs(differences))
    return _flips(np.bincount(codes, signed), alternative)


def sign_test_below(scores: NDArray[np.float64], threshold: float, clusters: ArrayLike | None = None) -> float:
    """p of the one-sided sign test, H1: the median lies below the threshold. Equal scores are left out."""
    codes = _codes(clusters)
    if codes is not None:
        return _flips(np.bincount(codes, np.sign(scores - threshold)), "less")
    below, above = int((scores < threshold).sum()), int((scores > threshold).sum())
    if below + above == 0:
        return 1.0
    return float(stats.binomtest(below, below + above, 0.5, alternative="greater").pvalue)


def _flips(sums: NDArray[Any], alternative: str) -> float:
    """p of the total of cluster sums (G,), H0: each is as likely to have the other sign."""
    sums = sums[sums != 0]
    total = sums.sum()
    if sums.size < EXACT:
        totals = np.zeros(1)
        for one in sums:
            totals = np.concatenate([totals - one, totals + one])
        below, above = float((totals <= total).mean()), float((totals >= total).mean())
    else:
        z = total / np.sqrt((sums**2).sum())
        below, above = float(stats.norm.cdf(z)), float(stats.norm.sf(z))
    return below if alternative == "less" else min(1.0, 2 * min(below, above))


def _t_tests(worse: NDArray[np.float64], clusters: ArrayLike | None) -> tuple[float | None, float | None]:
    """p of the t tests that the mean is not 0, and that it is below, with the clusters' own standard error."""
    codes = _codes(clusters)
    if codes is None:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Precision loss")  # of differences that are nearly all the same
            two_sided, below = (stats.ttest_1samp(worse, 0.0, alternative=side) for side in ("two-sided", "less"))
        return float(two_sided.pvalue), float(below.pvalue)
    sums = np.bincount(codes, worse - worse.mean())
    G = sums.size
    error = np.sqrt((sums**2).sum() * G / max(1, G - 1)) / worse.size
    if G < 2 or error == 0:
        return None, None
    t = worse.mean() / error
    return float(2 * stats.t.sf(abs(t), G - 1)), float(stats.t.cdf(t, G - 1))


def _codes(clusters: ArrayLike | None) -> NDArray[np.int64] | None:
    """Clusters (n,) as numbers 0...G-1; None where no two images are in one."""
    if clusters is None:
        return None
    names, codes = np.unique(np.asarray(clusters), return_inverse=True)
    return None if names.size == codes.size else codes


def _by_cluster(values: NDArray[Any], codes: NDArray[np.int64]) -> NDArray[np.float64]:
    """Sums over the images of each cluster: (n, C) to (G, C)."""
    order = np.argsort(codes, kind="stable")
    return np.add.reduceat(values[order].astype(float), np.searchsorted(codes[order], np.arange(codes.max() + 1)))


def _draws(G: int, cells: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """How often each of G is in each of all resamples, some resamples (R, G) at a time: of so many cells in all, no
    more than fit the memory.
    """
    rng = np.random.default_rng(seed)
    for size in np.diff(np.linspace(0, RESAMPLES, 2 + cells // WEIGHTS).astype(int)):
        drawn = rng.integers(G, size=(size, G)) + G * np.arange(size)[:, None]
        yield np.bincount(drawn.ravel(), minlength=size * G).reshape(size, G).astype(float)


def rank_biserial_below(scores: NDArray[np.float64], threshold: float) -> float:
    """(rank sum below - rank sum above) / both, of |score - threshold|; 1 where all lie below, 0 where none differs.

    Scores equal to the threshold are ranked and then dropped, as in the test: the two cannot point apart.
    """
    differences = scores - threshold
    ranks = stats.rankdata(np.abs(differences))
    below, above = ranks[differences < 0].sum(), ranks[differences > 0].sum()
    return float((below - above) / (below + above)) if below + above else 0.0


def median_interval(
    scores: NDArray[np.float64], seed: int = 0, clusters: ArrayLike | None = None
) -> tuple[float, float]:
    """Percentile bootstrap interval of the median, images or whole clusters resampled; equal scores are their own."""
    if np.ptp(scores) == 0:
        return float(scores[0]), float(scores[0])
    codes = _codes(clusters)
    if codes is not None:
        medians = _medians(scores, codes, seed)
        low, high = np.quantile(medians, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
        return float(low), float(high)
    interval = stats.bootstrap(
        (scores,),
        np.median,
        n_resamples=RESAMPLES,
        batch=max(1, WEIGHTS // scores.size),
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(interval.low), float(interval.high)


def _medians(scores: NDArray[np.float64], codes: NDArray[np.int64], seed: int) -> NDArray[np.float64]:
    """(RESAMPLES,) medians of scores (n,) with their clusters resampled."""
    order = np.argsort(scores)
    ordered, sorted_codes = scores[order], codes[order]
    steps = np.linspace(0, scores.size, 2 + int(np.sqrt(scores.size))).astype(int)
    inside = _by_cluster(np.arange(scores.size)[:, None] < steps, sorted_codes)  # (G, steps): images before each step
    medians = []
    for times in _draws(int(codes.max()) + 1, 4 * RESAMPLES * scores.size, seed):
        before = times @ inside
        total = before[:, -1:]
        first, last = (total - 1) // 2, total // 2
        # Only places between the last step before all medians and the first one after them need a look.
        low = int(np.flatnonzero((before <= first).all(0))[-1])
        high = int(np.flatnonzero((before > last).all(0))[0])
        upto = before[:, [low]] + np.cumsum(times[:, sorted_codes[steps[low] : steps[high]]], axis=1)
        middles = [steps[low] + (upto <= place).sum(1) for place in (first, last)]
        medians.append((ordered[middles[0]] + ordered[middles[1]]) / 2)
    return np.concatenate(medians)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down adjustment over the p-values that are there; None stays None and does not count."""
    given = [p for p in p_values if p is not None]
    adjusted = iter(multipletests(given, method="holm")[1].tolist() if given else [])
    return [None if p is None else next(adjusted) for p in p_values]


def agreeing(first: NDArray[np.float64], second: NDArray[np.float64]) -> bool:
    """Whether two methods have the same scores (n,) but for rounding: nearly all within a hundredth of their range."""
    gaps = np.isnan(first) == np.isnan(second)
    spread = np.nanmax([np.nanmax(first, initial=-np.inf), np.nanmax(second, initial=-np.inf)]) - np.nanmin(
        [np.nanmin(first, initial=np.inf), np.nanmin(second, initial=np.inf)]
    )
    close = np.isclose(first, second, rtol=0, atol=max(0.01 * spread, 0), equal_nan=True)
    return bool((gaps & close).mean() >= NEARLY_ALL) if first.size else True


def alike(signatures: Mapping[str, NDArray[np.float64]], tolerance: float = 1e-4) -> dict[str, str]:
    """Duplicates among methods: each mapped to the first method with the same signatures.

    signatures: for each method the map signatures (n,) of the same maps in the same order, NaN for blank
    maps. Two methods are duplicates where every signature agrees, blank maps included. A method with nothing but
    blank maps duplicates none: it ranks no pixel.
    """
    duplicates: dict[str, str] = {}
    names = list(signatures)
    for position, name in enumerate(names):
        own = signatures[name]
        twins = (
            first
            for first in names[:position]
            if first not in duplicates
            and np.isfinite(own).any()
            and own.shape == signatures[first].shape
            and np.allclose(own, signatures[first], rtol=0, atol=tolerance, equal_nan=True)
        )
        twin = next(twins, None)
        if twin is not None:
            duplicates[name] = twin
    return duplicates
