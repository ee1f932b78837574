"""Roles: which of an image's classes a map is for, as the database calls them."""

from collections.abc import Sequence

RANDOM = "random"  # a class that the image neither shows nor seems to, drawn by the run's seed


def against(roles: Sequence[str]) -> list[str]:
    """The roles of two classes that are explained against each other; none for another number of them."""
    return [f"{roles[0]} against {roles[1]}", f"{roles[1]} against {roles[0]}"] if len(roles) == 2 else []
