"""A run: one question asked of one model on one dataset, and everything that can change its answers."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

from salcheck.datasets import Dataset, Item
from salcheck.methods import Method
from salcheck.naming import registry
from salcheck.network.model import Model
from salcheck.questions import Question, against
from salcheck.references import References
from salcheck.store.provenance import code_of
from salcheck.store.results import to_json

# What the engine itself decides: of a map, for which class it is, which random numbers it gets and what it sees of the
# model; of a score, also what the diagnostic is given. They count alone: much of what they import changes no number.
OF_MAPS = [
    registry.PACKAGE / name
    for name in (
        "runs/classes.py",
        "inputs/sample.py",
        "inputs/loader.py",
        "network/model.py",
        "network/outputs.py",
        "network/view.py",
        "network/grid.py",
    )
]
OF_SCORES = [*OF_MAPS, registry.PACKAGE / "runs/shard.py", registry.PACKAGE / "inputs/truth.py"]


@dataclass(frozen=True)
class Run:
    """A question, and everything that can change its answers.

    `items` are the images in the run's order, `rest` those that come after them in it and are not asked for;
    `references` what methods may ask for, `reference_key` the identity of the images they come from, and
    `reference_source` says these in words. `subjects`: other models that the images are shown to, by name, each with
    its own references. `levels`: names of the levels 1, 2, ... of the scores. `notes`: which methods had to be left
    out, and why. `batch_size` and `command` change no score: they are stored with each attempt.
    `plugins`: files and modules from outside, as `registry.add` takes them in another process.
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
    rest: Sequence[Item] = ()
    plugins: Sequence[str] = field(default_factory=registry.sources)

    @property
    def diagnostic(self) -> ModuleType:
        return registry.load("diagnostics", self.question.diagnostic)

    @cached_property
    def parameters(self) -> dict[str, Any]:
        """All settings of the question, as stored."""
        own: dict[str, Any] = {"correct_only": self.correct_only, "roles": self.roles}
        own |= {"levels": list(self.levels)} if self.levels else {}
        threshold = {} if self.question.threshold is None else {"threshold": self.question.threshold}
        return {**self.question.parameters, **threshold, **own}

    @property
    def roles(self) -> list[str]:
        """The question's roles as the database knows them."""
        return [role.stored(self.seed) for role in self.question.roles]

    def roles_of(self, method: Method) -> list[str]:
        """The roles under which a method's maps are stored: with its rival where that decides the map."""
        return against(self.roles) or self.roles if method.paired else self.roles

    @cached_property
    def code(self) -> str:
        """Digest of the code that makes the scores: the diagnostic's with what it imports, and the engine's."""
        return code_of(registry.source_of("diagnostics", self.question.diagnostic), alone=OF_SCORES)

    @cached_property
    def key(self) -> str:
        """Hash of all that decides a score, but for its last bits: another batch is added up in another order.

        Methods are not in it, so that a run can gain some later, nor is the number of images: draws are prefixes of one
        order, and no score depends on how many images there are, or on the batch that an image is in.
        """
        parts: list[Any] = [self.question.name, self.question.version, self.code, self.model.key, self.dataset.digest]
        parts += [self.reference_key, self.seed, {name: model.key for name, (model, _) in self.subjects.items()}]
        return hashlib.sha256(to_json([*parts, self.parameters]).encode()).hexdigest()

    def inputs(self, method: Method) -> dict[str, Any]:
        """What the method reads beside the image, by identity: two maps differ where these do."""
        own = self.references.digests
        held_out = f"{self.reference_key} {self.references.unread}"
        read = {need.key: own.get(need.key, held_out) for need in method.needs}
        named = method.named(self.model.labels)  # what the same name means depends on the names of the classes
        return read | ({"seed": self.seed} if method.seeded else {}) | ({"classes": named} if named else {})

    @cached_property
    def codes(self) -> dict[str, str]:
        """Digest of the code that makes each method's maps, its references' and the choice of classes included, by the
        method's key.
        """
        return {method.key: code_of(*_files(method), alone=OF_MAPS) for method in self.methods}


def _files(method: Method) -> list[Path]:
    return [Path(str(module.__file__)) for module in (method.module, *(need.module for need in method.needs))]
