"""Maps of a few images for the classes a user asks for, and what they say in numbers."""

import dataclasses
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from salcheck.datasets import Dataset, Item, portable
from salcheck.datasets._files import Reader, at_depth
from salcheck.errors import SalcheckError
from salcheck.inputs.loader import Chunk, batches
from salcheck.inputs.sample import image_seed
from salcheck.maps.drift import Drift, drift
from salcheck.maps.ranking import Place, place, ranked, upsample
from salcheck.methods import Method
from salcheck.naming import registry
from salcheck.network.model import Model
from salcheck.network.view import View
from salcheck.runs.contract import check_method, hooks
from salcheck.runs.failing import MethodError, calling

OVERLAP_PERCENT = 5.0
NO_CLASS = -1  # stands for the class where a model has none


@dataclass(frozen=True)
class Explained:
    """One image: what the model saw (H, W, 3) and predicted, and each method's raw maps (M, h, w).

    top: (class, probability) of the five most likely. classes: M class indices with their probabilities, NaN where the
    model's outputs are values; for a model without classes one, NO_CLASS. places, per method and class: where the
    map's mass lies, None for a map with no positive value. overlaps: per method, percent of top 5 % pixels that the
    maps of two classes share, or None. drifts: per method and class, how far autocast moved the map, None for a blank
    one; empty in float32. failures: methods that have no map of this image, and why.
    """

    path: Path
    picture: Tensor
    logits: Tensor
    top: Sequence[tuple[int, float]]
    classes: Sequence[tuple[int, float]]
    maps: Mapping[str, Tensor]
    pixels: Mapping[str, Tensor]
    places: Mapping[str, Sequence[Place | None]]
    overlaps: Mapping[str, float | None]
    drifts: Mapping[str, Sequence[Drift | None]]
    failures: Mapping[str, str] = field(default_factory=dict)


def explain(
    model: Model,
    paths: Sequence[Path],
    methods: Sequence[Method],
    asked: Sequence[str],
    references: Mapping[str, Any],
    seed: int = 0,
    batch_size: int = 8,
    progress: Callable[[int, int], None] = lambda done, total: None,
    bits: int | None = None,
) -> Iterator[Explained | SalcheckError]:
    """One result per path, in order: the explanation, or the error that kept the image from having one.

    asked: classes as typed (`top1`, an index or a name; not read for a model without classes); maps by method
    as typed. progress is told how many methods are done for the images at hand, of all. Raises SalcheckError,
    before any image is read, for a class that the model does not have.
    """
    wanted = [_class_of(text, model) for text in asked] if len(model.labels) else [NO_CLASS]
    dataset = pictures(paths, bits)
    items = dataset.items

    def results() -> Iterator[Explained | SalcheckError]:
        for chunk in batches(model, dataset, items, batch_size):
            made: Iterator[Explained | SalcheckError] = iter(())
            if chunk.read:
                made = iter(_explain_chunk(model, chunk, methods, wanted, references, seed, batch_size, progress))
            for item in chunk.items:
                failure = chunk.failures.get(item.key)
                yield failure or next(made)

    return results()


def pictures(paths: Sequence[Path], bits: int | None) -> Dataset:
    """Image files as a dataset. bits: of the values of deep ones, None where these decide."""
    items = [Item(str(path)) for path in paths]
    return at_depth(Dataset("images", "", items, Reader({item.key: Path(item.key) for item in items})), bits)


def _class_of(text: str, model: Model) -> int | str:
    """A class index, or `topK` in lower case for what depends on the image."""
    ranked = re.fullmatch(r"top([0-9]{1,60})", text.strip().lower())
    if not ranked:
        return model.labels.resolve(text)
    if not 1 <= int(ranked[1]) <= len(model.labels):
        raise SalcheckError(f"class {text} is out of range: the model has top1 to top{len(model.labels)}")
    return f"top{int(ranked[1])}"


