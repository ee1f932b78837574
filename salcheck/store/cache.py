"""Map cache: one .npy per model, layer, method, class role and dataset, at the layer's grid.

A row is only believed where the database holds its checksum: data is flushed before that is committed, so
a torn, altered or foreign row is found and made again.
"""

import contextlib
import functools
import math
import os
import tempfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import platformdirs
from numpy.typing import NDArray

from salcheck.errors import SalcheckError
from salcheck.naming.files import open_file
from salcheck.store.scratch import scratch_file, sweep


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
    for place in (*folder.glob("*"), *folder.glob("maps/*/*")):
        sweep(place)
    return folder


@dataclass(frozen=True)
class Layout:
    """Where the first map of a file begins, and the (h, w) of each."""

    offset: int
    size: tuple[int, ...]

    def place(self, row: int) -> int:
        return self.offset + row * self.bytes

    @property
    def bytes(self) -> int:
        """Of one map."""
        return 4 * math.prod(self.size)


class MapFile:
    """The maps of one method and class role for all images of a dataset: an (images, h, w) float32 array.

    50,000 maps of 7 x 7 are 10 MB. A map at pixel resolution is 200 KB; rows that are not written take no room.
    Read and written as a file and not through a mapping: a full or broken disk is then an error and not a dead process.
    """

    def __init__(self, file: Path, images: int):
        self.file = file
        self.images = images
        self._layout: Layout | None = None

    def read(self, rows: Sequence[int], checksums: Sequence[int | None]) -> NDArray[np.float32] | None:
        """The maps (len(rows), h, w), or None where any of them is missing or does not match its checksum."""
        layout = self._open()
        if layout is None or any(checksum is None for checksum in checksums):
            return None
        try:
            with open_file(self.file) as file:
                found = [_read_at(file, layout, row) for row in rows]
        except (OSError, ValueError):  # gone, replaced or torn since it was opened; a disk that does not give it back
            return None
        return np.stack(found) if [checksum_of(one) for one in found] == list(checksums) else None

    def write(self, rows: Sequence[int], maps: NDArray[np.float32]) -> list[int]:
        """Stores (len(rows), h, w) and flushes; returns their checksums, to be committed after this returns.

        Raises SalcheckError where the disk is full or does not take the file.
        """
        try:
            layout = self._open()
            if layout is None or layout.size != maps.shape[1:]:
                layout = self._lay_out(maps.shape[1:])
            with self.file.open("r+b") as out:
                for row, one in zip(rows, maps, strict=True):
                    out.seek(layout.place(row))
                    out.write(np.ascontiguousarray(one, dtype=np.float32).tobytes())
                out.flush()
                os.fsync(out.fileno())
        except OSError as error:
            raise SalcheckError(
                f"cannot write to the map cache '{self.file.parent}' ({error.strerror}): make room, "
                "or point SALCHECK_CACHE to another folder"
            ) from error
        return [checksum_of(one) for one in maps]

    def _open(self) -> Layout | None:
        if self._layout is None:
            with contextlib.suppress(Exception), open_file(self.file) as file:  # torn in ways that have many errors
                self._layout = _layout_of(file, self.images)
        return self._layout

    def _lay_out(self, size: tuple[int, ...]) -> Layout:
        self._layout = None
        shape = (self.images, *size)
        atomic_write(self.file, lambda out: lay_out(out, shape))
        with open_file(self.file) as file:
            self._layout = _layout_of(file, self.images)
        assert self._layout is not None
        return self._layout


def lay_out(out: BinaryIO, shape: tuple[int, ...]) -> int:
    """Writes the header of a float32 .npy of this shape, all zero, and gives the place of the first value. Values take
    room on the disk as they are written.
    """
    np.lib.format.write_array_header_1_0(out, {"descr": "<f4", "fortran_order": False, "shape": shape})
    start = out.tell()
    out.truncate(start + 4 * math.prod(shape))
    return start


def _layout_of(file: BinaryIO, images: int) -> Layout | None:
    """The layout of a file of so many maps, None for any other file."""
    if np.lib.format.read_magic(file) != (1, 0):
        return None
    shape, by_columns, kind = np.lib.format.read_array_header_1_0(file)
    if by_columns or kind != np.float32 or len(shape) != 3 or shape[0] != images:
        return None
    layout = Layout(file.tell(), shape[1:])
    return layout if os.fstat(file.fileno()).st_size >= layout.place(images) else None


def _read_at(file: BinaryIO, layout: Layout, row: int) -> NDArray[np.float32]:
    file.seek(layout.place(row))
    return np.frombuffer(file.read(layout.bytes), np.float32).reshape(layout.size)


def checksum_of(array: NDArray[np.float32]) -> int:
    """CRC-32 of the values' bytes."""
    return zlib.crc32(np.ascontiguousarray(array).tobytes())


def atomic_write(file: Path, write: Callable[[BinaryIO], object]) -> None:
    """A file written whole or not at all: to a temporary neighbour first, then renamed. Raises OSError."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with scratch_file(file.parent, file.suffix) as (out, path):
        _finish(out, path, write)
        path.replace(file)


def write_together(folder: Path, content: Mapping[str, bytes]) -> None:
    """Files that belong together, the last of which says that they do: it is never there beside others of another time.
    All are on the disk before the first gets its name. Raises OSError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        made = {name: stack.enter_context(scratch_file(folder)) for name in content}
        for name, (out, path) in made.items():
            _finish(out, path, functools.partial(_put, content[name]))
        (folder / list(content)[-1]).unlink(missing_ok=True)
        for name, (_, path) in made.items():
            path.replace(folder / name)


def _put(content: bytes, out: BinaryIO) -> None:
    out.write(content)


def _finish(out: BinaryIO, path: Path, write: Callable[[BinaryIO], object]) -> None:
    write(out)
    out.flush()
    os.fsync(out.fileno())
    path.chmod(0o644)
    if os.name == "nt":  # where no open file is renamed
        out.close()
