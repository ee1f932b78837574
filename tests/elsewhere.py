"""Python in other processes: several at once, without rights, or without this checkout's modules loaded."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parents[1]
NOBODY = 65534
DROP_RIGHTS = f"""
import os
if os.geteuid() == 0:
    os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})
"""


def start(code: str, *arguments: object) -> subprocess.Popen[str]:
    """Python running `code` with this checkout on its path."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(code: str, *arguments: object) -> tuple[int, str, str]:
    """Return code, output and errors of such a process."""
    process = start(code, *arguments)
    out, err = process.communicate(timeout=120)
    return process.returncode, out.strip(), err.strip()


def run_together(codes: list[str], *arguments: object) -> list[tuple[int, str, str]]:
    """The same of several, each of which waits at a line `input()` until all have come so far."""
    processes = [start(f"print('ready', flush=True)\n{code}", *arguments) for code in codes]
    for process in processes:
        assert process.stdout and process.stdout.readline() == "ready\n"
    ended = []
    for process in processes:
        assert process.stdin
        process.stdin.write("\n")
        process.stdin.flush()
    for process in processes:
        out, err = process.communicate(timeout=120)
        ended.append((process.returncode, out.strip(), err.strip()))
    return ended


@contextmanager
def open_folder() -> Iterator[Path]:
    """A folder that an unprivileged process can reach, unlike pytest's own where root runs the tests."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder
        folder.chmod(0o755)  # a test may have sealed it
