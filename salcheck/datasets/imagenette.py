"""Imagenette: the validation images of ten easy ImageNet classes, fetched by torchvision (340 MB) on first use.

It is what `eval` takes for ImageNet models where no data are named. `--data DIR` says where it lies or shall lie.
"""

import dataclasses
from pathlib import Path
from urllib.error import URLError

from salcheck.datasets import Dataset, Labels
from salcheck.datasets import folder as class_folders
from salcheck.errors import SalcheckError
from salcheck.store.cache import cache_folder

FOLDER = "imagenette2-320"


def open_dataset(root: Path | None, labels: Labels, seed: int) -> Dataset:
    """The 3,925 validation images; raises SalcheckError if the model has other classes or if they are neither
    there nor to be fetched.
    """
    if labels.index("n01440764") is None:
        raise SalcheckError("imagenette shows ImageNet classes and this model has others: give --data DIR")
    if root is None or not (root / "val").is_dir():  # else the extracted folder itself was named
        root = root or cache_folder() / "datasets"
        if not (root / FOLDER / "val").is_dir():
            _download(root)
        root = root / FOLDER
    return dataclasses.replace(class_folders.open_dataset(root / "val", labels, seed), name="imagenette")


def _download(root: Path) -> None:
    from torchvision.datasets import Imagenette

    try:
        root.mkdir(parents=True, exist_ok=True)
        Imagenette(str(root), split="val", size="320px", download=True)
    except (URLError, OSError, RuntimeError) as error:
        raise SalcheckError(
            f"imagenette cannot be fetched ({error}): give --data DIR with class folders of your own, "
            "or --arch scenes, which needs no data"
        ) from error
