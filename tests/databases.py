"""Small results databases, written row by row with numbers that a test knows."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from salcheck.maps.notes import Kind, Note
from salcheck.store import schema
from salcheck.store.results import Store, to_json

Score = float | str | Note | None  # a note is why an image has no score; a string, one of something that failed
NO_NOTE = {"kind": None, "note": None}
Scores = Sequence[Score | Sequence[float | None]]  # at one level, or at each of several


def add_run(
    store: Store,
    scores: Mapping[str, Scores],
    *,
    arch: str = "resnet",
    digest: str = "d" * 64,
    drawn: int | None = None,
    reference: str = "held-out half",
    tied: Mapping[str, int] | None = None,
    controls: Sequence[str] = ("random", "center", "edges"),
    question: str = "rq1",
    metric: str = "overlap",
    levels: Sequence[float] = (5.0,),
    model: Mapping[str, Any] | None = None,
    dataset: str = "photos",
    classes: Sequence[int | None] | None = None,
    named: Sequence[str] = (),
    **parameters: Any,
) -> int:
    """A run whose method `name` has these scores, image after image; returns its id.

    drawn: images of the run, where more were drawn than scored. tied: for a method, on how many of its first
    images position decided. metric, levels: what the scores are of. model: columns that differ from the usual.
    classes: the label of each image, None for an image without one; else all are of one class. named: names of the
    levels 1, 2, ...
    """
    usual = {"percent": 5.0, "threshold": 50.0} if question == "rq1" else {}
    settings = {**usual, "correct_only": True} | parameters | ({"levels": list(named)} if named else {})
    n = drawn if drawn is not None else max((len(values) for values in scores.values()), default=0)
    row = _model(arch) | dict(model or {})
    model_id = store.identify(schema.models, row | {"key": hashlib.sha256(to_json(row).encode()).hexdigest()}, ["key"])
    dataset_id = store.identify(
        schema.datasets, {"digest": digest, "name": dataset, "root": "/photos", "size": n}, ["digest"]
    )
    run = store.identify(schema.runs, _run(question, model_id, dataset_id, reference, settings, digest, arch), ["key"])
    images = add_images(store, dataset_id, n, classes)
    with store.transaction() as connection:
        order = [{"run_id": run, "position": p, "image_id": image} for p, image in enumerate(images)]
        store.put(connection, schema.run_images, order, replace=False)
    for name, values in scores.items():
        method = add_method(store, name, control=name in controls)
        add_scores(store, run, method, metric, images, values, levels)
        some = (tied or {}).get(name, 0)
        flags = [100.0 * (place < some) if isinstance(v, float | int) else None for place, v in enumerate(values)]
        there = [(image, flag) for image, flag in zip(images, flags, strict=False) if flag is not None]
        add_scores(store, run, method, "tied", [image for image, _ in there], [flag for _, flag in there], levels)
    return run


def add_scores(
    store: Store, run: int, method: int, metric: str, images: Sequence[int], values: Scores, levels: Sequence[float]
) -> None:
    """Scores of one metric for images in turn."""
    ids = {"run_id": run, "method_id": method, "metric": metric}
    rows = [
        {**ids, "image_id": image, **score}
        for image, value in zip(images, values, strict=False)
        for score in _scores(value, levels)
    ]
    with store.transaction() as connection:
        store.put(connection, schema.scores, rows, replace=False)


def add_metric(
    store: Store, run: int, method: str, metric: str, values: Scores, levels: Sequence[float] = (0.0,), **more: Any
) -> None:
    """Another metric of a run's method, for the run's images in turn."""
    images = store.query("SELECT image_id FROM run_images WHERE run_id = :run ORDER BY position", run=run)
    found = [int(image) for image in images["image_id"]]
    add_scores(store, run, add_method(store, method, **more), metric, found, values, levels)


def add_images(store: Store, dataset: int, n: int, classes: Sequence[int | None] | None = None) -> list[int]:
    """The ids of the first n images of a dataset."""
    labels = [[1]] * n if classes is None else [[] if u is None else [u] for u in classes]
    rows = [
        {"dataset_id": dataset, "row": row, "key": f"{row}.jpg", "labels": to_json(labels[row])} for row in range(n)
    ]
    with store.transaction() as connection:
        store.put(connection, schema.images, rows, replace=False)
    found = store.query("SELECT id FROM images WHERE dataset_id = :dataset ORDER BY id", dataset=dataset)
    return [int(id) for id in found["id"][:n]]


def add_method(store: Store, spec: str, *, control: bool = False, code: str = "") -> int:
    name = spec.split(":", maxsplit=1)[0]
    values = {"name": name, "spec": spec, "parameters": to_json({"spec": spec}), "inputs": "{}", "control": control}
    return store.identify(schema.methods, {**values, "code": code}, ["name", "parameters", "inputs", "code"])


def add_maps(store: Store, run: int, method: str, signatures: Sequence[float | None], role: str = "top1") -> None:
    """For the run's images in turn, the signature of the map for a role."""
    maps = zip(_maps(store, run, method), signatures, strict=False)
    rows = [{**ids, "role": role, "checksum": 1, "signature": signature} for ids, signature in maps]
    with store.transaction() as connection:
        store.put(connection, schema.maps, rows, replace=True)


def add_facts(store: Store, run: int, method: str, name: str, values: Sequence[float]) -> None:
    """For the run's images in turn, a fact on the top-1 map; bools are counted."""
    maps = zip(_maps(store, run, method), values, strict=False)
    rows = [{**ids, "name": name, "value": float(v), "flag": isinstance(v, bool)} for ids, v in maps]
    with store.transaction() as connection:
        store.put(connection, schema.facts, rows, replace=True)


def _maps(store: Store, run: int, method: str) -> list[dict[str, Any]]:
    model = int(store.query("SELECT model_id FROM runs WHERE id = :run", run=run)["model_id"][0])
    images = store.query("SELECT image_id FROM run_images WHERE run_id = :run ORDER BY position", run=run)
    method_id = add_method(store, method)
    return [
        {"model_id": model, "method_id": method_id, "role": "top1", "image_id": int(image)}
        for image in images["image_id"]
    ]


def _scores(value: Score | Sequence[float | None], levels: Sequence[float]) -> list[dict[str, Any]]:
    if isinstance(value, str | Note):
        note = value if isinstance(value, Note) else Note(Kind.FAILED, value)
        return [{"level": 0.0, "value": None, "kind": str(note.kind), "note": note.why}]
    values = value if isinstance(value, Sequence) else [value]
    return [
        {"level": level, "value": one, **({"kind": "blank", "note": "too few"} if one is None else NO_NOTE)}
        for level, one in zip(levels, values, strict=True)
    ]


def _model(arch: str) -> dict[str, Any]:
    text = {"arch": arch, "name": f"{arch}.tag", "weights": "w" * 64, "layer": "features", "transform": "eval"}
    return {"key": f"model {arch}", **text, "dtype": "float32", "classes": 10}


def _run(
    question: str, model: int, dataset: int, reference: str, settings: Mapping[str, Any], digest: str, arch: str
) -> dict[str, Any]:
    return {
        "key": f"{question} {model} {arch} {digest[:8]} {abs(hash((to_json(settings), reference))) % 10**12}",
        "question": question,
        "model_id": model,
        "dataset_id": dataset,
        "reference": reference,
        "parameters": to_json(settings),
        "seed": 0,
        "created": "2025-01-01T00:00:00+00:00",
    }
