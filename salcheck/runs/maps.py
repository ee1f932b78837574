"""A run's maps by way of the cache: those that are there, and new ones into it."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from salcheck.datasets import Item
from salcheck.methods import Method
from salcheck.runs.rows import Made, Maps
from salcheck.runs.run import Run
from salcheck.store.cache import MapFile
from salcheck.store.results import to_json

Checksums = Mapping[tuple[str, str, str], int]  # by method key, role and image key


class RunMaps:
    """The map files of one run, one for each method and role, opened when they are needed."""

    def __init__(self, run: Run, cache: Path):
        self._run = run
        self._folder = cache / "maps" / run.model.key[:16] / run.dataset.digest[:16]
        self._place = {item.key: row for row, item in enumerate(run.dataset.items)}
        self._files: dict[tuple[str, str], MapFile] = {}

    def read(self, methods: Sequence[Method], items: Sequence[Item], checksums: Checksums) -> Maps:
        """Maps (M, h, w) of every method and image of which all roles are there and sound, by their keys."""
        found: dict[tuple[str, str], NDArray[np.float32]] = {}
        for method in methods:
            roles = self._run.roles_of(method)
            for item in items if roles else []:
                sums = [checksums.get((method.key, role, item.key)) for role in roles]
                maps = [self._read(method, role, item, one) for role, one in zip(roles, sums, strict=True)]
                if not any(one is None for one in maps):
                    found[method.key, item.key] = np.stack([one for one in maps if one is not None])
        return found

    def write(self, made: Sequence[Made]) -> list[list[list[int]]]:
        """Stores new maps and flushes them; returns their checksums, by entry, role and image."""
        return [
            [
                self._file(one.method, role).write([self._place[key] for key in one.images], one.maps[:, m])
                for m, role in enumerate(self._run.roles_of(one.method))
            ]
            for one in made
        ]

    def _read(self, method: Method, role: str, item: Item, checksum: int | None) -> NDArray[np.float32] | None:
        if checksum is None:
            return None
        maps = self._file(method, role).read([self._place[item.key]], [checksum])
        return None if maps is None else maps[0]

    def _file(self, method: Method, role: str) -> MapFile:
        if (method.key, role) not in self._files:
            identity = to_json([self._run.codes[method.key], method.key, self._run.inputs(method)])
            digest = hashlib.sha256(identity.encode()).hexdigest()[:16]
            name = f"{method.file_name}-{role.replace(' ', '-')}-{digest}.npy"
            self._files[method.key, role] = MapFile(
                self._folder / name, self._run.dataset.most or len(self._run.dataset)
            )
        return self._files[method.key, role]
