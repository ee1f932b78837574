"""Who may import whom: held over every import of the package, also those inside functions and under TYPE_CHECKING."""

import ast
import graphlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "salcheck"
SHELVES = {"commands", "methods", "diagnostics", "questions", "references", "datasets", "formats", "engines"}
QUICK = ("questions", "naming", "commands")  # what `--help` loads
HEAVY = {"torch", "timm", "torchvision"}
ENTRIES = {"", "__main__"}  # the package itself and `python -m salcheck` stand above all rooms


def rooms(page: str) -> list[str]:
    """The order of rooms as a page states it: one a line, lowest first; marks of lists and of code do not count."""
    (block,) = re.findall(r"<!-- rooms -->(.*?)<!-- /rooms -->", page, flags=re.DOTALL)
    lines = [line for line in block.splitlines() if not line.startswith("```")]
    return [word for line in lines for word in re.findall(r"^[\s*`\d.-]*([a-z_]+)", line)]


def module_of(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_of(file): file for file in PACKAGE.rglob("*.py")}
ORDER = rooms((ROOT / "ARCHITECTURE.md").read_text())


def room_of(module: str) -> str:
    return [*module.split("."), ""][1]


def imported(module: str, tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Every module of salcheck that a file imports, with the line: `from a import b` is a.b where that is a file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            package = module.split(".")[: -node.level or None] if node.level else []
            source = ".".join([*package, *filter(None, [node.module])])
            whole = [f"{source}.{alias.name}" for alias in node.names]
            found = [name if name in FILES else source for name in whole]
        else:
            continue
        yield from ((node.lineno, name) for name in found if name.split(".")[0] == "salcheck")


IMPORTS = [
    (module, line, other)
    for module, file in sorted(FILES.items())
    for line, other in sorted(set(imported(module, ast.parse(file.read_text()))))
]


def shown(wrong: list[tuple[str, int, str]]) -> str:
    return "\n".join(f"{FILES[module].relative_to(ROOT)}:{line} imports {other}" for module, line, other in wrong)


def test_every_folder_and_file_is_a_room_of_the_page():
    there = {room_of(module) for module in FILES} - ENTRIES
    assert len(set(ORDER)) == len(ORDER)
    assert there <= set(ORDER)


def test_a_room_imports_only_rooms_before_it():
    place = {room: at for at, room in enumerate(ORDER)} | dict.fromkeys(ENTRIES, len(ORDER))
    wrong = [one for one in IMPORTS if one[2] != "salcheck" and place[room_of(one[0])] < place[room_of(one[2])]]
    assert not wrong, "\n" + shown(wrong)


def by_name() -> list[tuple[str, int, str]]:
    """Imports of a shelf's file from outside of that shelf."""
    elsewhere = [one for one in IMPORTS if room_of(one[0]) != room_of(one[2])]
    return [one for one in elsewhere if room_of(one[2]) in SHELVES and one[2].count(".") > 1]


def test_shelves_do_not_import_each_other_s_files_by_name():
    wrong = [one for one in by_name() if room_of(one[0]) in SHELVES]
    assert not wrong, "\n" + shown(wrong)


def test_rooms_do_not_import_by_name_what_users_can_name():
    """That is found by the registry; what the files of a shelf share is underscored."""
    rooms_only = [one for one in by_name() if room_of(one[0]) not in {*SHELVES, *ENTRIES, "cli"}]
    wrong = [one for one in rooms_only if not one[2].rpartition(".")[2].startswith("_")]
    assert not wrong, "\n" + shown(wrong)


def test_no_circle():
    graph = {module: {other for one, _, other in IMPORTS if one == module} - {module} for module in FILES}
    graph["salcheck"] = set()  # what all stand in; only its version is read
    try:
        list(graphlib.TopologicalSorter(graph).static_order())
    except graphlib.CycleError as error:
        pytest.fail("a circle of imports: " + " <- ".join(error.args[1]))


def at_module_level(tree: ast.AST) -> Iterator[str]:
    """The first words of what is imported when the module is, also under `if` and `try`."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").split(".")[0]
        elif not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            yield from at_module_level(node)


@pytest.mark.parametrize("room", QUICK)
def test_nothing_heavy_is_imported_where_help_is_written(room):
    files = (PACKAGE / room).glob("*.py")
    wrong = [file.name for file in files if HEAVY & set(at_module_level(ast.parse(file.read_text())))]
    assert not wrong


def test_the_command_line_starts_without_torch():
    quick = [module for module in FILES if room_of(module) in QUICK]
    code = f"import sys, importlib\nfor name in {['salcheck.cli', *quick]}: importlib.import_module(name)\n"
    code += f"print(sorted({HEAVY} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stderr


def test_rooms_are_read_from_lists_and_code_alike():
    listed = "# Page\n<!-- rooms -->\n1. `errors`: what users read\n- naming\n<!-- /rooms -->\n- other"
    assert (
        rooms(listed) == rooms("<!-- rooms -->\n```text\nerrors\nnaming\n```\n<!-- /rooms -->") == ["errors", "naming"]
    )


def test_imports_are_found_wherever_they_are():
    source = """
from typing import TYPE_CHECKING
import salcheck.errors, torch
if TYPE_CHECKING:
    from salcheck.methods import Method, gradcam
def f():
    from . import registry
    from .parameters import known
"""
    found = [other for _, other in imported("salcheck.naming.mine", ast.parse(source))]
    assert sorted(found) == [
        "salcheck.errors",
        "salcheck.methods",
        "salcheck.methods.gradcam",
        "salcheck.naming.parameters",
        "salcheck.naming.registry",
    ]
    assert set(at_module_level(ast.parse(source))) == {"typing", "salcheck", "torch"}
