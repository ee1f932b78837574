"""Class folders, root/CLASS/IMAGE with CLASS a wnid, index or name; or a flat folder of unlabelled images.

Class folders are looked up by their names and never counted, so a subset of classes shifts no index. Where
`root` holds a `val` folder that is no class, that is taken. Folders none of which is a class of the model
give unlabelled images, which serve where no label is needed.

A model whose classes have no names gets them from the folders, if there is one for each class: sorted as text, as
torchvision's ImageFolder sorts them, since that is how such a model was trained. timm's own reader sorts numbers by
their value (2 before 10) and forgets about case: so are the folders of a checkpoint that timm's train.py wrote. Folders
that are all numbers of classes are taken as such.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

from salcheck.datasets import Dataset, Labels, portable
from salcheck.datasets._files import file_dataset, images_below, require_folder
from salcheck.errors import SalcheckError
from salcheck.naming.words import one_line

LAYOUT = "root/CLASS/IMAGE (CLASS a wnid, index or name) or root/IMAGE"
SPLITS = {"train", "training", "val", "valid", "validation", "test", "testing"}
SAY_NAMES = "--class-names a,b,c or --class-map FILE"
LISTED = 10  # classes named in a note


@dataclass(frozen=True)
class _Classes:
    """Index by folder; the names of the model's classes, where the folders say them; and what was decided."""

    index: dict[str, int] = field(default_factory=dict)
    names: Sequence[str] = ()
    notes: Sequence[str] = ()


def open_dataset(root: Path | None, labels: Labels, seed: int) -> Dataset:
    """Images below `root`; raises SalcheckError if there are none or only some folders are classes."""
    root = require_folder(root, LAYOUT)
    if (root / "val").is_dir() and labels.index("val") is None:
        root = root / "val"
    files = [(path, path.relative_to(root).parts) for path in images_below(root)]
    folders = sorted({parts[0] for _, parts in files if len(parts) > 1})
    classes = _looked_up(root, folders, labels) if labels.named else _counted(root, folders, labels)
    labelled = ((path, _labels(parts, classes.index)) for path, parts in files)
    return replace(file_dataset("folder", root, labelled), classes=classes.names, notes=classes.notes)


def _looked_up(root: Path, folders: Sequence[str], labels: Labels) -> _Classes:
    """Classes of a model that knows their names."""
    known = {name: labels.index(name) for name in folders}
    classes = {name: index for name, index in known.items() if index is not None}
    strange = [name for name, index in known.items() if index is None]
    if strange and classes:
        raise SalcheckError(
            f"folders of '{root}' that are no class of the model: {_few(strange)}; name them by wnid, index or name"
        )
    if strange and len(labels):
        note = (
            f"no folder of '{root}' is a class of the model ({_few(strange)}): its images have no labels; {SAY_NAMES} "
        )
        return _Classes(notes=[_line(note + "say what the classes are called")])
    return _Classes(classes)


def _counted(root: Path, folders: Sequence[str], labels: Labels) -> _Classes:
    """Classes of a model that does not know their names."""
    if not len(labels):
        return _Classes()
    known = {name: index for name in folders if (index := labels.index(name)) is not None}
    if folders and set(map(str.lower, folders)) <= SPLITS:
        raise SalcheckError(
            f"'{root}' holds {_few(folders)}: name the one of them to read, --data {root / folders[-1]}"
        )
    by_value = sorted(folders, key=_natural)
    if len(known) == len(folders):
        if len(folders) != len(labels) or folders == by_value:
            return _Classes(known)
        first, second = _turned(folders, by_value)
        note = f"class folders are numbers of classes ({second} is class {known[second]}); torchvision's ImageFolder "
        return _Classes(known, notes=[f"{note}sorts {first} before {second}: --class-names decides otherwise"])
    if len(folders) != len(labels):
        many = (
            "leave out those that are no class of it"
            if len(folders) > len(labels)
            else f"{SAY_NAMES} say which is which"
        )
        note = f"'{root}' has {len(folders)} class folders and the model {len(labels)} classes without names: "
        return _Classes(notes=[_line(f"{note}its images have no labels; {many}")] if folders else [])
    names = by_value if labels.natural else list(folders)
    said = ", ".join(f"{index} {name}" for index, name in enumerate(names[:LISTED]))
    said += f", …, {len(names) - 1} {names[-1]}" if len(names) > LISTED else ""
    note = f"classes by sorted folder names: {said}"
    if folders != by_value:
        first, second = _turned(folders, by_value)
        order = (f"{second} before {first}, as timm's", f"{first} before {second}, as torchvision's")
        own, other = order if labels.natural else order[::-1]
        note += f" ({own} reader has it; {other} does not: --class-names decides otherwise)"
    return _Classes({name: index for index, name in enumerate(names)}, names, [_line(note)])


def _turned(folders: Sequence[str], by_value: Sequence[str]) -> tuple[str, str]:
    """The first two folders, in the order of texts, that have the other order by value."""
    place = {name: index for index, name in enumerate(by_value)}
    return next(pair for pair in pairwise(folders) if place[pair[0]] > place[pair[1]])


def _natural(name: str) -> list[tuple[int, str]]:
    """Numbers by value, letters in any case."""
    return [(int(part), "") if part.isdecimal() else (0, part) for part in re.split(r"([0-9]+)", name.lower())]


def _line(text: str) -> str:
    """A note, whatever bytes the names of folders hold."""
    return one_line(portable(text))


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + ", …" * (len(names) > 5)


def _labels(parts: Sequence[str], classes: dict[str, int]) -> tuple[int, ...]:
    index = classes.get(parts[0]) if len(parts) > 1 else None
    return () if index is None else (index,)
