"""Which classes of an image are explained: from roles to class indices."""

from collections.abc import Sequence

from salcheck.datasets import Item
from salcheck.inputs.sample import image_seed
from salcheck.naming.roles import Role


def classes_of(roles: Sequence[Role], item: Item, ranks: Sequence[int], N: int, seed: int) -> list[int] | None:
    """The class of every role for an image whose likeliest classes are `ranks`, of N; None where it has too few.

    An image without finite scores has no ranks: its classes are 0, and it gets no score.
    """
    if not ranks:
        return [0] * len(roles)
    found = [_class(role, item, ranks, N, seed) for role in roles]
    return None if None in found else [u for u in found if u is not None]


def _class(role: Role, item: Item, ranks: Sequence[int], N: int, seed: int) -> int | None:
    if role.kind == "random":
        others = sorted(set(range(N)) - {*item.labels, *ranks[:1]})
        return others[image_seed(seed, f"class {item.key}") % len(others)] if others else None
    known = ranks if role.kind == "top" else item.labels
    return known[role.rank - 1] if role.rank <= len(known) else None
