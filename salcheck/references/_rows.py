"""Rows of numbers that are too many for memory, into a .npy file as they come."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from salcheck.store.cache import lay_out


class RowFile:
    """A float32 array (n, ...) in a new file, zero where nothing was put.

    It is written as a file and not through a mapping: a full disk is then an OSError and not a dead process.
    """

    def __init__(self, file: Path, shape: tuple[int, ...]):
        self.file = file
        self._out = file.open("w+b", buffering=0)  # what waited to be written could only fail when nobody is asked
        self._start = lay_out(self._out, shape)  # type: ignore[arg-type]
        self._shape = shape

    def __len__(self) -> int:
        return self._shape[0]

    def put(self, row: int, values: NDArray[np.float32]) -> None:
        """Writes values (..., ) into one row, or (k, ...) into k rows from this one on."""
        data = memoryview(np.ascontiguousarray(values, dtype="<f4").tobytes())
        self._out.seek(self._start + row * 4 * int(np.prod(self._shape[1:])))
        while data:
            data = data[self._out.write(data) :]

    def rows(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Some of the rows."""
        return np.load(self.file, mmap_mode="r")[rows]

    def close(self) -> None:
        self._out.close()
