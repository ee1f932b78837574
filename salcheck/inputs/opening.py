"""From what a user names to a dataset."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from salcheck.datasets import Dataset
from salcheck.datasets._contract import check_dataset
from salcheck.datasets._files import at_depth
from salcheck.naming import registry
from salcheck.network.labels import Labels
from salcheck.network.model import Model
from salcheck.store.provenance import code_of


@dataclass(frozen=True)
class Opened:
    """A dataset, held-out images or none, and the model with the names that these give to its classes, where it has
    none of its own.
    """

    model: Model
    dataset: Dataset
    reference: Dataset | None

    @property
    def notes(self) -> list[str]:
        """What had to be decided about the model and about the images' labels."""
        opened = [self.dataset, *([self.reference] if self.reference else [])]
        depths = [getattr(one.read, "note", None) for one in opened]
        said = [*self.model.notes, *(note for one in opened for note in one.notes), *filter(None, depths)]
        return list(dict.fromkeys(said))


def open_all(
    dataset: str, data: Path | None, reference: Path | None, model: Model, seed: int, bits: int | None = None
) -> Opened:
    """The dataset of this name in `data`, and class folders of held-out images in `reference`; bits: see `open_data`.

    The first that names the model's classes names them for both: where the other lacks a class, no index is shifted.
    """
    shown = open_data(dataset, data, model, seed, bits)
    named, held = open_reference(reference, named_by(model, shown), seed, bits)
    if named.labels.named and not model.labels.named and not shown.classes:
        shown = open_data(dataset, data, named, seed, bits)
    return Opened(named, shown, held)


def open_reference(
    reference: Path | None, model: Model, seed: int, bits: int | None = None
) -> tuple[Model, Dataset | None]:
    """Class folders of held-out images, None for None, and the model with the names that they give to its classes."""
    held = None if reference is None else open_data("folder", reference, model, seed, bits)
    return named_by(model, held), held


def named_by(model: Model, dataset: Dataset | None) -> Model:
    """The model with the dataset's names for its classes, if it has none and the dataset has."""
    if dataset is None or model.labels.named or not dataset.classes:
        return model
    return dataclasses.replace(model, labels=Labels(dataset.classes), notes=[*model.notes, *dataset.notes])


def open_data(dataset: str, data: Path | None, model: Model, seed: int, bits: int | None = None) -> Dataset:
    """The dataset of this name in `data`, its labels as indices of the model's classes.

    bits: of the values of its deep files, None where these decide. The code that reads its images is part of its
    identity.
    """
    opened = registry.load("datasets", dataset).open_dataset(data, model.labels, seed)
    if registry.canonical("datasets", dataset) in registry.brought_to("datasets"):
        check_dataset(dataset, opened)
    opened = at_depth(opened, bits)
    return dataclasses.replace(opened, code=code_of(registry.source_of("datasets", dataset)))


def choose_data(dataset: str | None, data: Path | None, model: Model) -> str:
    """The dataset's name where the user gave none: a built-in model's own, a folder for --data, else imagenette."""
    if dataset is not None:
        return registry.canonical("datasets", dataset)
    if data is not None:
        return "folder"
    return model.arch if model.arch in registry.names("datasets") else "imagenette"
