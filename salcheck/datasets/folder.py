"""Class folders, root/CLASS/IMAGE with CLASS a wnid, index or name; or a flat folder of unlabelled images.

Class folders are looked up by their names and never counted, so a subset of classes shifts no index. Where
`root` holds a `val` folder that is no class, that is taken. Folders none of which is a class of the model
give unlabelled images, which serve where no label is needed.
"""

from pathlib import Path

from salcheck.datasets import Dataset, Labels
from salcheck.datasets._files import file_dataset, images_below, require_folder
from salcheck.errors import SalcheckError

LAYOUT = "root/CLASS/IMAGE (CLASS a wnid, index or name) or root/IMAGE"


def open_dataset(root: Path | None, labels: Labels, seed: int) -> Dataset:
    """Images below `root`; raises SalcheckError if there are none or only some folders are classes."""
    root = require_folder(root, LAYOUT)
    if (root / "val").is_dir() and labels.index("val") is None:
        root = root / "val"
    folders = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    known = {path: labels.index(path.name) for path in folders}
    strange = [path.name for path, index in known.items() if index is None and images_below(path)]
    classes = {path.name: index for path, index in known.items() if index is not None}
    if strange and classes:
        listed = ", ".join(strange[:5]) + ", …" * (len(strange) > 5)
        raise SalcheckError(
            f"folders of '{root}' that are no class of the model: {listed}; name them by wnid, index or name"
        )
    files = ((path, _labels(path.relative_to(root), classes)) for path in images_below(root))
    return file_dataset("folder", root, files)


def _labels(path: Path, classes: dict[str, int]) -> tuple[int, ...]:
    index = classes.get(path.parts[0]) if len(path.parts) > 1 else None
    return () if index is None else (index,)
