"""The contract of datasets, held to what comes from outside when it is opened."""

from collections import Counter

from PIL import Image

from salcheck.datasets import Dataset, Item
from salcheck.errors import SalcheckError


def check_dataset(name: str, dataset: object) -> Dataset:
    """The dataset, if it keeps the contract: a Dataset of Items with unique keys, whose `read` gives an RGB image (the
    first is read). Raises SalcheckError where it does not.
    """
    if not isinstance(dataset, Dataset):
        raise _broken(name, f"open_dataset gave a {type(dataset).__name__}: it gives a salcheck.datasets.Dataset")
    strange = [item for item in dataset.items if not isinstance(item, Item)]
    if strange:
        raise _broken(name, f"one of its items is a {type(strange[0]).__name__}: each is a salcheck.datasets.Item")
    twice = [key for key, count in Counter(item.key for item in dataset.items).items() if count > 1]
    if twice:
        raise _broken(name, f"two of its items have the key '{twice[0]}': each has one of its own")
    if dataset.items:
        image = dataset.read(dataset.items[0])
        if not isinstance(image, Image.Image) or image.mode != "RGB":
            given = f"an image of mode {image.mode}" if isinstance(image, Image.Image) else type(image).__name__
            raise _broken(name, f"read gave {given}: it gives an upright PIL image of mode RGB")
    return dataset


def _broken(name: str, why: str) -> SalcheckError:
    return SalcheckError(f"dataset {name} breaks the contract: {why}")
