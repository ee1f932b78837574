"""Open a file that a user names."""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO


def open_file(path: Path) -> BinaryIO:
    """A file to be read. Raises OSError where there is none or it may not be read, and for what is no file: a pipe
    would keep its reader waiting for ever.
    """
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        kind = os.fstat(handle).st_mode
        if stat.S_ISDIR(kind):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(kind):
            raise OSError(errno.EINVAL, "it is a pipe or a device and no file", str(path))
    except BaseException:
        os.close(handle)
        raise
    return os.fdopen(handle, "rb")


def read_file(path: Path, most: int = -1) -> bytes:
    """All bytes of a file, or the first `most`; raises OSError as `open_file` does."""
    with open_file(path) as file:
        return file.read(most)
