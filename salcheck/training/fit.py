"""Trains a small model from nothing, into a folder that timm opens as `local-dir:`.

The weights in `assets/scenes` are exactly what `train(Path("salcheck/assets/scenes"))` leaves on a CPU with two
threads, and those in `assets/puppets` what it leaves with `dataset="puppets"`.
"""

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from time import perf_counter

import numpy as np
import safetensors.torch
import timm
import torch
import torch.nn.functional as F
from torch import nn

from salcheck.errors import SalcheckError
from salcheck.naming.words import one_line
from salcheck.store.cache import write_together
from salcheck.store.provenance import code_of
from salcheck.training.feed import MEAN, STD, Feed, to_batch
from salcheck.training.lessons import Lesson, Reader, lesson_of, readable, shuffled
from salcheck.training.unfinished import Unfinished

ARCHITECTURE = "resnet18"
# One thin block a stage. Stride 8 keeps a 16 x 16 grid: cells of 8 pixels, where an object is about 35 across.
MODEL_ARGS = {
    "layers": [1, 1, 1, 1],
    "channels": [32, 48, 64, 96],
    "stem_width": 16,
    "stem_type": "deep",
    "output_stride": 8,
}
PEAK = 3e-3  # learning rate
MEASURED = 10_000  # of other pictures, at most
CHUNK = 50  # pictures per forward when measuring
OFTEN = 100  # steps after which is said and kept how far it is


def train(
    out: Path,
    steps: int | None = None,
    seed: int = 0,
    batch_size: int = 48,
    device: str = "cpu",
    report: Callable[[str], None] = print,
    dataset: str = "scenes",
    data: Path | None = None,
    shuffle: bool = False,
) -> dict[str, float]:
    """Train the model, write `out/config.json` and `out/model.safetensors`, and return the shares it gets right.

    Of held-out pictures: for scenes `single` (one object) and `pair` (both of two objects), else `accuracy`: puppets'
    own dataset, the test images of mnist and cifar100, a seeded tenth of class folders. And `training`, of pictures
    that it was trained on, where these are not drawn afresh. config.json repeats the figures.
    `shuffle` gives each of LEARNT training pictures the classes of another, once, at random (the label randomisation of
    Adebayo et al. 2018, section 4.2): nothing is there to learn but the pictures themselves, by heart.
    On a CPU the same arguments, machine, torch and number of threads give the same weights, bit for bit. `report` gets
    a line of progress now and then. Pictures that cannot be read are left out and counted.
    Stopped at any moment, the same call goes on where it was kept last and ends with the same weights. Raises
    SalcheckError where there is nothing to train on or the folder cannot be written; what was trained is kept.
    """
    if batch_size < 1 or seed < 0 or (steps is not None and steps < 1):
        raise SalcheckError(f"steps {steps}, batch size {batch_size}, seed {seed}: need at least 1, 1 and 0")
    lesson = lesson_of(dataset, data, seed)
    lesson = shuffled(lesson, seed) if shuffle else lesson
    steps = steps or lesson.steps
    called = {"steps": steps, "seed": seed, "batch_size": batch_size, "device": device}
    called |= ({"dataset": dataset} if dataset != "scenes" else {}) | ({"shuffle": True} if shuffle else {})
    made_with = {"torch": torch.__version__, "timm": timm.__version__}
    identity = json.dumps([called, made_with, lesson.digest, code_of(Path(__file__))])
    unfinished = Unfinished(out, identity, steps)
    feed = Feed(lesson, seed, batch_size)
    model = _fit(lesson, steps, seed, feed, device, report, unfinished)
    held_out = {name: accuracy(model, read, count) for name, (read, count) in lesson.held_out.items()}
    seen = {} if lesson.count is None else {"training": accuracy(model, lesson.read, lesson.count)}
    report(", ".join(f"{name} {value:.4f}" for name, value in (held_out | seen).items()))
    if feed.unread:
        first = one_line(feed.first_failure)
        report(f"{len(feed.unread)} pictures could not be read and were left out, the first: {first}")
    call = f"salcheck.training.fit.train(out, {', '.join(f'{name}={value!r}' for name, value in called.items())})"
    record = {"call": call, **made_with, "held_out": held_out, **seen}
    record |= {"unread": len(feed.unread)} if feed.unread else {}
    with unfinished.guarded(steps):
        _save(model, out, _config(lesson, model, record))
    unfinished.remove()
    return held_out | seen


