"""What rq1 costs beside a bare forward loop, whether its memory grows, and how long `--help` takes.

    python -m tests.benchmarks.bench_rq1 --shared FOLDER

Both loops run in one process, in turn, over the same decoded images; the fastest of several rounds counts,
since other work on the machine only ever adds. The reference of `case` is made beforehand: it is built once
per model and cached.
"""

import argparse
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
from salcheck.inputs.opening import open_data
from salcheck.methods import parse_methods
from salcheck.network.loading import load_model
from salcheck.network.model import Model
from salcheck.references import References
from salcheck.references.confusion import Confusion
from salcheck.runs import evaluate as engine
from salcheck.runs.asking import parse_question
from salcheck.runs.run import Run
from salcheck.store.results import Store

METHODS = ["gradcam,hirescam,layercam,case"]
BATCH = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, required=True)
    parser.add_argument("--n", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--memory", action="store_true", help="only run once and print the peak memory in MiB")
    options = parser.parse_args()
    if not options.shared.is_dir():
        raise SystemExit(f"no folder {options.shared}: the benchmark needs real weights and photographs")
    model = load_model(f"local-dir:{options.shared / 'models' / 'resnet50.pqf_in1k'}", device="cpu")
    photographs = open_data("folder", options.shared / "photos" / "reference", model, 0)
    if options.memory:
        ask(make_run(model, photographs, options.n))
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
        return
    speed(model, photographs, options.n, options.rounds)
    memory(options.shared)
    start_up()


def make_run(model: Model, dataset: Dataset, n: int) -> Run:
    """rq1 over the first n images of the seed's order, with a made-up confusion matrix."""
    run = engine.make_run(
        parse_question("rq1"),
        model,
        dataset,
        parse_methods(["gradcam,hirescam,layercam,case:contrast=logits"]),
        reference_data=dataclasses.replace(dataset, items=[]),
        n=n,
        seed=0,
        correct_only=False,
        batch_size=BATCH,
        command="bench",
        cache=Path(),
    )
    N = len(model.labels)
    confusion = Confusion(torch.randint(0, 9, (N, N)), torch.rand(N, N), torch.ones(N))
    return dataclasses.replace(
        run, methods=engine.with_controls(parse_methods(METHODS)), references=References({"confusion": confusion})
    )


def ask(run: Run) -> float:
    """Seconds for one run into an empty database and cache."""
    with tempfile.TemporaryDirectory() as folder, Store(f"{folder}/scores.db") as store:
        start = time.perf_counter()
        engine.evaluate(run, store, Path(folder))
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


def memory(shared: Path) -> None:
    command = [sys.executable, "-m", "tests.benchmarks.bench_rq1", "--memory", "--shared", str(shared), "--n"]
    few, many = (int(subprocess.check_output([*command, str(n)])) for n in (64, 640))
    print(f"peak memory: {few} MiB for 64 images, {many} MiB for 640 ({many / few - 1:+.1%})")


def start_up() -> None:
    times = []
    for _ in range(7):
        start = time.perf_counter()
        subprocess.run([Path(sys.executable).parent / "salcheck", "--help"], check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - start)
    print(f"salcheck --help: {statistics.median(times):.2f} s (median of {len(times)})")


if __name__ == "__main__":
    main()
