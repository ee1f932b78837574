"""Names of classes as a user gives them: a list, or a file with one name a line or with names and numbers."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from salcheck.errors import SalcheckError

LAYOUT = "a .txt with one name a line, or a .csv, .txt or .json of names and numbers"
PICKLES = {".pkl", ".pickle", ".pth", ".pt"}
LARGEST_FILE = 20_000_000  # bytes: the longest list that is in use, ImageNet-21k's, takes less than one


def given_names(names: str | None, class_map: Path | None) -> list[str] | Mapping[Any, Any] | None:
    """`a,b,c` or the names in a file, in the form that `labels.in_order` takes; None where neither is given.

    Raises SalcheckError for both at once, and for a file that cannot be read.
    """
    if names is not None and class_map is not None:
        raise SalcheckError("--class-names and --class-map say the same: give one of them")
    if class_map is not None:
        return read_names(class_map)
    if names is None:
        return None
    if _is_file(names):
        return read_names(Path(names))
    found = [name.strip() for name in names.split(",")]
    if not any(found):
        raise SalcheckError("--class-names is empty: give a,b,c, in the order of the model's outputs, or a file")
    return found


def read_names(file: Path) -> list[str] | Mapping[Any, Any]:
    """Names by line (as timm's class maps are), or by number where each line has one; else raises SalcheckError."""
    if file.suffix.lower() in PICKLES:
        raise SalcheckError(f"'{file}' is a pickle, which may run code: give {LAYOUT}")
    try:
        if not file.is_file():
            raise SalcheckError(f"no file '{file}': give {LAYOUT}")
        if file.stat().st_size > LARGEST_FILE:
            raise SalcheckError(f"'{file}' is too large for a list of names: give {LAYOUT}")
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeError) as error:
        raise SalcheckError(f"cannot read '{file}' ({getattr(error, 'strerror', error)}): give {LAYOUT}") from error
    found = _of_json(file, text) if file.suffix.lower() == ".json" else _of_lines(text)
    if not found:
        raise SalcheckError(f"'{file}' names no class: give {LAYOUT}")
    return found


def _of_json(file: Path, text: str) -> list[str] | Mapping[Any, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SalcheckError(f"'{file}' is no JSON ({error}): give {LAYOUT}") from error
    if not isinstance(found, list | dict):
        raise SalcheckError(f"'{file}' holds a {type(found).__name__}: give a list of names, or names with numbers")
    return found


def _of_lines(text: str) -> list[str] | Mapping[Any, Any]:
    lines = [line.strip() for line in text.rstrip().splitlines()]
    body = [line for line in lines if line]
    for pattern, name, number in (
        (r"(.*?)[\s,;]+([0-9]{1,9})", 1, 2),
        (r"([0-9]{1,9})[\s,;]+(.*)", 2, 1),
    ):
        # The first line may be a head, `name,index`.
        for rows in (body, body[1:]):
            pairs = [re.fullmatch(pattern, line) for line in rows]
            by_number = {int(pair[number]): pair[name].strip(" \"'") for pair in pairs if pair}
            whole = len(by_number) == len(rows) == len(set(by_number.values())) > 0
            if whole and set(by_number) == set(range(len(rows))):
                return by_number
    return lines


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except (OSError, ValueError):  # too long for a name, or a NUL in it
        return False
