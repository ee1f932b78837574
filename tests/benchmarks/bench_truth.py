"""Where maps fall on scenes whose truth is known: a table of all methods, for the README.

    python -m tests.benchmarks.bench_truth [--n 100 | --tiny]

For two-object scenes each method explains both classes. Own: of the maps that are not blank, the share with more
mass on the object of their class than on the other. On own, on other, elsewhere: where the positive mass lies, mean
over these maps.
"""

import argparse
import tempfile
from pathlib import Path

import torch

from salcheck.datasets import scenes
from salcheck.methods import every, parse_methods
from salcheck.network.loading import load_model
from tests.planted import HELD_OUT, held_out_scenes, plant, references_of, shares

CHUNK = 8
VARIANTS = (
    "case:contrast=logits,case:subtract=difference,diffcam:group=others,diffcam:matrix=identity,libracam:against=zero,"
    "finercam:rivals=pair,diffcam:group=pair"
)


def _all() -> list[str]:
    """Every method, RISE with fewer masks than its default, and Libra-CAM's library with what two objects leave."""
    shorter = {"rise": "rise:masks=500", "libracam": "libracam:p_top=0.5,p_target=0.01"}
    return [shorter.get(method.name, method.name) for method in every()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=100)
    parser.add_argument("--methods", default="")
    parser.add_argument("--tiny", action="store_true", help="two scenes and a few methods: does it run at all?")
    options = parser.parse_args()
    if options.tiny:
        options.n, options.methods = 2, "gradcam,case:contrast=logits,diffcam:group=pair,random"
    model = load_model("scenes", device="cpu")
    items = scenes.open_dataset(None, model.labels, 0).items
    if options.n > len(items) - HELD_OUT:
        raise SystemExit(f"--n {options.n}: the last {HELD_OUT} of {len(items)} scenes are held out")
    methods = parse_methods([options.methods] if options.methods else [",".join([*_all(), VARIANTS])])
    methods = [method for method in methods if method.unfit(model, held_out_scenes(model)) is None]
    with tempfile.TemporaryDirectory() as cache:
        references = references_of(model, methods, Path(cache))
    print(f"{options.n} scenes of two objects, {model.name}")
    print("| method | own | on own | on other | elsewhere | blank |\n|---|---:|---:|---:|---:|---:|")
    for method in methods:
        parts = []
        for first in range(0, options.n, CHUNK):
            view, classes, masks = plant(model, items[first : min(first + CHUNK, options.n)])
            parts.append(shares(method, view, classes, masks, references))
        on = torch.cat(parts).flatten(0, 1)
        blank = on.isnan().any(-1)
        own, other = on[~blank].T
        figures = f"{(own > other).float().mean():.0%} | {own.mean():.0%} | {other.mean():.0%} | "
        figures += f"{1 - (own + other).mean():.0%} | {int(blank.sum()) or ''}"
        print(f"| {f'*{method.spec}*' if method.control else f'`{method.spec}`'} | {figures} |", flush=True)


if __name__ == "__main__":
    main()
