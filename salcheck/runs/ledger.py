"""What the database knows of a run: its ids, what is done, and rows into it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.engine import Connection

from salcheck.datasets import Item, portable
from salcheck.runs.maps import Checksums
from salcheck.runs.rows import Rows, Task
from salcheck.runs.run import Run
from salcheck.store import schema
from salcheck.store.results import Store, now, to_json
from salcheck.store.versions import versions


@dataclass(frozen=True)
class Plan:
    """What is left to do for one chunk, and the checksums of maps that are stored. stop: images up to its end. done:
    methods and images, by their keys, that have rows: these stay, whatever is found now.
    """

    task: Task
    stop: int
    checksums: Checksums = field(default_factory=dict)
    done: frozenset[tuple[str, str]] = frozenset()


class Ledger:
    """A run in the database. Registers what it is of; every row that is entered names the attempt that made it."""

    def __init__(self, run: Run, store: Store):
        self.run = run
        self._store = store
        self._attempt: int | None = None
        self.model_id = store.identify(schema.models, _model(run), unique=["key"])
        _register_reading(run, store, self.model_id)
        dataset_id = store.identify(schema.datasets, _dataset(run), unique=["digest"])
        self.run_id = store.identify(schema.runs, _run(run, self.model_id, dataset_id), unique=["key"])
        unique = ["name", "parameters", "inputs", "code"]
        self._methods = {m.key: store.identify(schema.methods, _method(run, m), unique) for m in run.methods}
        _register_methods(store, self.run_id, list(self._methods.values()))
        self._images = _register_images(run, store, dataset_id, self.run_id)

    def plans(self) -> Iterator[Plan]:
        """Chunks in the run's order."""
        size = self.run.batch_size
        for start in range(0, len(self.run.items), size):
            yield self._plan(start, self.run.items[start : start + size])

    def unread(self, plan: Plan) -> Sequence[Item]:
        """The plan's images, if any of them must be read; none where nothing is to do, or where all maps are stored
        and the diagnostic reads no images.
        """
        task = plan.task
        if not task.todo:
            return []
        if getattr(self.run.diagnostic, "IMAGES", True):
            return task.items
        maps = [(method.key, role) for method in task.todo for role in self.run.roles_of(method)]
        keys = [item.key for item in task.items]
        stored = all(key in task.ranks for key in keys) and all(
            (*one, key) in plan.checksums for one in maps for key in keys
        )
        return [] if stored else task.items

    def enter(self, plan: Plan, rows: Rows, checksums: Sequence[Sequence[Sequence[int]]]) -> None:
        """All rows of a chunk in one transaction; checksums: of its new maps, by entry, role and image."""
        new = [row for row in rows.scores if (row["method"], row["image"]) not in plan.done]
        with self._store.transaction() as connection:
            attempt = self._attempted(connection)
            predictions = [self._named(row, model_id=self.model_id) for row in rows.predictions]
            facts = [self._named(row, model_id=self.model_id) for row in rows.facts]
            scores = [self._named(row, run_id=self.run_id, attempt_id=attempt) for row in new]
            maps = [self._named(row, model_id=self.model_id, attempt_id=attempt) for row in self._maps(rows, checksums)]
            self._store.put(connection, schema.predictions, predictions, replace=False)
            self._store.put(connection, schema.maps, maps, replace=True)
            self._store.put(connection, schema.facts, facts, replace=True)
            self._store.put(connection, schema.scores, scores, replace=False)

    def _plan(self, start: int, items: Sequence[Item]) -> Plan:
        images = {self._images[item.key]: item.key for item in items}
        methods = {id: key for key, id in self._methods.items()}
        asked = {"methods": list(methods), "images": list(images)}
        stop = start + len(items)
        rows = self._store.query(
            "SELECT DISTINCT method_id, image_id FROM scores WHERE run_id = :run AND metric = :metric"
            " AND method_id IN :methods AND image_id IN :images",
            **{"run": self.run_id, "metric": self.run.question.metric, **asked},
        )
        done = frozenset((methods[m], images[i]) for m, i in rows.itertuples(index=False))
        todo = [m for m in self.run.methods if any((m.key, item.key) not in done for item in items)]
        if not todo:
            return Plan(Task(items, []), stop)
        classes = self._store.query(
            "SELECT image_id, class FROM predictions WHERE model_id = :model AND image_id IN :images"
            " ORDER BY image_id, rank",
            **{"model": self.model_id, "images": list(images)},
        )
        stored = self._store.query(
            "SELECT method_id, role, image_id, checksum FROM maps WHERE model_id = :model"
            " AND method_id IN :methods AND image_id IN :images",
            **{"model": self.model_id, **asked},
        )
        checksums = {(methods[m], r, images[i]): c for m, r, i, c in stored.itertuples(index=False)}
        ranks = {images[int(id)]: [int(u) for u in rows["class"]] for id, rows in classes.groupby("image_id")}
        return Plan(Task(items, todo, ranks, first=start == 0), stop, checksums, done)

    def _maps(self, rows: Rows, checksums: Sequence[Sequence[Sequence[int]]]) -> Iterator[dict[str, Any]]:
        for made, by_role in zip(rows.maps, checksums, strict=True):
            for m, (role, sums) in enumerate(zip(self.run.roles_of(made.method), by_role, strict=True)):
                for image, checksum, signatures in zip(made.images, sums, made.signatures, strict=True):
                    where = {"method": made.method.key, "role": role, "image": image}
                    yield {**where, "checksum": checksum, "signature": signatures[m]}

    def _named(self, row: Mapping[str, Any], **ids: int) -> dict[str, Any]:
        """A row with ids in place of keys."""
        rest = {name: value for name, value in row.items() if name not in ("method", "image")}
        found = {"image_id": self._images[row["image"]]}
        found |= {"method_id": self._methods[row["method"]]} if "method" in row else {}
        return {**ids, **found, **rest}

    def _attempted(self, connection: Connection) -> int:
        """The id of this attempt, put into the database with its first rows."""
        if self._attempt is None:
            values = {
                "run_id": self.run_id,
                "started": now(),
                "command": self.run.command,
                "batch_size": self.run.batch_size,
                "device": self.run.model.device.type,
                "versions": to_json(versions()),
            }
            insert = schema.attempts.insert().values(**values).returning(schema.attempts.c.id)
            self._attempt = connection.execute(insert).scalar_one()
        return self._attempt


