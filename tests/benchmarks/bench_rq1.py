"""What rq1 costs beside a bare forward loop, whether its memory grows, and how long `--help` takes.

    python -m tests.benchmarks.bench_rq1 (--shared FOLDER | --tiny)

Both loops run in one process, in turn, over the same decoded images; the fastest of several rounds counts,
since other work on the machine only ever adds. The reference of `case` is made beforehand: it is built once
per model and cached.
"""

import dataclasses
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from salcheck.datasets import Dataset
from salcheck.methods import parse_methods
from salcheck.network.model import Model
from salcheck.references import References
from salcheck.references.confusion import Confusion
from salcheck.runs.asking import parse_question
from salcheck.runs.evaluate import evaluate
from salcheck.runs.plan import Request, joined
from salcheck.runs.plan import make_run as make_plan
from salcheck.runs.run import Run
from salcheck.store.results import Store
from tests.benchmarks.subject import parser, subject

METHODS = ["gradcam,hirescam,layercam,case"]
BATCH = 8


def main() -> None:
    given = parser(__doc__)
    given.add_argument("--n", type=int)
    given.add_argument("--rounds", type=int)
    given.add_argument("--memory", action="store_true", help="only run once and print the peak memory in MiB")
    options = given.parse_args()
    n, rounds = (4, 1) if options.tiny else (64, 5)
    n, rounds = options.n or n, options.rounds or rounds
    model, photographs = subject(options, "folder", "reference")
    if options.memory:
        ask(make_run(model, photographs, n))
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
        return
    speed(model, photographs, n, rounds)
    memory(["--tiny"] if options.tiny else ["--shared", str(options.shared)], n)
    start_up(1 if options.tiny else 7)


def make_run(model: Model, dataset: Dataset, n: int) -> Run:
    """rq1 over the first n images of the seed's order, with a made-up confusion matrix."""
    none = dataclasses.replace(dataset, items=[])
    request = Request(dataset, n=n, reference_data=none, correct_only=False, batch_size=BATCH, command="bench")
    methods = parse_methods(["gradcam,hirescam,layercam,case:contrast=logits"])
    run = make_plan(parse_question("rq1"), model, methods, request, Path())
    N = len(model.labels)
    confusion = Confusion(torch.randint(0, 9, (N, N)), torch.rand(N, N), torch.ones(N))
    methods = joined(parse_methods(METHODS), run.question)
    return dataclasses.replace(run, methods=methods, references=References({"confusion": confusion}))


def ask(run: Run) -> float:
    """Seconds for one run into an empty database and cache."""
    with tempfile.TemporaryDirectory() as folder, Store(f"{folder}/scores.db") as store:
        start = time.perf_counter()
        evaluate(run, store, Path(folder))
        return time.perf_counter() - start


def forward(model: Model, images: list[torch.Tensor]) -> float:
    """Seconds for a bare forward loop."""
    start = time.perf_counter()
    with torch.inference_mode():
        for first in range(0, len(images), BATCH):
            model.net(torch.stack(images[first : first + BATCH]))
    return time.perf_counter() - start


def speed(model: Model, photographs: Dataset, n: int, rounds: int) -> None:
    from_files = make_run(model, photographs, n)
    decoded = {item.key: model.transform(photographs.read(item)) for item in from_files.items}
    ready = dataclasses.replace(photographs, read=lambda item: decoded[item.key])  # type: ignore[arg-type,return-value]
    as_is = dataclasses.replace(model, transform=lambda tensor: tensor)  # type: ignore[arg-type,return-value]
    from_memory = make_run(as_is, ready, n)
    images = [decoded[item.key] for item in from_files.items]
    times = [(forward(model, images), ask(from_memory), ask(from_files)) for _ in range(rounds)]
    bare, rq1, whole = (min(column) for column in zip(*times, strict=True))
    methods = ", ".join(method.spec for method in from_memory.methods)
    print(f"{n} photographs, {model.name}, batch {BATCH}, {torch.get_num_threads()} threads, best of {rounds} rounds")
    print(f"  bare forward loop                     {bare:6.2f} s  {n / bare:5.1f} images/s")
    print(f"  rq1 over the same decoded images      {rq1:6.2f} s  {n / rq1:5.1f} images/s  {rq1 / bare:.2f} x")
    print(f"  rq1 from files, decoding included     {whole:6.2f} s  {n / whole:5.1f} images/s  {whole / bare:.2f} x")
    print(f"  ({methods})")


def memory(where: list[str], n: int) -> None:
    command = [sys.executable, "-m", "tests.benchmarks.bench_rq1", "--memory", *where, "--n"]
    few, many = (int(subprocess.check_output([*command, str(count)])) for count in (n, 10 * n))
    print(f"peak memory: {few} MiB for {n} images, {many} MiB for {10 * n} ({many / few - 1:+.1%})")


def start_up(rounds: int) -> None:
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        subprocess.run([Path(sys.executable).parent / "salcheck", "--help"], check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - start)
    print(f"salcheck --help: {statistics.median(times):.2f} s (median of {len(times)})")


if __name__ == "__main__":
    main()
