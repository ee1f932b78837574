"""Every family of timm: is it cut at `features`, are its logits the plain forward's, do activations follow the image?

    python -m tests.network.sweep [FAMILY | MODEL ...]

Networks are untrained and from no hub. Each is tried in a process of its own, so one that raises, runs out of memory or
takes too long is a row that says so. Where `features` is refused, the layer that the message names is tried too.
"""

import multiprocessing
import re
import resource
import sys
import time
import tomllib
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import timm
import torch
from timm.models import _registry

from salcheck.errors import SalcheckError
from salcheck.network.layers import resolve_layer
from salcheck.network.view import FEATURES
from tests.network.cutting import Cut, enliven, measure

FAMILIES = Path(__file__).with_name("families.toml")
WORKERS = 2
LIMIT = 300  # seconds of a core for one network
CLASSES = 10


@dataclass(frozen=True)
class Row:
    """One network. said: what was refused at `features`, "" where nothing was. cut: None where no layer could be."""

    family: str
    model: str
    layer: str = ""
    said: str = ""
    cut: Cut | None = None
    seconds: float = 0.0

    @property
    def good(self) -> bool:
        """Whether it is cut somewhere, exactly, where its head reads a grid that follows the image."""
        return self.cut is not None and self.cut.exact and self.cut.whole and self.cut.aligned


def main() -> None:
    asked = chosen(tomllib.loads(FAMILIES.read_text()), sys.argv[1:])
    start = time.monotonic()
    print(f"{'family':<23} {'model':<38} {'cut at':<30} {'grid':<13} logits   head  read  near  rank  at place")
    rows = []
    for row in swept(asked):
        rows.append(row)
        print(line(row), flush=True)
    at_features = sum(row.good and not row.said for row in rows)
    named = sum(row.good and bool(row.said) for row in rows)
    families = len({row.family for row in rows})
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"\n{len(rows)} networks of {families} families in {(time.monotonic() - start) / 60:.0f} minutes ", end="")
    print(f"({(used.ru_utime + used.ru_stime) / 60:.0f} of a core): ", end="")
    print(f"{at_features} are cut by themselves, {named} at the layer that the message names, ", end="")
    print(f"{len(rows) - at_features - named} are not or not well")
    for row in sorted(rows, key=lambda row: (row.family, row.model)):
        if not row.good or row.said:
            print(f"  {row.model}: {row.said or 'see the table'}")


def chosen(families: dict[str, list[str]], words: Sequence[str]) -> list[tuple[str, str]]:
    """(family, model with its options) to try: all, or those of families and models that are named."""
    there = {_registry._model_to_module[name] for name in timm.list_models()}
    families |= {family: [_smallest(family)] for family in sorted(there - set(families))}  # a newer timm has more
    rows = [(family, model) for family, models in families.items() for model in models]
    for word in [word for given in words for word in given.split()]:
        if word not in families and not timm.is_model(word):
            raise SystemExit(f"no family or model '{word}'; families: {', '.join(families)}")
        if word not in families and all(model.split()[0] != word for _, model in rows):
            rows.append((_registry._model_to_module[word], word))
    words = " ".join(words).split()
    return [row for row in rows if not words or row[0] in words or row[1].split()[0] in words]


def _smallest(family: str) -> str:
    """The model of the shortest name: a guess that costs nothing, until the family has a line in the file."""
    return min((n for n in timm.list_models() if _registry._model_to_module[n] == family), key=lambda n: (len(n), n))


def swept(asked: Sequence[tuple[str, str]]) -> Iterator[Row]:
    """The rows as they are done, WORKERS at a time, a forked process each."""
    context = multiprocessing.get_context("fork")
    waiting, running = list(reversed(asked)), {}
    while waiting or running:
        while waiting and len(running) < WORKERS:
            here, there = context.Pipe(duplex=False)
            process = context.Process(target=_tried, args=(*waiting[-1], there))
            process.start()
            there.close()
            running[here] = (*waiting.pop(), process)
        for pipe in wait(list(running)):
            yield _received(pipe, *running.pop(pipe))


def _received(pipe: Connection, family: str, model: str, process: Any) -> Row:
    try:
        row = pipe.recv()
    except EOFError:
        row = Row(family, model, said=f"its process was killed: out of memory, or over {LIMIT} seconds of a core")
    process.join()
    return row


def _tried(family: str, model: str, pipe: Connection) -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (LIMIT, LIMIT))
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    start = time.monotonic()
    row = tried(family, model)
    pipe.send(Row(row.family, row.model, row.layer, row.said, row.cut, time.monotonic() - start))


def tried(family: str, model: str) -> Row:
    """One network, made and cut; whatever it raises is in the row."""
    name, *given = model.split()
    options: dict[str, Any] = {key: int(value) for key, value in (word.split("=") for word in given)}
    side = options.pop("side", None)
    torch.manual_seed(0)
    try:
        net = timm.create_model(name, pretrained=False, num_classes=CLASSES, **options)
        side = side or options.get("img_size")
        size = (side, side) if side else net.pretrained_cfg["input_size"][-2:]
        enliven(net, size)
    except Exception as error:
        return Row(family, name, said=f"cannot be made: {_first(error)}")
    said, layer = "", FEATURES
    try:
        layer = resolve_layer(net, FEATURES, (3, *size))
        return Row(family, name, layer, cut=measure(net, layer, size))
    except Exception as error:
        said = str(error) if isinstance(error, SalcheckError) else _first(error)
    named = re.search(r"--layer ([\w.]+\w)$", said)
    if not named:
        return Row(family, name, layer, said)
    try:
        return Row(family, name, named[1], said, measure(net, named[1], size))
    except Exception as error:
        return Row(family, name, named[1], f"{said} (and there: {_first(error)})")


def _first(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:100]}"


def line(row: Row) -> str:
    start = f"{row.family:<23} {row.model:<38} "
    if row.cut is None:
        return f"{start}NOT CUT: {row.said}"
    cut, place = row.cut, "yes" if row.cut.aligned else "NO"
    grid = "x".join(map(str, cut.grid))
    numbers = f"{cut.logits:.0e}  {cut.head:.0e}  {cut.read:4.2f}  {cut.near:4.2f}  {cut.rank:4.2f}"
    where = f"{row.layer}{' (named)' if row.said else ''}"
    return f"{start}{where:<30} {grid:<13} {numbers}  {place}{'' if row.good else '  NOT WELL'}"


if __name__ == "__main__":
    main()
