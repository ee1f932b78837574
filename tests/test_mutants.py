"""The mutation run itself: which errors it writes, and that a wrong formula is told from an unchanged one."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.mutations import chosen, mutants

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("line", "keys"),
    [
        ("a + b", ["a + b -> a - b"]),
        ("a - b", ["a - b -> a + b"]),
        ("-a", ["-a -> a"]),
        ("a * b", ["a * b -> 2 * (a * b)", "a * b -> a ** 2 * b"]),
        ("a / 2", ["a / 2 -> a"]),
        ("a ** 2", ["a ** 2 -> a"]),
        ("a.clamp(min=0)", ["a.clamp(min=0) -> a"]),
        ("a.amax(-1)", ["a.amax(-1) -> a.amin(-1)"]),
        ("a.mean(-1)", ["a.mean(-1) -> a.sum(-1)"]),
        ("a < b", ["a < b -> a > b"]),
        ("a.flip(1)", ["a.flip(1) -> a"]),
        ("a[:, 0]", ["a[:, 0] -> a[:, 1]"]),
        ("a.view(-1, h, w)", []),
        ("a.unflatten(1, (h, w))", ["(h, w) -> (w, h)"]),
        ("einsum.einsum('bc,bchw->bhw', a, b)", ["'bc,bchw->bhw', a ** 2, b", "'bc,bchw->bwh', a, b"]),
        ("'a' + b", []),
        ("a[0].numel()", []),
        ("a.clamp(min=1e-9)", []),
    ],
)
def test_errors_that_are_written(line, keys):
    found = [mutant.key for mutant in mutants(f"def saliency():\n    return {line}")]
    assert len(found) == len(keys)
    assert all(key in one for key, one in zip(keys, found, strict=True))


def test_a_mutant_differs_in_one_place():
    source = "def saliency(a):\n    b = a - 1\n    return b - 1"
    assert [ast.unparse(mutant.tree) for mutant in mutants(source)] == [
        source.replace("a - 1", "a + 1"),
        source.replace("b - 1", "b + 1"),
    ]


def test_messages_and_what_says_whether_a_method_fits_are_left_alone():
    assert not mutants("def unfit(a):\n    return a < 2\ndef f(a: 'x' = None):\n    raise Error(a - 1)")


def test_a_choice_of_mutants_has_every_kind():
    every = mutants("def f(a):\n" + "    a = a + 1\n" * 50 + "    a = a < 1\n" * 50)
    some = chosen(every, 10)
    assert len(some) == 10
    assert {mutant.kind for mutant in some} == {"sign", "comparison"}
    assert chosen(every[:4], 10) == sorted(every[:4], key=lambda mutant: mutant.kind)


CHILD = """
import ast, dataclasses, sys
from tests import mutants
file = mutants.ROOT / "salcheck" / "methods" / "hirescam.py"
tree = ast.parse(file.read_text())
wrong = mutants.mutants(file.read_text())[0]
same = dataclasses.replace(wrong, tree=tree)
print([mutants.in_child(file, one, mutants.tests_of(file), {}, 200)[0] for one in (None, same, wrong)])
"""


def test_a_wrong_formula_is_killed_and_an_unchanged_one_survives():
    done = subprocess.run([sys.executable, "-c", CHILD], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[0, 0, 1]", done.stderr


def test_a_file_that_is_not_there_is_one_line():
    words = [sys.executable, "-m", "tests.mutants", "gradcm"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("no method or diagnostic gradcm; known: _averaging, ")


def test_what_is_explained_is_there():
    explained = tomllib.loads((ROOT / "tests" / "mutants_explained.toml").read_text())
    for place, reasons in explained.items():
        there = {mutant.key for mutant in mutants((ROOT / "salcheck" / place).read_text())}
        assert set(reasons) <= there, f"{place} no longer has these: take them out of mutants_explained.toml"
        assert all(len(why) > 10 for why in reasons.values())
