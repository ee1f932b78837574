"""`salcheck new KIND NAME`: a file to start from, and its oracle test."""

import re
from pathlib import Path
from typing import Annotated, Literal

import typer

from salcheck.errors import SalcheckError
from salcheck.naming import registry
from salcheck.naming.outside import Source
from salcheck.questions import names

TEMPLATES = registry.PACKAGE / "assets" / "new"
TRY = {
    "method": [
        "salcheck explain IMG --method {file}",
        "salcheck eval scenes --arch scenes --n 100 --method {file},gradcam",
    ],
    "question": [
        "salcheck eval {file} --arch scenes --n 100 --method gradcam,lafam",
        "salcheck report --plugin {file} --question {name}",
    ],
    "dataset": ["salcheck eval rq1 --dataset {file} --data DIR"],
    "format": ["salcheck report --format {file}", "salcheck report --plugin {file} --out report.{name}"],
}


def command(
    kind: Annotated[
        Literal["method", "question", "dataset", "format"],
        typer.Argument(help="method, question, dataset or format.", metavar="KIND"),
    ],
    name: Annotated[str, typer.Argument(help="Its name: letters, digits, - and _.", metavar="NAME")],
    out: Annotated[
        Path, typer.Option(help="Folder for NAME.py and test_NAME.py; nothing there is overwritten.", metavar="DIR")
    ] = Path(),
) -> None:
    """Write a file to start from. A method, question, dataset or format, with a test that passes as written."""
    stem = name.lower().replace("-", "_")
    if not re.fullmatch(r"[a-z][a-z0-9_]*", stem):
        raise SalcheckError(f"'{name}' is no name: it begins with a letter, and has letters, digits, - and _ only")
    file, test, bare = out / f"{stem}.py", out / f"test_{stem}.py", stem.replace("_", "-")
    _check_free(kind, bare, file)
    for path, template in {test: f"{kind}.oracle.txt", file: f"{kind}.txt"}.items():
        _write(path, (TEMPLATES / template).read_text().replace("NAME", bare).replace("STEM", stem))
    shown = f"./{file.as_posix()}" if not file.is_absolute() else file.as_posix()
    typer.echo(f"written: {file} and {test}. Next:")
    for line in [f"python -m pytest {test.as_posix()}", *(line.format(file=shown, name=bare) for line in TRY[kind])]:
        typer.echo(f"    {line}")


def _check_free(kind: str, name: str, file: Path) -> None:
    """Raises SalcheckError where salcheck, or what was added to it, has a thing of this name."""
    if kind == "question":
        registry.check_free("diagnostics", name, Source(f"'{file}'", file=file))
        if name in names():
            raise SalcheckError(f"there is a question {name} already: choose another name")
    else:
        registry.check_free(f"{kind}s", name, Source(f"'{file}'", file=file))


def _write(path: Path, text: str) -> None:
    """A new file; raises SalcheckError where there is one, or none can be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x") as file:
            file.write(text)
    except OSError as error:
        raise SalcheckError(f"cannot write '{path}': {error.strerror}; name another folder with --out") from error