def _explain_chunk(
    model: Model,
    chunk: Chunk,
    methods: Sequence[Method],
    wanted: Sequence[int | str],
    references: Mapping[str, Any],
    seed: int,
    batch_size: int,
    progress: Callable[[int, int], None],
) -> list[Explained | SalcheckError]:
    seeds = [image_seed(seed, portable(Path(item.key).name)) for item in chunk.read]
    view = model.view(lambda: model.batch(chunk.tensors), seeds, batch_size)
    exact = dataclasses.replace(model, amp=None).view(lambda: model.batch(chunk.tensors), seeds, batch_size)
    classes = _classes(view, wanted)
    maps, drifts, failures = {}, {}, {}
    for done, method in enumerate(methods, start=1):
        try:
            with calling():
                before = hooks(view.net)
                made = method.saliency(view, classes, references)
                if method.outside:
                    check_method(method, view, classes, made, references, before)
                maps[method.typed] = made.cpu()
                if model.amp:
                    in_float32 = method.saliency(exact, classes, references).cpu()
                    drifts[method.typed] = drift(maps[method.typed], in_float32, view.size)
        except (MethodError, SalcheckError) as error:
            if len(methods) == 1 and isinstance(error, SalcheckError):
                raise
            if len(view) > 1:  # which of the images is it?
                rest = (methods, wanted, references, seed, batch_size, progress)
                return [one for part in chunk.halves() for one in _explain_chunk(model, part, *rest)]
            failures[method.typed] = str(error)
        progress(done, len(methods))
    if not maps:
        return [SalcheckError(f"no map of '{chunk.read[0].key}': {next(iter(failures.values()))}")]
    explained = _explained(model, chunk, view, classes, maps, drifts)
    return [dataclasses.replace(e, failures=failures) if isinstance(e, Explained) else e for e in explained]


def _classes(view: View, wanted: Sequence[int | str]) -> Tensor:
    """Class indices (B, M): ranks become the image's own."""
    if list(wanted) == [NO_CLASS]:
        return torch.full((len(view), 1), NO_CLASS, device=view.images.device)
    order = ranked(view.logits)
    columns = [order[:, int(c[3:]) - 1] if isinstance(c, str) else torch.full_like(order[:, 0], c) for c in wanted]
    return torch.stack(columns, dim=1)


def _explained(
    model: Model,
    chunk: Chunk,
    view: View,
    classes: Tensor,
    maps: Mapping[str, Tensor],
    drifts: Mapping[str, Sequence[Sequence[Drift | None]]],
) -> list[Explained | SalcheckError]:
    pixels = {name: upsample(grids, view.size) for name, grids in maps.items()}
    overlaps: dict[str, list[float | None]] = {name: [None] * len(view) for name in maps}
    if classes.shape[1] == 2:
        for name, grids in maps.items():
            scores = registry.load("diagnostics", "overlap").score(view, classes, grids, percent=OVERLAP_PERCENT)
            values = scores.values["overlap"].flatten().tolist()
            overlaps[name] = [None if value != value else value for value in values]  # noqa: PLR0124 (NaN)
    logits = (view.logits if len(model.labels) else torch.empty(len(view), 0)).cpu()
    order = ranked(logits)
    no_chances = model.outputs.kind == "value" or not len(model.labels)
    chances = torch.full_like(logits, math.nan) if no_chances else view.confidences.cpu()
    finite = logits.isfinite().all(-1).tolist()
    return [
        SalcheckError(f"no map of '{item.key}': the model's scores for it are not finite, are its weights sound?")
        if not finite[b]
        else Explained(
            path=Path(item.key),
            picture=model.picture(chunk.tensors[b]),
            logits=logits[b],
            top=[(int(c), float(chances[b, c])) for c in order[b, :5]],
            classes=[(int(c), float(chances[b, c]) if c >= 0 else math.nan) for c in classes[b]],
            maps={name: grids[b] for name, grids in maps.items()},
            pixels={name: grids[b] for name, grids in pixels.items()},
            places={name: [place(one) for one in grids[b]] for name, grids in pixels.items()},
            overlaps={name: values[b] for name, values in overlaps.items()},
            drifts={name: values[b] for name, values in drifts.items()},
        )
        for b, item in enumerate(chunk.read)
    ]
