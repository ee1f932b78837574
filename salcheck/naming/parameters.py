"""Parameters as a user types them, `name:key=value,key=value`, read by the annotations of a function's keywords."""

import inspect
import math
import re
import typing
from collections.abc import Callable, Collection, Mapping
from typing import Any

from salcheck.errors import SalcheckError
from salcheck.naming.words import unknown

Known = Mapping[str, inspect.Parameter]


def known(function: Callable[..., Any], but: Collection[str]) -> dict[str, inspect.Parameter]:
    """The keyword-only parameters of a function, but those that the program itself fills in."""
    parameters = inspect.signature(function, eval_str=True).parameters
    return {k: p for k, p in parameters.items() if p.kind is p.KEYWORD_ONLY and k not in but}


def divide(text: str) -> tuple[str, str]:
    """What a user types in two: the name, or the path of a .py file, and the parameters after its colon, or ""."""
    file = re.fullmatch(r"(.+?\.py)(?::(.*))?", text.strip())
    name, _, rest = text.strip().partition(":")
    return (file[1], file[2] or "") if file else (name.strip(), rest)


def parse(name: str, text: str, there: Known, typed: str) -> dict[str, Any]:
    """What `key=value,key=value` gives, by key; raises SalcheckError for what is not there or is no such value.

    typed: all that the user wrote, for the message.
    """
    given: dict[str, Any] = {}
    for part in filter(None, text.split(",")):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals:
            raise SalcheckError(f"'{part}' in '{typed}' is no parameter: write {name}:key=value,key=value")
        if key not in there:
            raise SalcheckError(_unknown(f"parameter of {name}", key, list(there)))
        given[key] = _read(f"{name}:{key}", value, there[key].annotation)
    return given


def spell(name: str, values: Mapping[str, Any], there: Known) -> str:
    """The shortest way to write a name with its values, the same for every way it may have been typed."""
    changed = {k: v for k, v in values.items() if v != there[k].default}
    return name + (":" + ",".join(f"{k}={write(v)}" for k, v in sorted(changed.items())) if changed else "")


def option(name: str, parameter: inspect.Parameter, words: str = "") -> str:
    """A parameter with its default and the other values where these are words: `k=1`."""
    literal = typing.get_origin(parameter.annotation) is typing.Literal
    choices = typing.get_args(parameter.annotation) if literal else ()
    others = words or ", ".join(str(word) for word in choices if word != parameter.default)
    return f"{name}={write(parameter.default)}" + (f" (or {others})" if others else "")


def write(value: Any) -> str:
    """A value as a user types it: numbers of a list are joined by `+`."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return "+".join(write(one) for one in value)
    return f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)


def _unknown(kind: str, key: str, there: list[str]) -> str:
    return unknown(kind, key, there) if there else f"unknown {kind} '{key}': it has none"


def _read(where: str, text: str, kind: Any) -> Any:
    """`text` as the annotated type of the parameter."""
    if typing.get_origin(kind) is tuple:
        pieces = [piece.strip() for piece in text.split("+")] if text.strip() else []
        return tuple(_read(where, piece, typing.get_args(kind)[0]) for piece in pieces)
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
        value = kind(text)
    except ValueError as error:
        raise SalcheckError(f"{where}={text}: it takes {kind.__name__} values") from error
    if isinstance(value, float) and not math.isfinite(value):
        raise SalcheckError(f"{where}={text}: it takes finite numbers")
    return value
