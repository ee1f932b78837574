"""Reads all of a dataset: what is wrong with one image alone is said when that is read."""

from salcheck.datasets import Dataset
from salcheck.errors import SalcheckError


def used(dataset: Dataset) -> Dataset:
    """The dataset, after each image was read and asked where its objects are; raises SalcheckError for the first that
    cannot be.
    """
    for item in dataset.items:
        dataset.read(item)
        if dataset.regions is not None:
            dataset.regions(item)
    return dataset


def unread(dataset: Dataset) -> dict[str, str]:
    """Why images cannot be read, by their keys; the others can."""
    found = {}
    for item in dataset.items:
        try:
            dataset.read(item)
        except SalcheckError as error:
            found[item.key] = str(error)
    return found
