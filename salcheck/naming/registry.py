"""The folder is the registry: one file per method, diagnostic, dataset or format, found by its name."""

import ast
import difflib
import importlib
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from salcheck.errors import SalcheckError

PACKAGE = Path(__file__).resolve().parents[1]


def names(folder: str) -> list[str]:
    """Names of the modules in `salcheck/<folder>/`, sorted, as a user types them (`other-image`).

    Reads the folder only and imports nothing, so that `--help` stays quick.
    """
    files = (PACKAGE / folder).glob("*.py")
    return sorted(file.stem.replace("_", "-") for file in files if not file.stem.startswith("_"))


def source_of(shelf: str, name: str) -> Path:
    """The file that `name` comes from."""
    return Path(str(load(shelf, name).__file__))


def flagged(folder: str, flag: str) -> list[str]:
    """Names of the modules in `salcheck/<folder>/` with the line `flag = True`, sorted. Imports none of them."""
    return [name for name in names(folder) if _is_set(PACKAGE / folder / f"{name.replace('-', '_')}.py", flag)]


def _is_set(file: Path, flag: str) -> bool:
    """Whether a module sets `flag` to True at its top level."""
    return any(
        isinstance(line, ast.Assign)
        and isinstance(line.value, ast.Constant)
        and line.value.value is True
        and any(isinstance(target, ast.Name) and target.id == flag for target in line.targets)
        for line in ast.parse(file.read_text(encoding="utf-8")).body
    )


def load(folder: str, name: str) -> ModuleType:
    """The module `name` of `salcheck/<folder>/`; spelling is forgiven (`Grad-CAM`, `gradcam++`).

    Raises SalcheckError with the nearest names where there is none.
    """
    return importlib.import_module(f"salcheck.{folder}.{canonical(folder, name).replace('-', '_')}")


def canonical(folder: str, name: str) -> str:
    """The one spelling of `name` in `folder`; raises SalcheckError with the nearest names."""
    found = {_plain(known): known for known in names(folder)}
    if _plain(name) in found:
        return found[_plain(name)]
    raise SalcheckError(unknown(folder.rstrip("s"), name, names(folder)))


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
    line = " ".join(str(text).split())
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in line)


def _plain(name: str) -> str:
    return name.lower().replace("+", "p").replace("-", "").replace("_", "")