def _model(run: Run) -> dict[str, Any]:
    model = run.model
    return {
        "key": model.key,
        "arch": portable(model.arch),
        "name": portable(model.name),
        "weights": model.weights,
        "layer": model.layer,
        "transform": str(model.transform),
        "dtype": model.dtype,
        "classes": len(model.labels),
        "output": model.outputs.kind,
        "input": to_json(model.input),
        "notes": to_json(list(model.notes)),
    }


def _dataset(run: Run) -> dict[str, Any]:
    dataset = run.dataset
    size = dataset.most or len(dataset)
    return {"digest": dataset.digest, "name": dataset.name, "root": dataset.root, "size": size}


def _run(run: Run, model_id: int, dataset_id: int) -> dict[str, Any]:
    return {
        "key": run.key,
        "question": run.question.name,
        "version": run.question.version,
        "code": run.code,
        "model_id": model_id,
        "dataset_id": dataset_id,
        "reference": run.reference_source,
        "parameters": to_json(run.parameters),
        "seed": run.seed,
        "created": now(),
    }


def _method(run: Run, method: Any) -> dict[str, Any]:
    return {
        "name": method.name,
        "spec": method.spec,
        "parameters": to_json(dict(method.parameters)),
        "inputs": to_json(run.inputs(method)),
        "code": run.codes[method.key],
        "control": method.control,
    }


def _register_reading(run: Run, store: Store, model_id: int) -> None:
    """What the model is fed and what had to be decided about it, as this run has it: the names of classes, for one, are
    no part of what makes a model another one.
    """
    row = _model(run)
    with store.transaction() as connection:
        update = schema.models.update().where(schema.models.c.id == model_id)
        connection.execute(update.values(input=row["input"], notes=row["notes"]))


def _register_methods(store: Store, run_id: int, methods: Sequence[int]) -> None:
    """Says that these editions of the methods were asked for last."""
    last = store.query("SELECT COALESCE(MAX(asked), 0) AS n FROM run_methods WHERE run_id = :run", run=run_id)
    rows = [{"run_id": run_id, "method_id": id, "asked": int(last["n"][0]) + 1} for id in methods]
    with store.transaction() as connection:
        store.put(connection, schema.run_methods, rows, replace=True)


def _register_images(run: Run, store: Store, dataset_id: int, run_id: int) -> dict[str, int]:
    """The ids of the run's images by their keys; images that the database does not know yet are put into it."""
    place = {item.key: row for row, item in enumerate(run.dataset.items)}

    def known() -> dict[int, int]:
        rows = store.query("SELECT images.row, images.id FROM images WHERE dataset_id = :dataset", dataset=dataset_id)
        return {int(row): int(id) for row, id in rows.itertuples(index=False)}

    ids = known()
    new = [item for item in run.items if place[item.key] not in ids]
    rows = [
        {"dataset_id": dataset_id, "row": place[item.key], "key": item.key, "labels": to_json(list(item.labels))}
        for item in new
    ]
    with store.transaction() as connection:
        store.put(connection, schema.images, rows, replace=False)
    ids = known() if new else ids
    order = [{"run_id": run_id, "position": p, "image_id": ids[place[i.key]]} for p, i in enumerate(run.items)]
    with store.transaction() as connection:
        store.put(connection, schema.run_images, order, replace=False)
    return {item.key: ids[place[item.key]] for item in run.items}
