"""Tests, effects and intervals: numbers in, numbers out. No torch, no SQL."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from statsmodels.stats.multitest import multipletests

ZERO_METHOD = "pratt"  # scores equal to the threshold are ranked, then their ranks are dropped
RESAMPLES = 2000
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Summary:
    """What is said of one method's scores against a threshold; None where there are too few to say it.

    below: share in 0...1 under the threshold. effect: matched-pairs rank-biserial correlation in -1...1,
    positive where scores lie below the threshold. wilcoxon, sign: one-sided p-values for "below".
    low, high: percentile bootstrap interval of the median, 95 %. at_threshold: scores equal to it.
    """

    n: int
    mean: float | None = None
    median: float | None = None
    sd: float | None = None
    low: float | None = None
    high: float | None = None
    below: float | None = None
    at_threshold: int = 0
    wilcoxon: float | None = None
    sign: float | None = None
    effect: float | None = None


def summarise(values: ArrayLike, threshold: float, seed: int = 0) -> Summary:
    """The summary of scores (n,), none of them NaN, tested one-sided for lying below the threshold."""
    scores = np.asarray(values, dtype=float)
    if scores.size == 0:
        return Summary(n=0)
    low, high = median_interval(scores, seed)
    return Summary(
        n=scores.size,
        mean=float(scores.mean()),
        median=float(np.median(scores)),
        sd=float(scores.std(ddof=1)) if scores.size > 1 else None,
        low=low,
        high=high,
        below=float((scores < threshold).mean()),
        at_threshold=int((scores == threshold).sum()),
        wilcoxon=wilcoxon_below(scores, threshold),
        sign=sign_test_below(scores, threshold),
        effect=rank_biserial_below(scores, threshold),
    )


def wilcoxon_below(scores: NDArray[np.float64], threshold: float) -> float:
    """p of the one-sided Wilcoxon signed-rank test, H1: scores lie below the threshold.

    1 where every score equals the threshold: that is no evidence. Exact for small samples, else by the normal
    approximation (scipy's rule). It tests the pseudo-median under symmetry.
    """
    differences = scores - threshold
    if not differences.any():
        return 1.0
    return float(stats.wilcoxon(differences, alternative="less", zero_method=ZERO_METHOD).pvalue)


def sign_test_below(scores: NDArray[np.float64], threshold: float) -> float:
    """p of the one-sided sign test, H1: the median lies below the threshold. Equal scores are left out."""
    below, above = int((scores < threshold).sum()), int((scores > threshold).sum())
    if below + above == 0:
        return 1.0
    return float(stats.binomtest(below, below + above, 0.5, alternative="greater").pvalue)


def rank_biserial_below(scores: NDArray[np.float64], threshold: float) -> float:
    """(rank sum below - rank sum above) / both, of |score - threshold|; 1 where all lie below, 0 where none differs."""
    differences = (scores - threshold)[scores != threshold]
    if differences.size == 0:
        return 0.0
    ranks = stats.rankdata(np.abs(differences))
    return float((ranks[differences < 0].sum() - ranks[differences > 0].sum()) / ranks.sum())


def median_interval(scores: NDArray[np.float64], seed: int = 0) -> tuple[float, float]:
    """Percentile bootstrap interval of the median, images resampled; equal scores are their own interval."""
    if np.ptp(scores) == 0:
        return float(scores[0]), float(scores[0])
    interval = stats.bootstrap(
        (scores,),
        np.median,
        n_resamples=RESAMPLES,
        batch=max(1, 10_000_000 // scores.size),  # keeps the resamples in memory below 80 MB
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
