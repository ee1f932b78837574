"""What a model's classes are called, and which class a user means."""

import re
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from salcheck.errors import SalcheckError
from salcheck.naming.words import unknown

NO_CLASSES = "this model has no classes to explain: take a method that needs none, such as diffcam"


class Labels:
    """Names of a model's N classes, none for a model without a head; `ids` are short unique codes (wnids) where the
    classes have them.
    """

    def __init__(self, names: Sequence[str], ids: Sequence[str] = ()):
        self.names = tuple(str(name) for name in names)
        self.ids = tuple(str(one) for one in ids)

    def __len__(self) -> int:
        return len(self.names)

    def short(self, index: int) -> str:
        """The first of a class's synonyms: `tench` of `tench, Tinca tinca`."""
        return self.names[index].split(",")[0].strip()

    @cached_property
    def _meanings(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for index, name in enumerate(self.names):
            whole = [name, *self.ids[index : index + 1]]
            for word in {_spaced(text) for text in [*whole, *name.split(",")]} - {""}:
                found.setdefault(word, []).append(index)
        return found

    def index(self, name: str) -> int | None:
        """The class with this wnid, number or name in any case; None where none or several are so called."""
        found = self._meanings.get(_spaced(name))
        if found:
            return found[0] if len(found) == 1 else None
        if re.fullmatch(r"[0-9]{1,9}", name) and int(name) < len(self):
            return int(name)
        return None

    def resolve(self, text: str) -> int:
        """The class that a user names; raises SalcheckError with the range or the nearest names."""
        if not self.names:
            raise SalcheckError(NO_CLASSES)
        index = self.index(text)
        if index is not None:
            return index
        if re.fullmatch(r"-?[0-9]{1,60}", text):
            raise SalcheckError(f"class {text} is out of range: the model has classes 0 to {len(self) - 1}")
        several = self._meanings.get(_spaced(text))
        if several:
            choices = "; ".join(f"{i} ({', '.join([*self.ids[i : i + 1], self.names[i]])})" for i in several)
            raise SalcheckError(f"class '{text}' means several classes: give the number of one: {choices}")
        raise SalcheckError(unknown("class", text, self._meanings))


def _spaced(name: str) -> str:
    return name.strip().lower().replace("_", " ")


def labels_of(net: Any) -> Labels:
    """Class names of a timm model: from its own config, else ImageNet's where the counts fit, else numbers."""
    from timm.data import ImageNetInfo, infer_imagenet_subset

    config = net.pretrained_cfg
    count = net.num_classes
    names = config.get("label_names")
    if names and len(names) == count:
        described = config.get("label_descriptions") or {}
        return Labels([described.get(name, name) for name in names], names)
    subset = infer_imagenet_subset(net) if count == config.get("num_classes") else None
    if subset:
        info = ImageNetInfo(subset)
        indices = range(count)
        return Labels([info.index_to_description(i) for i in indices], [info.index_to_label_name(i) for i in indices])
    return Labels([f"class {i}" for i in range(count)])
