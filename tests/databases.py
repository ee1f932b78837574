"""Small results databases, written row by row with numbers that a test knows."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from salcheck import schema
from salcheck.store import Store, to_json

Score = float | str | None  # a string is the note of an image without a score
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
    **parameters: Any,
) -> int:
    """A run whose method `name` has these scores, image after image; returns its id.

    drawn: images of the run, where more were drawn than scored. tied: for a method, on how many of its first
    images position decided. metric, levels: what the scores are of. model: columns that differ from the usual.
    """
    usual = {"percent": 5.0, "threshold": 50.0} if question == "rq1" else {}
    settings = {**usual, "correct_only": True} | parameters
    n = drawn if drawn is not None else max((len(values) for values in scores.values()), default=0)
    row = _model(arch) | dict(model or {})
    model_id = store.identify(schema.models, row | {"key": hashlib.sha256(to_json(row).encode()).hexdigest()}, ["key"])
    dataset = store.identify(
        schema.datasets, {"digest": digest, "name": "photos", "root": "/photos", "size": n}, ["digest"]
    )
    run = store.identify(schema.runs, _run(question, model_id, dataset, reference, settings, digest, arch), ["key"])
    images = add_images(store, dataset, n)
    with store.transaction() as connection:
        order = [{"run_id": run, "position": p, "image_id": image} for p, image in enumerate(images)]
        store.put(connection, schema.run_images, order, replace=False)
    for name, values in scores.items():
        method = add_method(store, name, control=name in controls)
        ids = {"run_id": run, "method_id": method}
        rows = [
            {**ids, "metric": metric, "image_id": image, **score}
            for image, value in zip(images, values, strict=False)
            for score in _scores(value, levels)
        ]
        rows += [
            {
                **ids,
                "metric": "tied",
                "level": levels[0],
                "image_id": image,
                "value": 100.0 * (place < (tied or {}).get(name, 0)),
            }
            | {"note": None}
            for place, (image, value) in enumerate(zip(images, values, strict=False))
            if isinstance(value, float | int)
        ]
        with store.transaction() as connection:
            store.put(connection, schema.scores, rows, replace=False)
    return run


def add_images(store: Store, dataset: int, n: int) -> list[int]:
    """The ids of the first n images of a dataset."""
    rows = [{"dataset_id": dataset, "row": row, "key": f"{row}.jpg", "labels": "[1]"} for row in range(n)]
    with store.transaction() as connection:
        store.put(connection, schema.images, rows, replace=False)
    found = store.query("SELECT id FROM images WHERE dataset_id = :dataset ORDER BY id", dataset=dataset)
    return [int(id) for id in found["id"][:n]]


def add_method(store: Store, spec: str, *, control: bool = False) -> int:
    name = spec.split(":", maxsplit=1)[0]
    values = {"name": name, "spec": spec, "parameters": to_json({"spec": spec}), "inputs": "{}", "control": control}
    return store.identify(schema.methods, values, ["name", "parameters", "inputs"])


def add_maps(store: Store, run: int, method: str, signatures: Sequence[float | None], role: str = "top1") -> None:
    """For the run's images in turn, the signature of the map for a role."""
    maps = zip(_maps(store, run, method), signatures, strict=False)
    rows = [{**ids, "role": role, "checksum": 1, "signature": signature} for ids, signature in maps]
    with store.transaction() as connection:
        store.put(connection, schema.maps, rows, replace=True)


def add_facts(store: Store, run: int, method: str, name: str, values: Sequence[float]) -> None:
    """For the run's images in turn, a fact on the top-1 map."""
    maps = zip(_maps(store, run, method), values, strict=False)
    rows = [{**ids, "name": name, "value": float(value)} for ids, value in maps]
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
    if isinstance(value, str):
        return [{"level": 0.0, "value": None, "note": value}]
    values = value if isinstance(value, Sequence) else [value]
    return [
        {"level": level, "value": one, "note": "blank: too few" if one is None else None}
        for level, one in zip(levels, values, strict=True)
    ]


def _model(arch: str) -> dict[str, Any]:
    text = {"arch": arch, "name": f"{arch}.tag", "weights": "w" * 64, "layer": "features", "transform": "eval"}
    return {"key": f"model {arch}", **text, "device": "cpu", "dtype": "float32", "classes": 10}


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
        "batch_size": 8,
        "versions": "{}",
        "command": "salcheck eval",
        "created": "2025-01-01T00:00:00+00:00",
    }
