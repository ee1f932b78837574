"""Values as any database takes them, so that the same rows go into SQLite and into PostgreSQL, or into neither."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from salcheck.errors import SalcheckError


def plain(table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows with Python's own values in place of numpy's, and text without the characters that a database refuses.

    Raises ValueError for a NaN, of which SQLite would make NULL and PostgreSQL a number, neither with a word on why;
    SalcheckError for text that is longer than its column, or an integer that is larger.
    """
    convert = {column.name: _converter(table, column) for column in table.c}
    return [{name: None if value is None else convert[name](value) for name, value in row.items()} for row in rows]


def text(value: str) -> str:
    """The text with NUL, which PostgreSQL refuses, and halves of surrogates, which are no characters, escaped."""
    if value.isascii() and "\0" not in value:
        return value
    return value.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")


def _converter(table: sa.Table, column: sa.Column) -> Callable[[Any], Any]:
    where, kind = f"{table.name}.{column.name}", column.type

    def words(value: str) -> str:
        clean, longest = text(value), getattr(kind, "length", None)
        if longest and len(clean) > longest:
            raise SalcheckError(f"'{clean}' is too long for {where}: it holds {longest} characters")
        return clean

    def integer(value: Any) -> int:
        largest = 2**63 - 1 if isinstance(kind, sa.BigInteger) else 2**31 - 1  # SQLite takes the larger for both
        if abs(int(value)) > largest:
            raise SalcheckError(f"{value} is too large for {where}: it holds integers up to {largest}")
        return int(value)

    def number(value: Any) -> float:
        if value != value:  # noqa: PLR0124
            raise ValueError(f"NaN for {where}: store None, and a note that says why")
        return float(value)

    if isinstance(kind, sa.String):
        return words
    if isinstance(kind, sa.Boolean):
        return bool
    return number if isinstance(kind, sa.Float) else integer


def in_order(table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """By primary key: two writers that lock the same rows in the same order never wait for each other for ever."""
    keys = [column.name for column in table.primary_key]
    return sorted(rows, key=lambda row: [row.get(name, 0) for name in keys])
