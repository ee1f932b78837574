"""What a method raises: its own failure, which keeps no other method from its maps, or something else."""

import contextlib
import traceback
from collections.abc import Iterator
from pathlib import Path

from salcheck.errors import SalcheckError
from salcheck.naming.words import one_line
from salcheck.network.chunks import out_of_memory


class MethodError(Exception):
    """A method raised what no user can mend; the words say what."""


@contextlib.contextmanager
def calling() -> Iterator[None]:
    """Turns what a method raises in here into a MethodError, but for a user's mistake (SalcheckError) and what is wrong
    with the machine: full disks, lost files, no memory.
    """
    try:
        yield
    except (SalcheckError, OSError, MemoryError):
        raise
    except Exception as error:
        if isinstance(error, RuntimeError) and out_of_memory(error):
            raise
        raise MethodError(f"it fails with {type(error).__name__}: {one_line(error)[:200]} ({_where(error)})") from error


def _where(error: Exception) -> str:
    """File and line of the last step that was not in an installed library."""
    steps = traceback.extract_tb(error.__traceback__)
    own = [step for step in steps if "site-packages" not in step.filename] or steps
    return f"{Path(own[-1].filename).name}:{own[-1].lineno}"
