"""The table of faults: kind, tried, survived, lost.

python -m tests.faults [--short] [full-disk killed ...]
"""

import importlib
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

HEAVY = (
    "torch torchvision timm scipy.stats scipy.optimize pandas sqlalchemy alembic.command alembic.config typer "
    "matplotlib.figure matplotlib.backends.backend_agg statsmodels.api sympy pydicom "
    "salcheck.network.loading salcheck.runs.asking salcheck.inputs.opening salcheck.report.build "
    "salcheck.screen.curves salcheck.screen.explained salcheck.training.fit salcheck.screen.demo"
)


def main() -> None:
    words = [word for given in sys.argv[1:] for word in given.replace(",", " ").split()]
    short = "--short" in words
    from tests.faults.kinds import KINDS, Workshop

    asked = [word for word in words if word != "--short"] or list(KINDS)
    if unknown := [word for word in asked if word not in KINDS]:
        raise SystemExit(f"no kind of fault {', '.join(unknown)}; known: {', '.join(KINDS)}")
    for name in HEAVY.split():  # once for all forks
        importlib.import_module(name)
    lost = 0
    print(f"{'fault':18} {'tried':>6} {'survived':>9} {'lost':>5} {'s':>6}", flush=True)
    with tempfile.TemporaryDirectory() as root:
        for name in asked:
            start = time.monotonic()
            trials = list(KINDS[name](Workshop(Path(root), short)))
            bad = [trial for trial in trials if trial.lost]
            took = time.monotonic() - start
            print(f"{name:18} {len(trials):6} {len(trials) - len(bad):9} {len(bad):5} {took:6.0f}", flush=True)
            for trial in bad:
                print(f"    {trial.name}: {' / '.join(trial.lost.splitlines())}", flush=True)
            lost += len(bad)
    raise SystemExit(1 if lost else 0)


if __name__ == "__main__":
    main()
