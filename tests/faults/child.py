"""salcheck's command line in a fork, with a fault in it if need be."""

import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.faults.injected import Fault, inject


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit code (-9 where it was killed), stdout, stderr, and whether the fault happened."""

    code: int
    out: str
    err: str
    hit: bool = False

    def sound(self) -> str:
        """What is wrong with how it ended, "" where nothing is: a killed process, or one line about it and exit code 2,
        or no failure at all.
        """
        if "Traceback" in self.err or "Exception ignored" in self.err:
            return f"traceback: {self.err[-600:]}"
        if self.code in (0, -signal.SIGKILL):
            return ""
        if self.code != 2:
            return f"exit code {self.code}: {self.err[-300:]}"
        said = [line for line in self.err.splitlines() if line.startswith("salcheck: ")]
        return "" if said and self.err.splitlines()[-1] == said[-1] else f"not one line: {self.err[-300:]}"


def run(
    folder: Path, command: Sequence[str], fault: Fault | None = None, *, within: Callable[[], object] = lambda: None
) -> Ended:
    """Runs `salcheck <command>` in the folder, whose cache and database are its own. within: called in the child."""
    folder.mkdir(parents=True, exist_ok=True)
    logs = _logs()
    receive, send = os.pipe()
    sys.stdout.flush()
    child = os.fork()
    if not child:
        os.close(receive)
        _be(folder, command, fault, logs, send, within)
    os.close(send)
    status = os.waitpid(child, 0)[1]
    with os.fdopen(receive, "rb") as pipe:
        hit = pipe.read() != b""
    out, err = (Path(f"{logs}.{name}").read_text(errors="replace") for name in ("out", "err"))
    return Ended(os.waitstatus_to_exitcode(status), out, err, hit)


def start(folder: Path, command: Sequence[str], *, within: Callable[[], object] = lambda: None) -> int:
    """The same without waiting for it: the process's number. `ended` waits."""
    folder.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    logs = _logs()
    child = os.fork()
    if not child:
        _be(folder, command, None, logs, None, within)
    return child


def ended(child: int, limit: float = 60) -> Ended:
    """How a started process ended; one that has not after `limit` seconds is killed: code -9."""
    last = time.monotonic() + limit
    while not (done := os.waitpid(child, os.WNOHANG))[0]:
        if time.monotonic() > last:
            os.kill(child, signal.SIGKILL)
            done = os.waitpid(child, 0)
            break
        time.sleep(0.02)
    logs = _logs()
    out, err = (Path(f"{logs}.{name}").read_text(errors="replace") for name in ("out", "err"))
    return Ended(os.waitstatus_to_exitcode(done[1]), out, err)


def _logs() -> Path:
    """Where what a child says lands: not in its folder, whose disk may be full."""
    return Path(tempfile.gettempdir()) / f"salcheck-faults-{os.getpid()}"


def _be(
    folder: Path,
    command: Sequence[str],
    fault: Fault | None,
    logs: Path,
    send: int | None,
    within: Callable[[], object],
) -> None:
    """The child: never comes back."""
    code = 70
    try:
        for number, name in ((1, "out"), (2, "err")):
            handle = os.open(f"{logs}.{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
            os.dup2(handle, number)
        # pytest has put its own in their place
        sys.stdout, sys.stderr = (open(number, "w", closefd=False) for number in (1, 2))  # noqa: SIM115
        os.chdir(folder)
        os.environ |= {"SALCHECK_CACHE": str(folder / "cache"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
        os.environ.pop("SALCHECK_DB", None)
        sys.argv = ["salcheck", *command]
        within()
        if fault is not None:
            fault.hit = lambda: None if send is None else os.write(send, b"x")
            inject(fault)
        code = _main()
    except BaseException:
        os.write(2, traceback.format_exc().encode())
    os._exit(code)


def _main() -> int:
    from salcheck import cli

    try:
        cli.main()
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else int(done.code is not None)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0
