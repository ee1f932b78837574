"""Where maps fall on scenes whose truth is known: a table of all methods, for the README.

    python -m tests.benchmarks.bench_truth [--n 200]

For two-object scenes each method explains both classes. Own: the share of maps with more mass on the object of
their class than on the other. On own, on other, elsewhere: where the positive mass lies, mean over maps.
"""

import argparse
import tempfile
import time
from pathlib import Path

import torch

from salcheck.datasets import scenes
from salcheck.methods import every, parse_methods
from salcheck.models import load_model
from tests.planted import plant, references_of, shares

CHUNK = 8
VARIANTS = (
    "case:contrast=logits,case:subtract=difference,diffcam:group=others,diffcam:matrix=identity,libracam:against=zero"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=200)
    parser.add_argument("--methods", default="")
    options = parser.parse_args()
    model = load_model("scenes", device="cpu")
    items = scenes.open_dataset(None, model.labels, 0).items
    methods = parse_methods([options.methods]) if options.methods else [*every(), *parse_methods([VARIANTS])]
    methods = [method for method in methods if method.unfit(model, with_references=True) is None]
    with tempfile.TemporaryDirectory() as cache:
        references = references_of(model, methods, Path(cache))
    print(f"{options.n} scenes of two objects, {model.name}; s: seconds per scene and two classes")
    print("| method | own | on own | on other | elsewhere | s |\n|---|---:|---:|---:|---:|---:|")
    for method in methods:
        start, parts = time.perf_counter(), []
        for first in range(0, options.n, CHUNK):
            view, classes, masks = plant(model, items[first : first + CHUNK])
            parts.append(shares(method, view, classes, masks, references))
        own, other = torch.cat(parts).flatten(0, 1).T
        right, took = (own > other).float().mean(), (time.perf_counter() - start) / options.n
        figures = f"{right:.0%} | {own.nanmean():.0%} | {other.nanmean():.0%} | {1 - (own + other).nanmean():.0%}"
        name = f"*{method.spec}*" if method.control else method.spec
        print(f"| {name} | {figures} | {took:.2f} |", flush=True)


if __name__ == "__main__":
    main()
