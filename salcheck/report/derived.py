"""Numbers that need the scores of many images, so that no diagnostic can store them."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from salcheck.report.stats import auroc
from salcheck.report.stored import Stored

PLANTED, CLEAN = "distance_planted", "distance_clean"  # the two metrics between which the AUROC discriminates


@dataclass(frozen=True)
class Auroc:
    """Share of pairs in which an image with a plant has the larger distance than one without; n images, ties half.

    low, high: percentile bootstrap interval, 95 %.
    """

    method: str
    control: bool
    floor: bool
    n: int
    value: float
    low: float
    high: float


def half_of(seed: int, key: str) -> int:
    """0 or 1: the half that an image belongs to. It depends on the seed and the image's key only."""
    return hashlib.blake2b(f"half {seed} {key}".encode(), digest_size=8).digest()[0] % 2


def best_of(
    rows: pd.DataFrame, halves: Mapping[int, int], better: int
) -> tuple[pd.DataFrame, dict[int, tuple[float | None, float | None]]]:
    """Scores of a curve at one level. The level for an image is chosen on the other half of the images.

    rows: (method_id, level, image_id, value) of the curve. halves: 0 or 1 by image. Returns such rows, at level 0, and
    by method the levels at which halves 0 and 1 are read: those with the highest mean of the other half (the lowest, if
    `better` is negative), the first of equal ones. None, and no rows, where the other half has no scores.
    """
    scored = rows[rows["value"].notna()]
    half = scored["image_id"].map(halves).astype(int).rename("half")
    means = scored["value"].groupby([scored["method_id"], half, scored["level"]]).mean().unstack("level")
    best = {(int(id), int(side)): float(level) for (id, side), level in (better * means).idxmax(axis=1).items()}
    levels = {id: (best.get((id, 1)), best.get((id, 0))) for id in sorted({id for id, _ in best})}
    own = [levels[id][side] for id, side in zip(scored["method_id"], half, strict=True)]
    kept = scored[scored["level"].to_numpy() == np.array(own, dtype=float)]
    return kept.assign(level=0.0), levels


def aurocs(stored: Stored) -> list[Auroc]:
    """One for each method with both metrics; empty for questions that do not measure them."""
    if not {PLANTED, CLEAN} <= set(stored.question.metrics):
        return []
    planted, clean = (stored.wide(stored.rows(metric)) for metric in (PLANTED, CLEAN))
    results = []
    for method in stored.methods:
        if (method.id, 0.0) not in planted or (method.id, 0.0) not in clean:
            continue
        both = pd.DataFrame({"planted": planted[method.id, 0.0], "clean": clean[method.id, 0.0]})
        scored = both.notna().all(axis=1).to_numpy()
        if scored.any():
            values = auroc(both["planted"][scored], both["clean"][scored], stored.seed, stored.clusters[scored])
            results.append(Auroc(method.spec, method.control, method.floor, int(scored.sum()), *values))
    return results
