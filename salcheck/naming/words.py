"""Words for what a user typed: the nearest names, and any text on one line."""

import difflib
from collections.abc import Iterable


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
    """Text that nobody vouches for, on one line that any terminal shows as it is: no line ends, no control codes."""
    return visible(" ".join(str(text).split()))


def visible(text: str) -> str:
    """Text in which nothing but line ends is obeyed by a terminal: other control codes are escaped."""
    shown = (c if c.isprintable() or c == "\n" else c.encode("unicode_escape", "surrogatepass").decode() for c in text)
    return "".join(shown)
