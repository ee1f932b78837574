"""What a reference is: what the model does on held-out images, gathered in one pass and cached.

A reference file has `collect(model, images, scratch, **parameters) -> Collector`, which sees every batch once
(`images`: how many there are; a folder of images that the need names is not passed on), and `restore(arrays) ->
value`, what `saliency(..., reference={name: value})` is given. `LAYER` says whether it depends on the layer,
`LABELS` whether it needs to know what the images show.
"""

import contextlib
import functools
import hashlib
import json
import shutil
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol
from zipfile import BadZipFile

import numpy as np

from salcheck.datasets import Dataset, Item
from salcheck.errors import SalcheckError
from salcheck.inputs.loader import batches
from salcheck.inputs.sample import draw, image_seed
from salcheck.naming import registry
from salcheck.naming.files import open_file, read_file
from salcheck.network.model import Model
from salcheck.network.view import View
from salcheck.references._features import Features, Reading, read
from salcheck.references._library import Library
from salcheck.store.provenance import code_of
from salcheck.store.scratch import scratch_folder

__all__ = [
    "Collector",
    "Features",
    "Library",
    "Need",
    "Reading",
    "References",
    "UnbuiltError",
    "build",
    "own_images",
    "read",
]

# What decides which images are gathered, in what order, and how the model sees them.
GATHERS = [
    Path(__file__),
    *(registry.PACKAGE / name for name in ("inputs/loader.py", "inputs/sample.py", "network/view.py")),
]

SUMS = "checksums.json"  # of a reference's files, and whose they are
SMALL = "arrays.npz"
ABSENT = (OSError, ValueError, LookupError, TypeError, AttributeError, EOFError, BadZipFile)  # or torn or altered
ORDER_SEED = 0  # held-out images are read in one fixed shuffled order, so that the first of them are a fair sample


class UnbuiltError(SalcheckError):
    """One reference that cannot be built; others can."""

    def __init__(self, line: str, need: "Need"):
        super().__init__(line)
        self.args = (line, need)
        self.need = need

    def __str__(self) -> str:
        return self.args[0]


class Collector(Protocol):
    """Takes in batches of held-out images; `limit` is how many images it wants at most.

    `arrays` are what it found. What is too large for memory it maps to .npy files in `scratch` itself, and
    `restore` gets it by the file's name.
    """

    limit: int | None

    def add(self, view: View, items: Sequence[Item]) -> None: ...

    def arrays(self) -> dict[str, np.ndarray]: ...


