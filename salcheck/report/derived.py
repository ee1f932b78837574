"""Numbers that no diagnostic stores: they are read off the scores of many images."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from salcheck.report.stats import auroc
from salcheck.report.stored import Stored

PLANTED, CLEAN = "distance_planted", "distance_clean"  # metrics whose values are told apart by their AUROC


@dataclass(frozen=True)
class Auroc:
    """How often an image with a plant is farther away than one without, over all pairs of n images, ties half.

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
    """0 or 1: which half of the images one is in, whatever the others are."""
    return hashlib.blake2b(f"half {seed} {key}".encode(), digest_size=8).digest()[0] % 2


def best_of(
    rows: pd.DataFrame, halves: Mapping[int, int], better: int
) -> tuple[pd.DataFrame, dict[int, tuple[float | None, float | None]]]:
    """Scores at the one level of a curve that is best for the other half of the images, and that level for each half.

    rows: (method_id, level, image_id, value) of the curve; halves: 0 or 1 by image. Back come such rows at level 0, and
    by method the levels of halves 0 and 1: those of the highest mean (lowest, if `better` is negative), of equal ones
    the first; None, and no scores, where the other half has none. No image has a say in its own level.
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
    """One for each method that measured both; nothing for questions that do not."""
    if not {PLANTED, CLEAN} <= set(stored.question.metrics):
        return []
    planted, clean = (stored.wide(stored.rows(metric)) for metric in (PLANTED, CLEAN))
    found = []
    for method in stored.methods:
        if (method.id, 0.0) not in planted or (method.id, 0.0) not in clean:
            continue
        both = pd.DataFrame({"planted": planted[method.id, 0.0], "clean": clean[method.id, 0.0]})
        there = both.notna().all(axis=1).to_numpy()
        if there.any():
            values = auroc(both["planted"][there], both["clean"][there], stored.seed, stored.clusters[there])
            found.append(Auroc(method.name, method.control, method.floor, int(there.sum()), *values))
    return found
