"""Tests, effects and intervals: numbers in, numbers out. No torch, no SQL."""

import dataclasses
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from statsmodels.stats.multitest import multipletests

ZERO_METHOD = "pratt"  # scores equal to the threshold are ranked, then their ranks are dropped
RESAMPLES = 2000
CONFIDENCE = 0.95
NEARLY_ALL = 0.98  # of scores: where rounding changes which pixels are in a set, a few move
WEIGHTS = 10_000_000  # of resampled images in memory at a time: 80 MB


@dataclass(frozen=True)
class Summary:
    """What is said of one method's scores, against a threshold if there is one; None where there is too little.

    low, high: percentile bootstrap interval, 95 %, of the median with a threshold and of the mean without. beyond:
    share in 0...1 on the claimed side of the threshold. effect: matched-pairs rank-biserial correlation in -1...1,
    positive on the claimed side. wilcoxon, sign: one-sided p-values for that side. at_threshold: scores equal to it.
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
    """One method's scores beside another's on the same images; None where no image has both, or one says nothing.

    difference: mean of the first minus the second; low, high: its percentile bootstrap interval, 95 %. effect:
    matched-pairs rank-biserial correlation in -1...1, positive where the first is better. wilcoxon, t: two-sided
    p-values of the paired tests. t_one_sided: that the first is better. welch: the two-sided test that forgets which
    image is which. equal: images on which both are the same.
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


def summarise(values: ArrayLike, threshold: float | None, seed: int = 0, *, above: bool = False) -> Summary:
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
    low, high = median_interval(scores, seed)
    oriented, limit = (-scores, -threshold) if above else (scores, threshold)
    return dataclasses.replace(
        plain,
        low=low,
        high=high,
        beyond=float((oriented < limit).mean()),
        at_threshold=int((scores == threshold).sum()),
        wilcoxon=wilcoxon_below(oriented, limit),
        sign=sign_test_below(oriented, limit),
        effect=rank_biserial_below(oriented, limit),
    )


def compare(first: ArrayLike, second: ArrayLike, *, higher_is_better: bool) -> Comparison:
    """Scores (n,) of two methods on the same images in the same order; images where either is NaN are left out.

    The interval is left to `bands`, which makes those of many comparisons at once.
    """
    one, two = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    both = np.isfinite(one) & np.isfinite(two)
    one, two = one[both], two[both]
    if one.size == 0:
        return Comparison(n=0)
    differences = one - two
    worse = -differences if higher_is_better else differences  # below 0 where the first is better
    told = Comparison(
        n=one.size,
        difference=float(differences.mean()),
        effect=rank_biserial_below(worse, 0.0),
        wilcoxon=_wilcoxon(worse, "two-sided"),
        equal=int((differences == 0).sum()),
    )
    if one.size < 2 or np.ptp(differences) == 0:
        return told
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Precision loss")  # of differences that are nearly all the same
        return dataclasses.replace(
            told,
            t=float(stats.ttest_1samp(worse, 0.0).pvalue),
            t_one_sided=float(stats.ttest_1samp(worse, 0.0, alternative="less").pvalue),
            welch=float(stats.ttest_ind(one, two, equal_var=False).pvalue),
        )


def bands(values: NDArray[np.float64], seed: int = 0) -> tuple[NDArray[np.float64], ...]:
    """Mean of each of C columns (n, C) of n images, and its percentile bootstrap interval, 95 %: three times (C,).

    Images are resampled, the same for all columns; where some of a column are NaN its mean is of the others. NaN where
    all are.
    """
    there = np.isfinite(values)
    filled = np.where(there, values, 0.0)
    rng, chunks = np.random.default_rng(seed), 1 + RESAMPLES * len(values) // WEIGHTS
    means = []
    for size in np.diff(np.linspace(0, RESAMPLES, chunks + 1).astype(int)):
        times = rng.multinomial(len(values), np.full(len(values), 1 / len(values)), size=size).astype(float)
        with np.errstate(invalid="ignore"):
            means.append((times @ filled) / (times @ there))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "All-NaN slice")
        low, high = np.nanquantile(np.concatenate(means), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=0)
    with np.errstate(invalid="ignore"):
        return filled.sum(0) / there.sum(0), low, high


def rank_agreement(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Kendall's tau-b of two rankings of the same methods by their numbers; None for fewer than two, or all equal."""
    if len(first) < 2 or len(set(first)) < 2 or len(set(second)) < 2:
        return None
    return float(stats.kendalltau(first, second).statistic)


def wilcoxon_below(scores: NDArray[np.float64], threshold: float) -> float:
    """p of the one-sided Wilcoxon signed-rank test, H1: scores lie below the threshold.

    1 where every score equals the threshold: that is no evidence. Exact for small samples, else by the normal
    approximation (scipy's rule). It tests the pseudo-median under symmetry.
    """
    return _wilcoxon(scores - threshold, "less")


def _wilcoxon(differences: NDArray[np.float64], alternative: str) -> float:
    if not differences.any():
        return 1.0
    return float(stats.wilcoxon(differences, alternative=alternative, zero_method=ZERO_METHOD).pvalue)


def sign_test_below(scores: NDArray[np.float64], threshold: float) -> float:
    """p of the one-sided sign test, H1: the median lies below the threshold. Equal scores are left out."""
    below, above = int((scores < threshold).sum()), int((scores > threshold).sum())
    if below + above == 0:
        return 1.0
    return float(stats.binomtest(below, below + above, 0.5, alternative="greater").pvalue)


def rank_biserial_below(scores: NDArray[np.float64], threshold: float) -> float:
    """(rank sum below - rank sum above) / both, of |score - threshold|; 1 where all lie below, 0 where none differs.

    Scores equal to the threshold are ranked and then dropped, as in the test: the two cannot point apart.
    """
    differences = scores - threshold
    ranks = stats.rankdata(np.abs(differences))
    below, above = ranks[differences < 0].sum(), ranks[differences > 0].sum()
    return float((below - above) / (below + above)) if below + above else 0.0


def median_interval(scores: NDArray[np.float64], seed: int = 0) -> tuple[float, float]:
    """Percentile bootstrap interval of the median, images resampled; equal scores are their own interval."""
    if np.ptp(scores) == 0:
        return float(scores[0]), float(scores[0])
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
    """Methods that are another one under another name: each to the first whose signatures it shares.

    signatures: for each method the map signatures (n,) of the same maps in the same order, NaN for blank
    maps. Two methods are alike where every signature agrees, blanks included. Methods with nothing but blank
    maps are not: they rank no pixel.
    """
    found: dict[str, str] = {}
    names = list(signatures)
    for position, name in enumerate(names):
        own = signatures[name]
        twins = (
            first
            for first in names[:position]
            if first not in found
            and np.isfinite(own).any()
            and own.shape == signatures[first].shape
            and np.allclose(own, signatures[first], rtol=0, atol=tolerance, equal_nan=True)
        )
        twin = next(twins, None)
        if twin is not None:
            found[name] = twin
    return found
