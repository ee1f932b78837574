"""Read an array and lists from a pickle that nobody vouches for: nothing that it names is called.

Whatever a pickle of a NumPy array asks for, it gets a stand-in that only remembers what it was given.
"""

import io
import pickle
import pickletools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from salcheck.datasets._arrays import MAX_BYTES
from salcheck.datasets._images import DAMAGED
from salcheck.errors import SalcheckError
from salcheck.naming.files import read_file
from salcheck.naming.words import one_line

CONTAINERS = "EMPTY_DICT EMPTY_LIST EMPTY_TUPLE DICT LIST TUPLE TUPLE1 TUPLE2 TUPLE3 APPEND APPENDS SETITEM SETITEMS"
VALUES = (
    "NONE LONG1 NEWTRUE NEWFALSE BININT BININT1 BININT2 BINSTRING SHORT_BINSTRING BINBYTES SHORT_BINBYTES BINUNICODE"
)
OTHERS = "SHORT_BINUNICODE BINPUT LONG_BINPUT BINGET LONG_BINGET MEMOIZE GLOBAL STACK_GLOBAL REDUCE BUILD"
OPCODES = frozenset(f"{CONTAINERS} {VALUES} {OTHERS} MARK PROTO FRAME STOP".split())
MAX_TUPLES = 24  # an array takes about seven. Tuples nested by the thousand, hashed as a key, crash Python
SPARE = 1000  # how much further than its opcodes a pickle may number what it keeps
ARRAYS = {
    *((module, "_reconstruct") for module in ("numpy.core.multiarray", "numpy._core.multiarray")),
    *(("numpy", name) for name in ("ndarray", "dtype")),
}


class _Kept:
    """Stands for an array or its dtype: what it was made of and its state, unused."""

    def __init__(self, *made_of: Any):
        self.made_of = made_of
        self.state: Any = ()

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Callable[..., Any]:
        # A pickle can set attributes of what it is given. Not of this class, whose own __setstate__ is called for that,
        # and fails; of a function that would stay, which is why the other one is new each time.
        if (module, name) in ARRAYS:
            return _Kept
        if (module, name) == ("_codecs", "encode"):  # how Python 3 writes bytes for Python 2
            return lambda text, encoding: text.encode("latin1")
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is not needed for an array of numbers")


def read_pickle(path: Path, *names: str) -> dict[str, Any]:
    """The values of these names in a pickled dictionary, to be looked at by the functions below.

    Raises SalcheckError where the file is no such dictionary, and where it asks for anything but arrays.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"it is larger than {MAX_BYTES} bytes")
        data = read_file(path)
        _check(data)
        content = _Reader(io.BytesIO(data), encoding="bytes").load()
    except (*DAMAGED, RuntimeError, pickle.UnpicklingError) as error:
        raise SalcheckError(f"'{path}' is no pickle of CIFAR-100 ({one_line(error)}): fetch it again") from error
    content = content if type(content) is dict else {}
    found = {name: content[key] for name in names for key in (name, name.encode()) if key in content}
    missing = [name for name in names if name not in found]
    if missing:
        raise SalcheckError(f"'{path}' has no {', '.join(missing)}: it must be a dictionary of {', '.join(names)}")
    return found


def _check(data: bytes) -> None:
    """Raises ValueError for a pickle with an opcode that no table of arrays needs, or made to exhaust the memory."""
    tuples = 0
    for number, (opcode, argument, _) in enumerate(pickletools.genops(data)):
        if opcode.name not in OPCODES:
            raise ValueError(f"it has the opcode {opcode.name}, which is not needed for an array of numbers")
        tuples += opcode.name.startswith("TUPLE")
        if tuples > MAX_TUPLES:
            raise ValueError(f"it has more than {MAX_TUPLES} tuples")
        if opcode.name.endswith("BINPUT") and isinstance(argument, int) and argument > number + SPARE:
            # The memo is as long as its largest number: 34 GB from a file of ten bytes.
            raise ValueError("it numbers what it keeps beyond what there is")


def pixels(path: Path, kept: Any) -> NDArray[np.uint8]:
    """The array of bytes that a stand-in was given; raises SalcheckError where it is none."""
    try:
        _, shape, kind, by_columns, raw = kept.state
        if kind.made_of[0] not in ("u1", b"u1", "|u1", b"|u1"):
            raise ValueError("its elements are not uint8")
        return np.frombuffer(raw, np.uint8).reshape(shape, order="F" if by_columns else "C")
    except DAMAGED as error:
        raise SalcheckError(f"'{path}': its data are no array of bytes ({one_line(error)})") from error


def whole_numbers(path: Path, found: Any) -> NDArray[np.int64]:
    """A list of numbers as (n,); raises SalcheckError where it is none."""
    if type(found) is not list or not all(type(one) is int for one in found):
        raise SalcheckError(f"'{path}': its labels are no list of whole numbers")
    return np.array(found, np.int64)


def texts(path: Path, found: Any) -> list[str]:
    """A list of names; raises SalcheckError where it is none."""
    if type(found) is not list or not found or not all(type(one) in (str, bytes) for one in found):
        raise SalcheckError(f"'{path}': its names of classes are no list of texts")
    return [one if isinstance(one, str) else one.decode("utf-8", "replace") for one in found]
