"""Words for what a user typed and a file holds: the nearest names, any text on one line, and in little room."""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def unknown(kind: str, given: str, known: Iterable[str]) -> str:
    """One line that says what was given, what comes nearest, and what there is."""
    known = list(known)
    lower = {item.lower(): item for item in reversed(known)}
    near = [lower[match] for match in difflib.get_close_matches(given.lower(), lower, n=3, cutoff=0.5)]
    hint = f"did you mean {' or '.join(near)}?" if near else ""
    shown = known if len(known) <= 50 else []
    listing = f"known: {', '.join(shown)}" if shown else ""
    shortened = given if len(given) <= 60 else given[:59] + "…"
    return f"unknown {kind} '{shortened}': " + ("; ".join(filter(None, [hint, listing])) or "no name comes near")


def one_line(text: object) -> str:
    """Text that nobody vouches for, on one line that any terminal shows as it is: no line ends, no control codes, no
    passwords.
    """
    return visible(without_passwords(" ".join(str(text).split())))


def visible(text: str) -> str:
    """Text in which nothing but line ends is obeyed by a terminal: other control codes are escaped."""
    shown = (c if c.isprintable() or c == "\n" else c.encode("unicode_escape", "surrogatepass").decode() for c in text)
    return "".join(shown)


def shorten(text: str, limit: int = 24) -> str:
    """A text cut to so many characters, the last of them an ellipsis: it fits above a panel of a picture."""
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def fed(given: Mapping[str, Any]) -> str:
    """What a model is fed (`Model.input`), in one line: `input 224×224, crop .875 bicubic, mean .485 ...`."""
    height, width = given["size"]
    mode = "" if given["crop_mode"] == "center" else f" {given['crop_mode']}"
    crop = f"crop {_figure(given['crop_pct'])}{mode} {given['interpolation']}"
    grey = ["grey"] if given["channels"] == 1 else []
    colours = [f"{entry} {_figures(given[entry])}" for entry in ("mean", "std")]
    return ", ".join([f"input {height}×{width}", *grey, crop, *colours])


def _figures(values: Sequence[float]) -> str:
    """One number where they are all the same."""
    return " ".join(map(_figure, values[:1] if len(set(values)) == 1 else values))


def _figure(value: float) -> str:
    """`.875`, `1`: four digits at most after the point, none that say nothing."""
    return f"{value:.4f}".rstrip("0").rstrip(".").lstrip("0") or "0"


def without_passwords(text: str) -> str:
    """Text with *** where URLs name a user and a password, and where any setting is called a password."""
    hidden = re.sub(r"://.*@", "://***@", text, flags=re.DOTALL)
    return re.sub(r"(password\s*=\s*)('[^']*'|[^\s&'\"]*)", r"\1***", hidden, flags=re.IGNORECASE)
