"""From what a user names to a dataset."""

import dataclasses
from pathlib import Path

from salcheck.datasets import Dataset
from salcheck.datasets._contract import check_dataset
from salcheck.datasets._files import at_depth
from salcheck.naming import registry
from salcheck.network.model import Model
from salcheck.store.provenance import code_of


def open_data(dataset: str, data: Path | None, model: Model, seed: int, bits: int | None = None) -> Dataset:
    """The dataset of this name in `data`, its labels as indices of the model's classes.

    bits: of the values of its deep files, None where these decide. The code that reads its images is part of its
    identity.
    """
    opened = registry.load("datasets", dataset).open_dataset(data, model.labels, seed)
    if registry.canonical("datasets", dataset) in registry.brought_to("datasets"):
        check_dataset(dataset, opened)
    return dataclasses.replace(at_depth(opened, bits), code=code_of(registry.source_of("datasets", dataset)))


def choose_data(dataset: str | None, data: Path | None, model: Model) -> str:
    """The dataset's name where the user gave none: a built-in model's own, a folder for --data, else imagenette."""
    if dataset is not None:
        return registry.canonical("datasets", dataset)
    if data is not None:
        return "folder"
    return model.arch if model.arch in registry.names("datasets") else "imagenette"
