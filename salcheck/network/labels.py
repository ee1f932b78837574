"""What a model's classes are called, and which class a user means."""

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from salcheck.errors import SalcheckError
from salcheck.naming.words import one_line, shorten, unknown

NO_CLASSES = "this model has no classes to explain: take a method that needs none, such as diffcam"
WNID = r"n[0-9]{8}"  # classes of these ids have lists of synonyms for names, with commas


class Labels:
    """Names of a model's N classes, none for a model without a head; `ids` are short unique codes (wnids) where the
    classes have them. `named`: whether the names are known; else each is `class 3` or the like, and class folders may
    say what they are. An empty name is such a number too. `natural`: whether folders that do so are counted as timm's
    own reader counts them, 2 before 10, and not as torchvision's. `notes`: names that could not be used, and why.
    """

    def __init__(
        self,
        names: Sequence[str],
        ids: Sequence[str] = (),
        named: bool = True,
        natural: bool = False,
        notes: Sequence[str] = (),
    ):
        self.names = tuple(_plain(name) or f"class {index}" for index, name in enumerate(names))
        self.ids = tuple(str(one) for one in ids)
        self.named = named
        self.natural = natural
        self.notes = tuple(notes)

    def __len__(self) -> int:
        return len(self.names)

    def short(self, index: int, limit: int | None = None) -> str:
        """What a class is called in print, in at most `limit` characters, as no other class is.

        Of ImageNet's synonyms the first: `tench` of `tench, Tinca tinca`. Other names keep what comes after a comma.
        """
        shown = self._printed[index]
        if limit is None or len(shown) <= limit:
            return shown
        cut = shorten(shown, limit)
        if all(shorten(other, limit) != cut for place, other in enumerate(self._printed) if place != index):
            return cut
        mark = f" (class {index})"
        return shorten(shown, limit - len(mark)) + mark

    @cached_property
    def _printed(self) -> list[str]:
        """The names as they are printed; those that would look alike say which class each is."""
        shown = list(self.names)
        if self.ids and all(re.fullmatch(WNID, one) for one in self.ids):
            first = [name.split(",")[0].strip() for name in self.names]
            often = Counter(first)
            shown = [one if often[one] == 1 else name for one, name in zip(first, self.names, strict=True)]
        alike = Counter(shown)
        return [name if alike[name] == 1 else f"{name} (class {index})" for index, name in enumerate(shown)]

    @cached_property
    def _exactly(self) -> dict[str, list[int]]:
        """Classes by name and id as they are written: names may differ in nothing but their case."""
        found: dict[str, list[int]] = {}
        for index, name in enumerate(self.names):
            for word in {name, *self.ids[index : index + 1]}:
                found.setdefault(word, []).append(index)
        return found

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
        found = self._exactly.get(_plain(name), [])
        if len(found) != 1:
            found = self._meanings.get(_spaced(name), [])
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
        hint = "" if self.named else f" (this model's classes have no names but their numbers, 0 to {len(self) - 1})"
        raise SalcheckError(unknown("class", text, self._meanings) + hint)


def _plain(name: object) -> str:
    """A name on one line without control codes, its accents written in one way whoever wrote it."""
    return one_line(unicodedata.normalize("NFC", str(name)))


def _spaced(name: str) -> str:
    return " ".join(_plain(name).lower().replace("_", " ").split())


def labels_of(net: Any, given: object = None, natural: bool = False) -> Labels:
    """Class names of a timm model: the `given` ones (a list, or a dict as `in_order` takes it), else those of its own
    config, else ImageNet's where the counts fit, else numbers.

    Raises SalcheckError for given names that do not fit; others that do not are a note.
    """
    from timm.data import ImageNetInfo, infer_imagenet_subset

    config, count, notes = net.pretrained_cfg, net.num_classes, list[str]()
    if given is not None:
        try:
            return Labels(in_order(given, count))
        except ValueError as error:
            raise SalcheckError(f"the class names that were given do not fit this model: {error}") from error
    names, ids = _of_config(config, count, notes)
    if names:
        return Labels(names, ids, notes=notes)
    subset = infer_imagenet_subset(net) if count == config.get("num_classes") else None
    if subset:
        info = ImageNetInfo(subset)
        names = [info.index_to_description(i) for i in range(count)]
        return Labels(names, [info.index_to_label_name(i) for i in range(count)], notes=notes)
    return Labels([""] * count, named=False, natural=natural, notes=notes)


def _of_config(config: Mapping[str, Any], count: int, notes: list[str]) -> tuple[list[str], list[str]]:
    """What a model's config calls its classes, and their ids: `label_names`, with `label_descriptions` by name or by
    index; both empty where it says nothing that can be used, which the notes then say.
    """
    given, described = config.get("label_names"), config.get("label_descriptions")
    names = _listed("label_names", given, count, notes) if given and count else []
    if names and isinstance(described, Mapping) and any(name in described for name in names):
        known = [(described.get(name), name) for name in names]
        return [text if isinstance(text, str) else name for text, name in known], names
    texts = _listed("label_descriptions", described, count, notes) if described and count else []
    if names and texts:
        return [text or name for text, name in zip(texts, names, strict=True)], names
    return names or texts, names


def _listed(entry: str, given: object, count: int, notes: list[str]) -> list[str]:
    """The names of a config's entry by class; none, and a note, where they do not fit."""
    try:
        names = in_order(given, count)
    except ValueError as error:
        notes.append(f"{entry} of the model's config is not used: {error}")
        return []
    missing = [str(index) for index, name in enumerate(names) if not name]
    if missing:
        shown = ", ".join(missing[:5]) + ", …" * (len(missing) > 5)
        notes.append(f"{entry} of the model's config names {count - len(missing)} of {count} classes, not {shown}")
    return names


def in_order(given: object, count: int) -> list[str]:
    """Names of classes 0 to count - 1, empty where there is none.

    given: a list of all; or a dict, of names by index (the index may be a text, some may be left out, as timm writes
    it) or of indices by name. Raises ValueError, which says why, where they cannot be those of so many classes.
    """
    if isinstance(given, list | tuple):
        if len(given) != count:
            raise ValueError(f"there are {len(given)} names for {count} classes")
        return [_text(name) for name in given]
    if not isinstance(given, Mapping):
        raise ValueError(f"it is a {type(given).__name__}, and a list or a dict is needed")
    by_index = {_number(index): name for index, name in given.items()}
    if all(isinstance(index, int) and not isinstance(index, bool) for index in given.values()):
        by_index = {index: name for name, index in given.items()}
    if None in by_index or len(by_index) < len(given):
        raise ValueError("it is a dict, and neither its keys nor its values are the numbers of classes, each once")
    beyond = [index for index in by_index if index is not None and not 0 <= index < count]
    if beyond:
        raise ValueError(f"it names class {max(beyond)}, and the model has {count} classes, from 0 on")
    return [_text(by_index.get(index)) for index in range(count)]


def _number(key: object) -> int | None:
    if isinstance(key, int) and not isinstance(key, bool):
        return key
    return int(key) if isinstance(key, str) and re.fullmatch(r"\s*[0-9]{1,9}\s*", key) else None


def _text(name: object) -> str:
    """A name that is a text or a number; anything else is none."""
    return _plain(name) if isinstance(name, str | int | float) and not isinstance(name, bool) else ""
