"""A run: one question asked of one model on one dataset, and everything that can change its answers."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from salcheck.datasets import Dataset, Item
from salcheck.methods import Method
from salcheck.network.model import Model
from salcheck.questions import Question
from salcheck.questions._roles import RANDOM, against
from salcheck.references import References
from salcheck.store import schema
from salcheck.store.provenance import versions
from salcheck.store.results import Store, now, to_json


@dataclass(frozen=True)
class Run:
    """A question, and everything that can change its answers.

    `items` are the images in the run's order; `references` what methods may ask for, `reference_key` the
    identity of the images they come from, and `reference_source` says these in words. `subjects`: other models that
    the images are shown to, by name, each with its own references. `levels`: names of the levels 1, 2, ... of the
    scores. `notes`: which methods had to be left out, and why.
    """

    question: Question
    model: Model
    dataset: Dataset
    items: Sequence[Item]
    methods: Sequence[Method]
    references: References
    reference_key: str
    reference_source: str
    seed: int = 0
    correct_only: bool = True
    batch_size: int = 8
    command: str = ""
    notes: Sequence[str] = ()
    subjects: Mapping[str, tuple[Model, References]] = field(default_factory=dict)
    levels: Sequence[str] = ()

    @cached_property
    def parameters(self) -> dict[str, Any]:
        """All settings of the question, as stored."""
        own: dict[str, Any] = {"correct_only": self.correct_only, "images": len(self.items)}
        own |= {"roles": self.roles} | ({"levels": list(self.levels)} if self.levels else {})
        threshold = {} if self.question.threshold is None else {"threshold": self.question.threshold}
        return {**self.question.parameters, **threshold, **own}

    @property
    def roles(self) -> list[str]:
        """The question's roles as the database knows them: a class that is drawn depends on the seed."""
        return [f"{role}-{self.seed}" if role == RANDOM else role for role in self.question.roles]

    def roles_of(self, method: Method) -> list[str]:
        """The roles under which a method's maps are stored: with its rival where that decides the map."""
        return against(self.roles) or self.roles if method.paired else self.roles

    @cached_property
    def key(self) -> str:
        """Hash of all that can change a score; methods are not in it, so that a run can gain some later.

        The last bits of a score can still depend on which methods were asked together: changed images that several
        share are forwarded once, and so in other batches.
        """
        drawn = hashlib.sha256("\n".join(item.key for item in self.items).encode()).hexdigest()
        parts: list[Any] = [
            self.question.name,
            self.model.key,
            self.dataset.digest,
            drawn,
            self.reference_key,
            self.seed,
        ]
        parts += [{name: model.key for name, (model, _) in self.subjects.items()}]
        return hashlib.sha256(to_json([versions(), self.batch_size, *parts, self.parameters]).encode()).hexdigest()

    def inputs(self, method: Method) -> dict[str, Any]:
        """What the method reads beside the image, by identity: two maps differ where these do."""
        own = self.references.digests
        read = {need.key: own.get(need.key, self.reference_key) for need in method.needs}
        return read | ({"seed": self.seed} if method.seeded else {})


def register(run: Run, store: Store) -> tuple[int, int, dict[str, int], dict[str, int]]:
    """Puts model, dataset, images, methods and run into the database; returns the ids of model, run, images
    by their key and methods by their key.
    """
    model, dataset = run.model, run.dataset
    model_id = store.identify(
        schema.models,
        {
            "key": model.key,
            "arch": model.arch,
            "name": model.name,
            "weights": model.weights,
            "layer": model.layer,
            "transform": str(model.transform),
            "device": model.device.type,
            "dtype": model.dtype,
            "classes": len(model.labels),
        },
        unique=["key"],
    )
    dataset_id = store.identify(
        schema.datasets,
        {"digest": dataset.digest, "name": dataset.name, "root": dataset.root, "size": len(dataset)},
        unique=["digest"],
    )
    run_id = store.identify(
        schema.runs,
        {
            "key": run.key,
            "question": run.question.name,
            "model_id": model_id,
            "dataset_id": dataset_id,
            "reference": run.reference_source,
            "parameters": to_json(run.parameters),
            "seed": run.seed,
            "batch_size": run.batch_size,
            "versions": to_json(versions()),
            "command": run.command,
            "created": now(),
        },
        unique=["key"],
    )
    methods = {
        method.key: store.identify(
            schema.methods,
            {
                "name": method.name,
                "spec": method.spec,
                "parameters": to_json(dict(method.parameters)),
                "inputs": to_json(run.inputs(method)),
                "control": method.control,
            },
            unique=["name", "parameters", "inputs"],
        )
        for method in run.methods
    }
    return model_id, run_id, _register_images(run, store, dataset_id, run_id), methods


def _register_images(run: Run, store: Store, dataset_id: int, run_id: int) -> dict[str, int]:
    place = {item.key: row for row, item in enumerate(run.dataset.items)}
    rows = [
        {"dataset_id": dataset_id, "row": place[item.key], "key": item.key, "labels": to_json(list(item.labels))}
        for item in run.items
    ]
    with store.transaction() as connection:
        store.put(connection, schema.images, rows, replace=False)
    known = store.query("SELECT key, id FROM images WHERE dataset_id = :dataset", dataset=dataset_id)
    ids = {key: int(id) for key, id in known.itertuples(index=False)}
    order = [{"run_id": run_id, "position": p, "image_id": ids[item.key]} for p, item in enumerate(run.items)]
    with store.transaction() as connection:
        store.put(connection, schema.run_images, order, replace=False)
    return {item.key: ids[item.key] for item in run.items}
