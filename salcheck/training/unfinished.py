"""Training that is not finished, kept in its folder: nothing is lost where it is stopped or the disk is full."""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from salcheck.errors import SalcheckError
from salcheck.naming.files import open_file
from salcheck.store.cache import atomic_write

NAME = "unfinished.pt"


class Unfinished:
    """How far training is. identity: of all that decides its weights; what another training left is passed over."""

    def __init__(self, folder: Path, identity: str, steps: int):
        self._folder, self._identity, self._steps = folder, identity, steps
        self._kept: int | None = None

    def load(self, parts: Mapping[str, Any]) -> int:
        """Puts the parts where they were kept last; returns how many steps were done then, 0 where nothing is kept."""
        try:
            with open_file(self._folder / NAME) as file:
                kept = torch.load(file, map_location="cpu", weights_only=True)
            own = kept["identity"] == self._identity
        except Exception:  # absent, torn or foreign: unpicklers raise anything
            return 0
        if not own:
            return 0
        try:
            for name, part in parts.items():
                part.load_state_dict(kept[name])
            self._kept = int(kept["step"])
        except Exception as error:  # some parts may be changed by now: nothing can be made of them
            raise SalcheckError(f"'{self._folder / NAME}' is damaged: delete it, and training begins anew") from error
        return self._kept

    def keep(self, step: int, parts: Mapping[str, Any]) -> None:
        """Writes all parts, each of which has a state_dict; raises SalcheckError where that cannot be done."""
        state = {name: part.state_dict() for name, part in parts.items()}
        with self.guarded(step):
            atomic_write(
                self._folder / NAME, lambda file: torch.save({"identity": self._identity, "step": step, **state}, file)
            )
        self._kept = step

    @contextlib.contextmanager
    def guarded(self, step: int) -> Iterator[None]:
        """Turns what the disk does not take into one line that says what is kept of the training and where."""
        try:
            yield
        except (OSError, RuntimeError) as error:  # torch's writer says it in its own way
            reason = getattr(error, "strerror", None) or getattr(error.__cause__, "strerror", None)
            reason = reason or getattr(error.__context__, "strerror", None)
            if reason is None:
                raise
            kept = "nothing is trained yet"
            if self._kept is not None:
                kept = f"step {self._kept} of {self._steps} is kept in '{NAME}' there, and the same command goes on"
            where = f"cannot write to '{self._folder}' at step {step} of {self._steps} ({reason})"
            raise SalcheckError(f"{where}: make room, or name another folder with --out; {kept}") from error

    def remove(self) -> None:
        with contextlib.suppress(OSError):
            (self._folder / NAME).unlink(missing_ok=True)
