"""Every method and every diagnostic is held to a second writing of its formula, or to a case with a known answer."""

import ast
from pathlib import Path

import pytest

from salcheck.naming import registry

TESTS = Path(__file__).parent
SHELVES = ("methods", "diagnostics")


def marked(source: str) -> list[str]:
    """Names of the test functions of a source text that carry the mark `oracle`; nothing is imported."""
    functions = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)]
    return [one.name for one in functions if "pytest.mark.oracle" in map(ast.unparse, one.decorator_list)]


@pytest.mark.parametrize("word", [f"{shelf}/{name}" for shelf in SHELVES for name in registry.names(shelf)])
def test_there_is_an_oracle(word):
    shelf, name = word.split("/")
    file = TESTS / shelf / f"test_{name.replace('-', '_')}.py"
    assert file.is_file(), f"{word} has no tests/{shelf}/{file.name}"
    assert any(name.startswith("test_") for name in marked(file.read_text())), (
        f"no test in tests/{shelf}/{file.name} is marked @pytest.mark.oracle: mark the one that compares {word} with a "
        "second writing of its formula, or with an answer that is known"
    )


def test_the_mark_is_found_where_it_stands():
    source = "import pytest\n@pytest.mark.oracle\n@pytest.mark.parametrize('a', [1])\ndef test_a(a): pass\n"
    assert marked(source + "@pytest.mark.slow\ndef test_b(): pass\n# pytest.mark.oracle\ndef test_c(): pass") == [
        "test_a"
    ]