def accuracy(model: nn.Module, read: Reader, count: int) -> float:
    """The share of pictures 0 to `count` - 1, or of MEASURED of them, whose n classes come first, in any order. Those
    that cannot be read do not count; NaN where there are no others.
    """
    chosen = range(count) if count <= MEASURED else np.random.default_rng(0).permutation(count)[:MEASURED].tolist()
    device = next(model.parameters()).device
    hits = seen = 0
    with torch.inference_mode():
        for start in range(0, len(chosen), CHUNK):
            pictures = [found for number in chosen[start : start + CHUNK] if (found := readable(read, number))]
            seen += len(pictures)
            if not pictures:
                continue
            logits = model(to_batch([image for image, _ in pictures]).to(device)).cpu()
            for row, (_, classes) in zip(logits, pictures, strict=True):
                hits += set(row.topk(len(classes)).indices.tolist()) == set(classes)
    return hits / seen if seen else math.nan


def _fit(
    lesson: Lesson,
    steps: int,
    seed: int,
    feed: Feed,
    device: str,
    report: Callable[[str], None],
    unfinished: Unfinished,
) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        # Blocks that begin as identities, timm's default, make so small a model learn later.
        model = timm.create_model(ARCHITECTURE, num_classes=len(lesson.classes), zero_init_last=False, **MODEL_ARGS)
    _see_edges_only(model)
    # Channels last is a fifth to a third quicker on a CPU.
    model = model.to(device, memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK, weight_decay=0.05)
    rise = 0.2 if steps != 4 else 0.3  # torch divides by the steps of the rise less one
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK, total_steps=steps + 1, pct_start=rise)
    parts = {"model": model, "optimizer": optimizer, "schedule": schedule, "feed": feed}
    done = unfinished.load(parts)
    if done:
        report(f"goes on at step {done}/{steps}")
    else:
        unfinished.keep(0, parts)  # where there is no room for it, that is said before the minutes of training
    started = perf_counter()
    for step in range(done + 1, steps + 1):
        images, targets = feed.batch()
        loss = F.cross_entropy(model(images.to(device)), targets.to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % OFTEN == 0 or step == steps:
            report(f"step {step}/{steps}: loss {loss.item():.3f}, {perf_counter() - started:.0f} s")
            unfinished.keep(step, parts)
    return model.eval()


def _see_edges_only(model: nn.Module) -> None:
    """Take the mean out of every filter of the stem, in place.

    Otherwise large even surfaces drown the outlines, and training stays at chance for thousands of scenes.
    """
    with torch.no_grad():
        for conv in filter(lambda module: isinstance(module, nn.Conv2d), model.get_submodule("conv1")):
            conv.weight -= conv.weight.mean((2, 3), keepdim=True)


def _save(model: nn.Module, out: Path, config: Mapping[str, object]) -> None:
    weights = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    text = json.dumps(config, indent=2) + "\n"
    content = {"model.safetensors": safetensors.torch.save(weights, {"format": "pt"}), "config.json": text.encode()}
    write_together(out, content)


def _config(lesson: Lesson, model: nn.Module, record: Mapping[str, object]) -> dict[str, object]:
    """What timm reads to build the model and its transform; it leaves `training` alone."""
    return {
        "architecture": ARCHITECTURE,
        "num_classes": len(lesson.classes),
        "num_features": model.num_features,
        "model_args": MODEL_ARGS,
        "pretrained_cfg": {
            **lesson.about,
            "input_size": [3, lesson.size, lesson.size],
            "fixed_input_size": False,
            "interpolation": "bilinear",
            "crop_pct": 1.0,
            "crop_mode": "center",
            "mean": [MEAN] * 3,
            "std": [STD] * 3,
            "num_classes": len(lesson.classes),
            "label_names": list(lesson.classes),
            "pool_size": [lesson.size // 8, lesson.size // 8],
            "first_conv": "conv1.0",
            "classifier": "fc",
        },
        "training": record,
    }
