"""Small errors written into methods and diagnostics one at a time: does a test fail for each?

    python -m tests.mutants [gradcam deletion ...]

Each file is tested with its own test files (an underscored one with those of its users too), without tests that take
over SLOW seconds unless they are oracles, in a forked child of a process that has imported all heavy
packages. A mutant that no test notices is a survivor: add to the tests, or say in `mutants_explained.toml` why it
changes no number.
"""

import gc
import importlib.machinery
import importlib.util
import os
import pickle
import select
import signal
import sys
import time
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import pytest

from tests.mutations import Mutant, chosen, mutants

ROOT = Path(__file__).parents[1]
SHELVES = ("methods", "diagnostics")
EXPLAINED = Path(__file__).with_name("mutants_explained.toml")
MOST = 12  # mutants of one file
SLOW = 3.0  # seconds of the processor
HEAVY = "torch torchvision timm captum.attr pytorch_grad_cam scipy.stats scipy.ndimage skimage sklearn.metrics zennit"
OPTIONS = ["-x", "-q", "-m", "not slow", "--tb=no", "--assert=plain", "-p", "no:cacheprovider"]


def main() -> None:
    words = [word for given in sys.argv[1:] for word in given.replace(",", " ").split()]
    files = [file for shelf in SHELVES for file in sorted((ROOT / "salcheck" / shelf).glob("*.py"))]
    known = {file.stem: file for file in files if file.stem != "__init__"}
    if unknown := [word for word in words if word not in known]:
        raise SystemExit(f"no method or diagnostic {', '.join(unknown)}; known: {', '.join(known)}")
    for name in [*HEAVY.split(), "torchcam", "pytest_timeout", "alembic", "pandas", "sqlalchemy", "typer"]:
        importlib.import_module(name)
    gc.freeze()  # what is there by now never goes: a collection in a child need not look at it
    explained = tomllib.loads(EXPLAINED.read_text())
    wrong = [f"{place} is explained and not there" for place in explained if not (ROOT / "salcheck" / place).is_file()]
    for file in (known[word] for word in words or known):
        wrong += run(file, explained.get(f"{file.parent.name}/{file.name}", {}))
    print(f"\n{len(wrong)} to mend" if wrong else "\nno survivor without an explanation")
    print("\n".join(f"  {line}" for line in wrong))
    raise SystemExit(1 if wrong else 0)


def run(file: Path, explained: dict[str, str]) -> list[str]:
    """Tests the mutants of one file and prints what became of them; returns what is to be mended, a line each."""
    place, source = f"{file.parent.name}/{file.name}", file.read_text()
    every, tests = mutants(source), tests_of(file)
    wrong = [f"{place}: explained and not there: {key}" for key in explained if key not in {m.key for m in every}]
    if not every or not tests:
        print(f"{place}: {len(every)} mutants, {len(tests)} test files: not run", flush=True)
        return wrong + ([] if not every else [f"{place}: no test file"])
    start = time.monotonic()
    status, seconds = in_child(file, None, tests, {}, limit=600)
    if status != 0:
        return [*wrong, f"{place}: its tests fail as it is"]
    limit = 60 + 10 * sum(seconds.values())
    some = chosen(every, MOST)
    alive = [mutant for mutant in some if in_child(file, mutant, tests, seconds, limit)[0] == 0]
    took = time.monotonic() - start
    print(f"{place}: {len(some)} of {len(every)} mutants, {len(some) - len(alive)} killed, {took:.0f} s", flush=True)
    for mutant in alive:
        why = explained.get(mutant.key, "SURVIVES")
        print(f"    {file.name}:{mutant.line} [{mutant.kind}] {mutant.key}  ({why})", flush=True)
    left = {mutant.key for mutant in alive}
    wrong += [f"{place}:{mutant.line} survives: {mutant.key}" for mutant in alive if mutant.key not in explained]
    killed = {mutant.key for mutant in some} - left
    return wrong + [f"{place}: explained and killed: {key}" for key in explained if key in killed]


def tests_of(file: Path) -> list[str]:
    """The test files of a method or diagnostic, and of an underscored file those of the files that use it as well."""
    folder, name = ROOT / "tests" / file.parent.name, f"{file.parent.name}.{file.stem} "
    users = file.parent.glob("*.py") if file.stem.startswith("_") else []
    stems = [file.stem.strip("_"), *(other.stem for other in users if name in other.read_text())]
    own = [path for stem in stems for path in (*folder.glob(f"test_{stem}.py"), *folder.glob(f"test_{stem}_*.py"))]
    return sorted({str(path) for path in own})


def in_child(
    file: Path, mutant: Mutant | None, tests: Sequence[str], seconds: dict[str, float], limit: float
) -> tuple[int, dict[str, float]]:
    """pytest's exit status in a fork where the mutant stands for the file, and the seconds of each test.

    A mutant that has not ended after `limit` seconds counts as one whose tests fail.
    """
    receive, send = os.pipe()
    child = os.fork()
    if not child:
        os.close(receive)
        os.setsid()
        os.write(send, pickle.dumps(tested(file, mutant, tests, seconds)))
        os._exit(0)
    os.close(send)
    ready = select.select([receive], [], [], limit)[0]
    with os.fdopen(receive, "rb") as pipe:
        answer = pipe.read() if ready else b""
    if not ready:
        os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return pickle.loads(answer) if answer else (1, {})


def tested(
    file: Path, mutant: Mutant | None, tests: Sequence[str], seconds: dict[str, float]
) -> tuple[int, dict[str, float]]:
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    if mutant:
        sys.meta_path.insert(0, Finder(file, mutant))
    order = Order(seconds)
    status = pytest.main([*OPTIONS, *tests], plugins=[order])
    return int(status), order.taken


class Finder:
    """Imports the mutant wherever the file's module is imported."""

    def __init__(self, file: Path, mutant: Mutant):
        self.file, self.code = file, compile(mutant.tree, str(file), "exec")

    def find_spec(self, name: str, path: Iterable[str] | None, target: object = None):
        if name != f"salcheck.{self.file.parent.name}.{self.file.stem}":
            return None
        loader = importlib.machinery.SourceFileLoader(name, str(self.file))
        loader.get_code = lambda fullname: self.code
        return importlib.util.spec_from_file_location(name, self.file, loader=loader)


class Order:
    """Runs the oracles first and then the fastest, and leaves out others that are known to take long."""

    def __init__(self, seconds: dict[str, float]):
        self.seconds, self.taken = seconds, {}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        oracles = [item for item in items if item.get_closest_marker("oracle")]
        others = [item for item in items if item not in oracles and self.seconds.get(item.nodeid, 0) <= SLOW]
        items[:] = [*self.by_time(oracles), *self.by_time(others)]

    def by_time(self, items: list[pytest.Item]) -> list[pytest.Item]:
        return sorted(items, key=lambda item: self.seconds.get(item.nodeid, 0))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        start = time.process_time()  # what else runs on the machine does not count
        done = yield
        self.taken[item.nodeid] = time.process_time() - start
        return done


if __name__ == "__main__":
    main()