@dataclass(frozen=True)
class References:
    """Values by key; `unread`, how many held-out images could not be read; `digests`, the identity of the images of
    those that a method names itself.
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    unread: int = 0
    digests: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Need:
    """A reference file's name and its parameters; `images` among them names a folder of the user's own."""

    name: str
    parameters: Mapping[str, Any]

    @property
    def key(self) -> str:
        """Its name in `References.values`."""
        return f"{self.name} {json.dumps(dict(sorted(self.parameters.items())))}" if self.parameters else self.name

    @property
    def settings(self) -> dict[str, Any]:
        """The parameters that `collect` takes: all but the folder."""
        return {name: value for name, value in self.parameters.items() if name != "images"}

    @property
    def module(self) -> ModuleType:
        return registry.load("references", self.name)


def build(
    needs: Sequence[Need],
    model: Model,
    dataset: Dataset | None,
    cache: Path,
    batch_size: int = 8,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> References:
    """Every needed reference, from the cache or by one forward pass over its images (progress: images done, of all).

    Without a dataset, only those whose images are named by the method. A reference that lacks unreadable images is
    not cached: they may be readable the next time. Raises SalcheckError where labels are needed and none is known.
    """
    values: dict[str, Any] = {}
    digests: dict[str, str] = {}
    missing: dict[str, tuple[Dataset, list[tuple[Need, Path]]]] = {}
    for need in {need.key: need for need in needs}.values():
        own = own_images(need, model)
        source = own or dataset
        if source is None:
            continue
        if own:
            digests[need.key] = _identity(own, 0)
        with _for(need):
            _check_labels(need, source)
        place = _place(need, model, source, cache)
        try:
            values[need.key] = need.module.restore(_load(place, place.name))
        except ABSENT:  # it is made again
            missing.setdefault(source.digest, (source, []))[1].append((need, place))
    unread = 0
    for source, wanted in missing.values():
        try:
            made, failed = _gather(wanted, model, source, batch_size, progress)
        except OSError as error:  # images that cannot be read are no OSError
            raise SalcheckError(
                f"cannot write references to '{cache}' ({error.strerror}): make room, "
                "or point SALCHECK_CACHE to another folder"
            ) from error
        values |= made
        unread = max(unread, failed)
        digests |= {need.key: _identity(source, failed) for need, _ in wanted if need.key in digests}
    return References(values, unread, digests)


def own_images(need: Need, model: Model) -> Dataset | None:
    """The images of the folder that a method names itself, if it does."""
    if "images" not in need.parameters:
        return None
    root = Path(need.parameters["images"])
    with _for(need):
        opened = registry.load("datasets", "folder").open_dataset(root, model.labels, 0)
    return replace(opened, code=code_of(registry.source_of("datasets", "folder")))


@contextlib.contextmanager
def _for(need: Need) -> Iterator[None]:
    """What is wrong in here is wrong with this reference alone."""
    try:
        yield
    except UnbuiltError:
        raise
    except SalcheckError as error:
        raise UnbuiltError(str(error), need) from error


def _identity(images: Dataset, unread: int) -> str:
    """The same whether a reference was gathered or loaded: what is in the cache lacks no image."""
    return f"{images.digest} {unread}"


def _check_labels(need: Need, source: Dataset) -> None:
    if need.module.LABELS and not any(item.labels for item in source.items):
        why = source.notes[0] if source.notes else "give --reference DIR with class folders"
        raise SalcheckError(
            f"{need.name} needs images with known classes: {why}, or take methods that need none, such as "
            "case:contrast=logits"
        )


def _place(need: Need, model: Model, source: Dataset, cache: Path) -> Path:
    of = model.key if need.module.LAYER else model.identity
    code = code_of(Path(str(need.module.__file__)), alone=GATHERS)
    identity = json.dumps([code, of, source.digest, need.key])
    return cache / "reference" / f"{need.name}-{hashlib.sha256(identity.encode()).hexdigest()[:24]}"


def _load(folder: Path, name: str) -> dict[str, np.ndarray]:
    """Arrays by name: small ones in memory, large ones mapped, copy on write so that the files stay as they are.

    Raises one of ABSENT for files that are not those that were written for the reference of this name.
    """
    stated = json.loads(read_file(folder / SUMS))
    sums: dict[str, int] = stated["files"]
    if stated["of"] != name or any(_checksum(folder / file) != one for file, one in sums.items()):
        raise ValueError(f"{folder} is torn, altered or another's")
    with open_file(folder / SMALL) as content, np.load(content, allow_pickle=False) as stored:
        small = {key: stored[key] for key in stored.files}
    large = [folder / file for file in sums if file != SMALL]
    return small | {file.stem: np.load(file, mmap_mode="c", allow_pickle=False) for file in large}


def _checksum(file: Path) -> int:
    """CRC-32 of a file's bytes."""
    checksum = 0
    with open_file(file) as content:
        while block := content.read(2**20):
            checksum = zlib.crc32(block, checksum)
    return checksum


def _gather(
    wanted: Sequence[tuple[Need, Path]],
    model: Model,
    source: Dataset,
    batch_size: int,
    progress: Callable[[int, int], None],
) -> tuple[dict[str, Any], int]:
    """Values by key, and how many images could not be read."""
    items = source.items
    with contextlib.ExitStack() as stack:
        scratches = [_scratch(place, stack) for _, place in wanted]
        collectors = [
            need.module.collect(model, len(items), scratch, **need.settings)
            for (need, _), scratch in zip(wanted, scratches, strict=True)
        ]
        limits = [len(items) if collector.limit is None else collector.limit for collector in collectors]
        items = draw(items, max(limits), ORDER_SEED)
        done = unread = 0
        for chunk in batches(model, source, items, batch_size):
            if chunk.read:
                seeds = [image_seed(ORDER_SEED, item.key) for item in chunk.read]
                view = model.view(functools.partial(model.batch, chunk.tensors), seeds, batch_size)
                for (need, _), collector, limit in zip(wanted, collectors, limits, strict=True):
                    if done < limit:
                        with _for(need):
                            collector.add(view, chunk.read)
            unread += len(chunk.failures)
            done += len(chunk.items)
            progress(done, len(items))
        values = {
            need.key: _keep(need, collector.arrays(), scratch, place, sound=not unread)
            for (need, place), collector, scratch in zip(wanted, collectors, scratches, strict=True)
        }
    return values, unread


def _scratch(place: Path, stack: contextlib.ExitStack) -> Path:
    place.parent.mkdir(parents=True, exist_ok=True)
    return stack.enter_context(scratch_folder(place.parent))


def _keep(need: Need, arrays: Mapping[str, np.ndarray], scratch: Path, place: Path, sound: bool) -> Any:
    """The value, with its arrays in files: in the cache where they are `sound`, else in a temporary folder that is
    deleted afterwards.
    """
    np.savez(scratch / SMALL, **arrays)  # type: ignore[arg-type]
    sums = {file.name: _checksum(file) for file in sorted(scratch.iterdir())}
    (scratch / SUMS).write_text(json.dumps({"of": place.name, "files": sums}))
    if not sound:
        return need.module.restore(_load(scratch, place.name))
    shutil.rmtree(place, ignore_errors=True)
    try:
        scratch.rename(place)
    except OSError:
        if not place.is_dir():  # else another process has put it there meanwhile
            raise
    return need.module.restore(_load(place, place.name))
