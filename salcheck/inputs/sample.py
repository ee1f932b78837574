"""Which images are evaluated and which are held out, by a seed.

An image's place in the order is a hash of the seed and its key: it does not depend on the other images, on
the machine or on a library's random numbers, and the first n of a larger draw are the smaller draw.
"""

import hashlib
from collections.abc import Sequence

from salcheck.datasets import Item


def image_seed(seed: int, key: str) -> int:
    """63 bits that belong to one image in all runs of one seed."""
    return _number(f"image {seed} {key}") >> 1


def draw(items: Sequence[Item], n: int, seed: int) -> list[Item]:
    """The first n items (or all, if there are fewer) in the seed's order."""
    return sorted(items, key=lambda item: _number(f"draw {seed} {item.key}"))[:n]


def hold_out(items: Sequence[Item], seed: int) -> tuple[list[Item], list[Item]]:
    """Items to evaluate and items held out for references, about half each, in their own order."""
    held = [_number(f"hold out {seed} {item.key}") % 2 == 0 for item in items]
    return (
        [item for item, out in zip(items, held, strict=True) if not out],
        [item for item, out in zip(items, held, strict=True) if out],
    )


def _number(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())
