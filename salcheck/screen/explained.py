"""What `salcheck explain` prints and writes of each image: a table, pictures, raw maps, JSON."""

import dataclasses
import io
import itertools
import json
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.table import Table

from salcheck.errors import SalcheckError
from salcheck.methods import Method
from salcheck.naming.words import fed, one_line, shorten
from salcheck.network.loading import Model
from salcheck.runs.explain import NO_CLASS, OVERLAP_PERCENT, Explained
from salcheck.screen.figures import BRIGHTEST, draw_overlays, draw_sheet
from salcheck.screen.terminal import say, stdout
from salcheck.store.cache import atomic_write

ROOM = 24  # characters of a class name above a panel and in a table
STEM_BYTES = 100  # file systems allow 255 for a whole name, and the method comes behind it

LEGEND = (
    "half in: the smallest part of the picture that holds half of the map's mass. "
    f"shared: pixels common to the top {OVERLAP_PERCENT:g} % of both maps."
)


class Output:
    """Writes and prints explanations one by one; `close` gives the exit code, 1 if an image failed."""

    def __init__(
        self, model: Model, methods: Sequence[Method], out: Path, raw: Path | None, as_json: bool, notes: Sequence[str]
    ):
        self._model = model
        self._methods = methods
        self._out = out
        self._raw = raw
        self._json = as_json
        self._records: list[dict[str, Any]] = []
        self._stems: set[str] = set()
        self._failed = 0
        self._notes = list(notes)
        for place in filter(None, (out, raw)):
            try:
                place.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                option = "--out" if place is out else "--raw"
                raise SalcheckError(
                    f"cannot make folder '{place}': {error.strerror}; name another with {option}"
                ) from error
        if not as_json:
            _print(f"{model.name}, layer {model.layer}, {model.device}")
            _print(fed(model.input))
            for note in notes:
                _print(f"note: {note}")
            _print(LEGEND)

    def add(self, explained: Explained | SalcheckError) -> None:
        """Pictures, raw maps and numbers of one image, or its error on stderr."""
        if isinstance(explained, SalcheckError):
            self._failed += 1
            say(f"salcheck: {one_line(explained)}")
            return
        for name, why in explained.failures.items():
            self._failed += 1
            say(f"salcheck: no map of '{one_line(explained.path)}' by {name}: {one_line(why)}")
        stem, made = self._unique_stem(explained.path), [m for m in self._methods if m.typed in explained.maps]
        try:
            files = [self._draw(explained, method, stem) for method in made if not method.implied]
            files += [self._draw_sheet(explained, stem)] if any(m.implied for m in made) else []
            files += [self._store(explained, stem)] if self._raw is not None else []
        except OSError as error:
            said = error.strerror or error
            raise SalcheckError(f"cannot write pictures: {said}; name another folder with --out or --raw") from error
        if self._json:
            self._records.append(self._record(explained, files))
        else:
            self._print(explained, files)

    def close(self) -> int:
        if self._json:
            sys.stdout.write(json.dumps(self._records, indent=2, allow_nan=False) + "\n")
        return 1 if self._failed else 0

    def _unique_stem(self, path: Path) -> str:
        """Images of the same name in different folders get numbers, so that none overwrites another."""
        stem = path.stem
        while len(os.fsencode(stem)) > STEM_BYTES:
            stem = stem[:-1]
        names = itertools.chain([stem], (f"{stem}-{number}" for number in itertools.count(2)))
        free = next(name for name in names if name.lower() not in self._stems)
        self._stems.add(free.lower())
        return free

    def _name(self, index: int, limit: int | None = None) -> str:
        return "no class" if index == NO_CLASS else self._model.labels.short(index, limit)

    def _draw(self, explained: Explained, method: Method, stem: str) -> Path:
        file = self._out / f"{stem}-{method.file_name}.png"
        pixels = explained.pixels[method.typed].numpy()
        titles = self._titles(explained)
        shared = explained.overlaps[method.typed]
        footer = f"{method.spec} on {self._model.name}"
        if len(explained.classes) == 2:
            said = "no overlap: a map is blank" if shared is None else f"{shared:.0f} % of the top pixels shared"
            footer += f": {said} (top {OVERLAP_PERCENT:g} %)"
        draw_overlays(file, explained.picture.numpy(), list(pixels), titles, footer)
        return file

    def _titles(self, explained: Explained) -> list[str]:
        return [f"{self._name(c, ROOM)}  {self._sure(explained, c, p)}".rstrip() for c, p in explained.classes]

    def _sure(self, explained: Explained, index: int, probability: float) -> str:
        """The class's confidence, or its score where outputs are values."""
        if self._model.outputs.kind == "value":
            return f"{float(explained.logits[index]):.4g}"
        return _percent(probability)

    def _draw_sheet(self, explained: Explained, stem: str) -> Path:
        """All methods on one contact sheet: those that came with a word such as `all` have no picture of their own."""
        file = self._out / f"{stem}-sheet.png"
        blocks = []
        made = [method for method in self._methods if method.typed in explained.maps]
        for method in sorted(made, key=lambda method: method.control):
            shared = explained.overlaps[method.typed]
            said = "" if shared is None else f"  {shared:.0f} % shared"
            blocks.append((shorten(method.spec, 30) + said, list(explained.pixels[method.typed].numpy())))
        footer = f"{self._model.name}, layer {self._model.layer}. "
        footer += f"Colours go from each map's lowest value, or 0, to its {BRIGHTEST:.1%} quantile."
        if len(explained.classes) == 2:
            footer += f" Shared: pixels common to the top {OVERLAP_PERCENT:g} % of both maps."
        draw_sheet(file, explained.picture.numpy(), blocks, self._titles(explained), footer)
        return file

    def _store(self, explained: Explained, stem: str) -> Path:
        assert self._raw is not None
        file = self._raw / f"{stem}.npz"
        arrays = {f"map/{name}": maps.numpy() for name, maps in explained.maps.items()}
        classes = np.array([c for c, _ in explained.classes])
        buffer = io.BytesIO()
        np.savez(buffer, logits=explained.logits.numpy(), classes=classes, **arrays)  # type: ignore[arg-type]
        atomic_write(file, lambda out: out.write(buffer.getvalue()))
        return file

    def _record(self, explained: Explained, files: Sequence[Path]) -> dict[str, Any]:
        classes = [(c, p) for c, p in explained.classes if c != NO_CLASS]
        maps = [
            {"method": name, "class": None if c == NO_CLASS else c, "place": dataclasses.asdict(spot) if spot else None}
            for name, places in explained.places.items()
            for (c, _), spot in zip(explained.classes, places, strict=True)
        ]
        drifts = {
            name: [dataclasses.asdict(one) if one else None for one in drifts]
            for name, drifts in explained.drifts.items()
        }
        return {
            "image": str(explained.path),
            "arch": self._model.arch,
            "model": self._model.name,
            "layer": self._model.layer,
            "dtype": self._model.dtype,
            "input": self._model.input,
            "output": self._model.outputs.kind,
            "top5": [self._class(explained, c, p) for c, p in explained.top],
            "classes": [self._class(explained, c, p) for c, p in classes],
            "maps": maps,
            "overlap": dict(explained.overlaps),
            "difference_from_float32": drifts,
            "files": [str(file) for file in files],
            "notes": self._notes,
        }

    def _class(self, explained: Explained, index: int, probability: float) -> dict[str, Any]:
        labels = self._model.labels
        known = {"name": labels.names[index], "id": labels.ids[index] if labels.ids else None}
        score = float(explained.logits[index])
        return {
            "class": index,
            **known,
            "score": score,
            "probability": None if math.isnan(probability) else probability,
        }

    def _print(self, explained: Explained, files: Sequence[Path]) -> None:
        top = (
            ", ".join(f"{self._name(c)} {self._sure(explained, c, p)}" for c, p in explained.top)
            or "the model has no classes"
        )
        stdout.print(f"\n{one_line(explained.path)}", style="bold", soft_wrap=True)
        stdout.print(f"predicted: {top}")
        table = Table(box=SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
        for column in ("method", "class", "where the map's mass lies"):
            table.add_column(column, overflow="fold")
        table.add_column("half in", justify="right", no_wrap=True)
        two = len(explained.classes) == 2
        if two:
            table.add_column("shared", justify="right", no_wrap=True)
        for name, places in explained.places.items():
            shared = explained.overlaps[name]
            for row, ((c, _), spot) in enumerate(zip(explained.classes, places, strict=True)):
                words = [str(spot), f"{spot.half_in:.0%}"] if spot else ["nowhere: the map is blank", ""]
                overlap = [f"{shared:.0f} %" if shared is not None and row == 0 else ""] if two else []
                table.add_row(name if row == 0 else "", self._name(c, ROOM), *words, *overlap)
        stdout.print(table)
        for name, drifts in explained.drifts.items():
            known = [one for one in drifts if one]
            error, shared = max((d.error for d in known), default=0), min((d.shared for d in known), default=0)
            said = f"up to {error:.1%} of the peak from float32, {shared:.0f} % of the top pixels the same"
            _print(f"{name}: {said if known else 'no comparison with float32, the maps are blank'}")
        _print(f"written: {', '.join(str(file) for file in files)}")


def _print(line: str) -> None:
    stdout.print(one_line(line), soft_wrap=True)


def _percent(probability: float) -> str:
    """A tenth of a percent is as fine as a reader needs, but what is possible is not shown as 0."""
    if math.isnan(probability):
        return ""
    return f"{probability:.1%}" if probability == 0 or probability >= 0.0005 else "<0.1%"
