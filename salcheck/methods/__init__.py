"""What a method is, and how a user names one.

A method file has `saliency(view, classes, *, parameter=default, ...) -> maps`: classes (B, M) of class
indices, maps (B, M, h, w) in float32, raw (no min-max, no resize). It may have
`needs(**parameters) -> tuple of names`: references, which `saliency` then takes as `reference`, and `seed` if it
draws anything; and `facts(view, classes, ...) -> {name: (B, M)}`, what it had to decide, for the report to count.
`CONTROL = True` marks a map that knows nothing of the class: what a method must beat.
The first line of its docstring is its help.
"""

import inspect
import json
import re
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import ModuleType
from typing import Any

from torch import Tensor

from salcheck import folder
from salcheck.errors import SalcheckError
from salcheck.view import View


@dataclass(frozen=True)
class Method:
    """A method with its parameters, all of them filled in. `typed` is how the user wrote it."""

    name: str
    parameters: Mapping[str, Any]
    typed: str

    @cached_property
    def module(self) -> ModuleType:
        return folder.load("methods", self.name)

    @property
    def control(self) -> bool:
        return getattr(self.module, "CONTROL", False)

    @property
    def needs(self) -> tuple[str, ...]:
        """What this method reads beside the image with these parameters: names of references, and `seed`."""
        return self.module.needs(**self.parameters) if hasattr(self.module, "needs") else ()

    @property
    def spec(self) -> str:
        """The shortest way to write it, the same for every way it may have been typed."""
        changed = {k: v for k, v in self.parameters.items() if v != _defaults(self.module)[k].default}
        return self.name + (":" + ",".join(f"{k}={_write(v)}" for k, v in sorted(changed.items())) if changed else "")

    @property
    def key(self) -> str:
        """Name and all parameters as JSON: its identity in the database and the cache."""
        return json.dumps([self.name, dict(sorted(self.parameters.items()))], separators=(",", ":"))

    @property
    def slug(self) -> str:
        """The name as part of a file name on any system."""
        return re.sub(r"[^A-Za-z0-9=+.-]+", "-", self.spec)

    def saliency(self, view: View, classes: Tensor, reference: Mapping[str, Any] | None = None) -> Tensor:
        """Maps (B, M, h, w) for classes (B, M)."""
        return self.module.saliency(view, classes, **self._arguments(reference)).float()

    def facts(self, view: View, classes: Tensor, reference: Mapping[str, Any] | None = None) -> dict[str, Tensor]:
        """What the method had to decide for each map, by name, each (B, M); nothing for most methods."""
        if not hasattr(self.module, "facts"):
            return {}
        return self.module.facts(view, classes, **self._arguments(reference))

    def _arguments(self, reference: Mapping[str, Any] | None) -> dict[str, Any]:
        takes = "reference" in inspect.signature(self.module.saliency).parameters
        return {**self.parameters, "reference": reference or {}} if takes else dict(self.parameters)


def parse_method(text: str) -> Method:
    """`case` or `case:contrast=logits,k=3`; raises SalcheckError with the nearest names."""
    typed, (name, _, rest) = text.strip(), text.strip().partition(":")
    name = folder.canonical("methods", name.strip())
    known = _defaults(folder.load("methods", name))
    given: dict[str, Any] = {}
    for part in filter(None, rest.split(",")):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals:
            raise SalcheckError(f"'{part}' in '{typed}' is no parameter: write {name}:key=value,key=value")
        if key not in known:
            there = f"parameter of {name}"
            raise SalcheckError(_unknown_parameter(there, key, list(known)))
        given[key] = _read(f"{name}:{key}", value, known[key].annotation)
    return Method(name, {k: given.get(k, p.default) for k, p in known.items()}, typed)


def parse_methods(texts: list[str]) -> list[Method]:
    """Methods of one or more lists, each once; `all` is every file of the folder.

    In a list a comma before `key=` continues the parameters of the method before it.
    """
    words: list[str] = []
    for piece in (piece.strip() for text in texts for piece in text.split(",")):
        continues = words and re.match(r"[A-Za-z_]\w*=", piece)
        if continues:
            words[-1] += ("," if ":" in words[-1] else ":") + piece
        elif piece.lower() == "all":
            words += folder.names("methods")
        elif piece:
            words.append(piece)
    if not words:
        raise SalcheckError(f"no method named: give one or more of {', '.join(folder.names('methods'))}, or all")
    methods = [parse_method(word) for word in words]
    keys = [method.key for method in methods]
    return [method for position, method in enumerate(methods) if method.key not in keys[:position]]


def controls() -> list[Method]:
    """Every control, with its defaults: no report is without them."""
    return [method for method in parse_methods(["all"]) if method.control]


def _unknown_parameter(kind: str, key: str, known: list[str]) -> str:
    return folder.unknown(kind, key, known) if known else f"unknown {kind} '{key}': it has none"


def _defaults(module: ModuleType) -> dict[str, inspect.Parameter]:
    parameters = inspect.signature(module.saliency, eval_str=True).parameters
    return {k: p for k, p in parameters.items() if p.kind is p.KEYWORD_ONLY and k != "reference"}


def _read(where: str, text: str, kind: Any) -> Any:
    """`text` as the annotated type of the parameter."""
    if typing.get_origin(kind) is typing.Literal:
        choices = [str(choice) for choice in typing.get_args(kind)]
        if text in choices:
            return text
        raise SalcheckError(f"{where}={text}: it is one of {', '.join(choices)}")
    if kind is bool:
        if text.lower() in ("true", "false", "1", "0", "yes", "no"):
            return text.lower() in ("true", "1", "yes")
        raise SalcheckError(f"{where}={text}: it is true or false")
    try:
        return kind(text)
    except ValueError as error:
        raise SalcheckError(f"{where}={text}: it takes {kind.__name__} values") from error


def _write(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
