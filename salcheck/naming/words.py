"""Words for what a user typed: the nearest names, and any text on one line."""

import difflib
import re
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
    """Text that nobody vouches for, on one line that any terminal shows as it is: no line ends, no control codes, no
    passwords.
    """
    line = without_passwords(" ".join(str(text).split()))
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in line)


def without_passwords(text: str) -> str:
    """Text with *** where URLs name a user and a password, and where any setting is called a password."""
    hidden = re.sub(r"://.*@", "://***@", text, flags=re.DOTALL)
    return re.sub(r"(password\s*=\s*)('[^']*'|[^\s&'\"]*)", r"\1***", hidden, flags=re.IGNORECASE)
