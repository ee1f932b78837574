"""Map cache: one memory-mapped .npy per model, layer, method, class role and dataset, at the layer's grid.

A row is only believed where the database holds its checksum: data is flushed before that is committed, so
a torn, altered or foreign row is found and made again.
"""

import contextlib
import os
import tempfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import platformdirs
from numpy.typing import NDArray

from salcheck.errors import SalcheckError


def cache_folder() -> Path:
    """`SALCHECK_CACHE`, else the user's cache folder; made if need be. Raises SalcheckError if it cannot be."""
    folder = Path(os.environ.get("SALCHECK_CACHE") or platformdirs.user_cache_path("salcheck", appauthor=False))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise SalcheckError(
            f"cache folder '{folder}' is not writable ({error.strerror}): point SALCHECK_CACHE to one that is"
        ) from error
    return folder


class MapFile:
    """The maps of one method and class role for all images of a dataset: an (images, h, w) float32 array.

    50,000 maps of 7 x 7 are 10 MB. A map at pixel resolution is 200 KB; rows that are not written take no room.
    """

    def __init__(self, file: Path, images: int):
        self.file = file
        self.images = images
        self._array: np.memmap | None = None

    def read(self, rows: Sequence[int], checksums: Sequence[int | None]) -> NDArray[np.float32] | None:
        """The maps (len(rows), h, w), or None where any of them is missing or does not match its checksum."""
        if any(checksum is None for checksum in checksums) or not self._open():
            return None
        assert self._array is not None
        maps = np.array(self._array[list(rows)])
        return maps if [checksum_of(one) for one in maps] == list(checksums) else None

    def write(self, rows: Sequence[int], maps: NDArray[np.float32]) -> list[int]:
        """Stores (len(rows), h, w) and flushes; returns their checksums, to be committed after this returns.

        Raises SalcheckError where the disk is full or does not take the file.
        """
        try:
            if not self._open() or self._array is None or self._array.shape[1:] != maps.shape[1:]:
                self._lay_out(maps.shape[1:])
            assert self._array is not None
            # Written as a file and not through the mapping: a full disk is then an error and not a dead process.
            with self.file.open("r+b") as out:
                for row, one in zip(rows, maps, strict=True):
                    out.seek(self._array.offset + row * one.nbytes)
                    out.write(np.ascontiguousarray(one, dtype=np.float32).tobytes())
                out.flush()
                os.fsync(out.fileno())
        except OSError as error:
            raise SalcheckError(
                f"cannot write to the map cache '{self.file.parent}' ({error.strerror}): make room, "
                "or point SALCHECK_CACHE to another folder"
            ) from error
        return [checksum_of(one) for one in maps]

    def _open(self) -> bool:
        if self._array is None:
            with contextlib.suppress(Exception):  # absent, or torn in ways that numpy has many errors for
                array = np.lib.format.open_memmap(self.file, mode="r")
                if array.ndim == 3 and array.dtype == np.float32 and len(array) == self.images:
                    self._array = array
        return self._array is not None

    def _lay_out(self, size: tuple[int, ...]) -> None:
        def empty(out: BinaryIO) -> None:
            shape = (self.images, *size)
            np.lib.format.write_array_header_1_0(out, {"descr": "<f4", "fortran_order": False, "shape": shape})
            out.truncate(out.tell() + 4 * int(np.prod(shape)))  # rows take room on the disk as they are written

        self._array = None
        atomic_write(self.file, empty)
        self._array = np.lib.format.open_memmap(self.file, mode="r")


def checksum_of(array: NDArray[np.float32]) -> int:
    """CRC-32 of the values' bytes."""
    return zlib.crc32(np.ascontiguousarray(array).tobytes())


def atomic_write(file: Path, write: Callable[[BinaryIO], object]) -> None:
    """A file written whole or not at all: to a temporary neighbour first, then renamed."""
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.stem}-", suffix=file.suffix)
    try:
        with os.fdopen(handle, "w+b") as out:
            write(out)
        Path(name).chmod(0o644)
        Path(name).replace(file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
