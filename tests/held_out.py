"""References for tests that call methods on tiny networks, gathered by the real collectors from random images."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np

from salcheck.datasets import Item
from salcheck.methods import Method
from salcheck.network.labels import Labels
from salcheck.network.outputs import SOFTMAX
from salcheck.network.view import FEATURES
from salcheck.references import Need
from tests.nets import make_images, make_view

IMAGES = 21


def held_out(net, method: Method, scratch: Path, side: int, layer: str = FEATURES) -> dict[str, object]:
    """What `method.saliency(view, classes, references)` is given, by key."""
    return {need.key: gather(net, need, scratch / str(place), side, layer) for place, need in enumerate(method.needs)}


def gather(net, need: Need, scratch: Path, side: int, layer: str = FEATURES):
    """One reference over IMAGES random images, each of the network's classes in turn."""
    scratch.mkdir(parents=True, exist_ok=True)
    model = SimpleNamespace(
        net=net, layer=layer, outputs=SOFTMAX, labels=Labels([f"class {i}" for i in range(net.num_classes)])
    )
    collector = need.module.collect(model, IMAGES, scratch, **need.parameters)
    images = make_images(IMAGES, side, seed=5)
    for start in range(0, IMAGES, 7):
        rows = list(range(start, start + 7))
        labels = [(row % net.num_classes,) if net.num_classes else () for row in rows]
        items = [Item(str(row), label) for row, label in zip(rows, labels, strict=True)]
        collector.add(make_view(net, images[rows], layer, seeds=rows), items)
    arrays = collector.arrays() | {file.stem: np.load(file, mmap_mode="c") for file in scratch.glob("*.npy")}
    return need.module.restore(arrays)
