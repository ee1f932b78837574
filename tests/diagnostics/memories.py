"""Scores with a memory for those tests that ask for one method, or compare what independent runs say."""

import functools
from collections.abc import Callable

from salcheck.diagnostics import Scores
from salcheck.perturb.answers import Memory


def with_memory(score: Callable[..., Scores]) -> Callable[..., Scores]:
    """`score` with a new memory in every call that brings none."""

    @functools.wraps(score)
    def scored(*args, memory=None, **parameters):
        return score(*args, memory=Memory() if memory is None else memory, **parameters)

    return scored
