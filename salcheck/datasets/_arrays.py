"""Datasets whose images lie in one array, and the .npz files that such arrays come in."""

import lzma
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from salcheck.datasets import Dataset, Item, portable
from salcheck.datasets._files import require_folder
from salcheck.datasets._images import DAMAGED
from salcheck.errors import SalcheckError
from salcheck.naming.files import open_file
from salcheck.naming.words import one_line

MAX_BYTES = 2**30  # of one array or file, six times CIFAR-100's training images: more is a bomb
MAX_SIDE = 1024  # pixels of an image in an array


def array_dataset(
    name: str, root: Path, split: str, images: NDArray[np.uint8], labels: NDArray[np.integer], known: Sequence[int]
) -> Dataset:
    """A dataset of images (n, H, W) or (n, H, W, 3), keyed by their split and index: `test-00000`.

    labels: (n,) the dataset's own classes, of which `known` gives the model's indices. An item's fingerprint is a
    checksum of its pixels; `read` gives RGB. Raises SalcheckError where the arrays are not of these shapes.
    """
    _check(root, split, images, labels, len(known))
    places = {f"{split}-{index:05d}": index for index in range(len(images))}
    items = [
        Item(key, (known[int(labels[index])],), f"{zlib.crc32(images[index].tobytes()):08x}")
        for key, index in places.items()
    ]
    return Dataset(
        name, portable(str(root)), items, lambda item: Image.fromarray(images[places[item.key]]).convert("RGB")
    )


def _check(root: Path, split: str, images: NDArray[np.uint8], labels: NDArray[np.integer], classes: int) -> None:
    shape = images.shape
    if images.dtype != np.uint8 or len(shape) not in (3, 4) or shape[3:] not in ((), (3,)):
        raise SalcheckError(
            f"the {split} images of '{root}' are {images.dtype} {shape}: uint8 (n, H, W) or (n, H, W, 3) is needed"
        )
    if not len(images) or not all(1 <= side <= MAX_SIDE for side in shape[1:3]):
        raise SalcheckError(
            f"the {split} images of '{root}' have the shape {shape}: one or more of 1 to {MAX_SIDE} pixels are needed"
        )
    if labels.dtype.kind not in "iu" or labels.shape != shape[:1]:
        raise SalcheckError(
            f"the {split} labels of '{root}' are {labels.dtype} {labels.shape}: integers ({shape[0]},) are needed"
        )
    if labels.min() < 0 or labels.max() >= classes:
        raise SalcheckError(
            f"the {split} labels of '{root}' go from {labels.min()} to {labels.max()}: they must be 0 to {classes - 1}"
        )


def npz_or_folder(root: Path | None, name: str, layout: str) -> Path:
    """The .npz file that `root` is, or the one called `name`… in it, else the folder `root`.

    Raises SalcheckError, which says the `layout`, where there is no such folder, and where it holds several.
    """
    if root is not None and root.suffix == ".npz" and root.is_file():
        return root
    folder = require_folder(root, layout)
    found = sorted(folder.glob(f"{name}*.npz"))
    if len(found) > 1:
        raise SalcheckError(
            f"'{root}' holds {', '.join(path.name for path in found[:3])}: name one of them with --data"
        )
    return found[0] if found else folder


def read_npz(path: Path, *names: str) -> list[NDArray]:
    """The arrays of these names in an .npz file; nothing in it is executed. Raises SalcheckError for a damaged file,
    for one that lacks a name, and for arrays of more than MAX_BYTES.
    """
    try:
        with open_file(path) as file, np.load(file, allow_pickle=False) as archive:
            sizes = {entry.filename.removesuffix(".npy"): entry.file_size for entry in archive.zip.infolist()}
            missing = [name for name in names if name not in sizes]
            if missing:
                raise SalcheckError(f"'{path}' has no {', '.join(missing)}: it needs the arrays {', '.join(names)}")
            large = [name for name in names if sizes[name] > MAX_BYTES]
            if large:
                raise SalcheckError(f"'{path}': {large[0]} has {sizes[large[0]]} bytes; the limit is {MAX_BYTES}")
            return [archive[name] for name in names]
    except (*DAMAGED, RuntimeError, zipfile.BadZipFile, lzma.LZMAError) as error:
        raise SalcheckError(f"cannot read '{path}' as .npz with {', '.join(names)} ({one_line(error)})") from error
