"""What deletion and insertion cost beside the bare forwards of as many images.

    python -m tests.benchmarks.bench_curves (--shared FOLDER | --tiny) [--images 4] [--rounds 3]

Both in one process, in turn, at the same batch size; the fastest of several rounds counts, since other work on the
machine only ever adds. Maps are made beforehand. The bare loop forwards as many images as must be: for each question
each photograph, each image on the way from it to the canvas for each method, and the canvas once for all of them.
"""

import time

import torch
from torch import Tensor

from salcheck.diagnostics import deletion, insertion
from salcheck.methods import parse_method
from salcheck.network.model import Model
from salcheck.perturb.answers import Memory
from tests.benchmarks.subject import parser, subject

QUESTIONS = (deletion, insertion)
METHODS = ["gradcam", "layercam", "edges"]
STEPS = 20
BATCH = 8


def main() -> None:
    given = parser(__doc__)
    given.add_argument("--images", type=int, default=4)
    given.add_argument("--rounds", type=int, default=3)
    options = given.parse_args()
    if options.tiny:
        options.images, options.rounds = 2, 1
    model, data = subject(options, "imagenet", "val")
    images = model.batch([model.transform(data.read(item)) for item in data.items[: options.images]])
    view = model.view(lambda: images, range(len(images)), BATCH)
    classes = view.logits.argmax(-1, keepdim=True)
    maps = [parse_method(name).saliency(view, classes, {}) for name in METHODS]
    count = len(images) * len(QUESTIONS) * (2 + len(METHODS) * (STEPS - 1))
    times = [(forward(model, images, count), curves(model, images, classes, maps)) for _ in range(options.rounds)]
    bare, asked = (min(column) for column in zip(*times, strict=True))
    print(
        f"{len(images)} photographs, {len(METHODS)} methods, {STEPS} steps, {model.name}, batch {BATCH}, "
        f"{torch.get_num_threads()} threads, best of {options.rounds} rounds"
    )
    print(f"  {count} bare forwards       {bare:6.2f} s  {count / bare:5.1f} images/s")
    print(f"  deletion and insertion  {asked:6.2f} s  {count / asked:5.1f} images/s  {asked / bare:.2f} x")


def forward(model: Model, images: Tensor, count: int) -> float:
    """Seconds for the bare forwards of `count` images."""
    start = time.perf_counter()
    with torch.inference_mode():
        for first in range(0, count, BATCH):
            rows = torch.arange(first, min(first + BATCH, count)) % len(images)
            model.net(images[rows])
    return time.perf_counter() - start


def curves(model: Model, images: Tensor, classes: Tensor, maps: list[Tensor]) -> float:
    """Seconds for both questions of all methods, as a run asks them: each with a view of its own."""
    start = time.perf_counter()
    for question in QUESTIONS:
        view = model.view(lambda: images, range(len(images)), BATCH)
        memory = Memory()
        for one in maps:
            question.score(view, classes, one, steps=STEPS, memory=memory)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
