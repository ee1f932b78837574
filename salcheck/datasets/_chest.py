"""What the readers of chest X-rays share: tables, marked DICOM files, and which of a model's classes is the finding."""

import csv
import dataclasses
import io
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from salcheck.datasets import Dataset, Item, Labels, Region
from salcheck.datasets._annotated import annotated, faulty
from salcheck.datasets._dicom import read_dicom
from salcheck.datasets._files import file_dataset
from salcheck.errors import SalcheckError
from salcheck.naming.files import read_file
from salcheck.naming.words import one_line

HEALTHY = ("healthy", "normal", "0_normal", "no finding", "negative")
FINDING = ("finding", "abnormal", "1_abnormal", "positive")


def read_table(path: Path, *columns: str) -> list[list[str]]:
    """The cells of these columns, row by row, without the spaces around them; empty ones where a row ends too early.

    Raises SalcheckError where the file is no table of text or lacks a column.
    """
    try:
        lines = io.StringIO(read_file(path).decode("utf-8-sig", "backslashreplace"), newline="")
        rows = [[cell.strip() for cell in row] for row in csv.reader(lines)]
    except (OSError, csv.Error) as error:
        raise SalcheckError(
            f"cannot read '{path}' ({one_line(error)}): a table of {', '.join(columns)} is expected"
        ) from error
    header = rows[0] if rows else []
    missing = [column for column in columns if column not in header]
    if missing:
        raise SalcheckError(f"'{path}' has no column {', '.join(missing)}: it needs {', '.join(columns)}")
    places = [header.index(column) for column in columns]
    return [[row[place] if place < len(row) else "" for place in places] for row in rows[1:] if row]


def corners(cells: Sequence[str], path: Path) -> tuple[float, float, float, float]:
    """x0, y0, x1, y1 of a box given as x, y, width, height; raises SalcheckError for what are no such numbers."""
    try:
        x, y, width, height = (float(cell) for cell in cells)
        if not all(map(math.isfinite, (x, y, width, height))) or min(width, height) <= 0:
            raise ValueError
    except ValueError as error:
        raise SalcheckError(
            f"'{path}' has the box {one_line(', '.join(cells))}: x, y and a width and height above 0 are expected"
        ) from error
    return x, y, x + width, y + height


def two_classes(labels: Labels, dataset: str, findings: Sequence[str]) -> tuple[int | None, int]:
    """The model's indices of health, where it has that, and of the finding: by HEALTHY, `findings` and FINDING, or 0
    and 1 of two classes with other names. Raises SalcheckError where neither says which is the finding.
    """
    healthy, finding = _first(labels, HEALTHY), _first(labels, [*findings, *FINDING])
    if len(labels) == 2 and (healthy is None or finding is None):
        if healthy is None:
            healthy = labels.index("0") if finding is None else 1 - finding
        finding = labels.index("1") if healthy is None else 1 - healthy
    if finding is None or healthy == finding:
        named = ", ".join([*findings, *FINDING])
        raise SalcheckError(
            f"{dataset} tells a finding from none, and this model has {len(labels)} classes: it needs two, 0 healthy "
            f"and 1 finding, or one called {named}"
        )
    return healthy, finding


def _first(labels: Labels, names: Sequence[str]) -> int | None:
    return next((index for name in names if (index := labels.index(name)) is not None), None)


def dicom_dataset(
    name: str,
    root: Path,
    files: Iterable[Path],
    marks: Mapping[str, Sequence[Any]],
    classes: tuple[int | None, int],
    regions: Callable[[Path], Sequence[Region]],
    faults: Mapping[str, str],
) -> Dataset:
    """DICOM files with what was marked in them, `marks[stem]`; others are left out.

    An item's label is the second of `classes` where there are marks and the first where there are none. faults: why
    what was marked cannot be used; such a file cannot be read.
    """
    chosen = [path for path in sorted(files) if path.stem in marks]
    known = {path: classes[1] if marks[path.stem] else classes[0] for path in chosen}
    known |= {path: None for path in chosen if path.stem in faults}
    dataset = file_dataset(name, root, [(path, () if one is None else (one,)) for path, one in known.items()])
    of = {item.key: path for item in dataset.items if (path := dataset.path(item)) is not None}

    def note(item: Item) -> bytes:
        return repr(marks[of[item.key].stem]).encode()

    located = dataclasses.replace(
        annotated(dataset, note), read=lambda item: read_dicom(of[item.key]), regions=lambda item: regions(of[item.key])
    )
    return faulty(located, {key: faults[path.stem] for key, path in of.items() if path.stem in faults})
