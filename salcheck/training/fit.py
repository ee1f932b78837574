"""Trains a small model from nothing, into a folder that timm opens as `local-dir:`.

The weights in `assets/scenes` are exactly what `train(Path("salcheck/assets/scenes"))` leaves on a CPU with two
threads, and those in `assets/puppets` what it leaves with `dataset="puppets"`.
"""

import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from time import perf_counter

import numpy as np
import safetensors.torch
import timm
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from salcheck.errors import SalcheckError
from salcheck.store.cache import atomic_write
from salcheck.training.lessons import AUGMENT, ORDER, Lesson, Reader, lesson_of, shuffled

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
MEAN = STD = 0.5
MEASURED = 10_000  # of other pictures, at most
CHUNK = 50  # pictures per forward when measuring
MOVE = 16  # pictures are moved by up to this fraction of their side


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
    a line of progress now and then. Raises SalcheckError where there is nothing to train on or the folder cannot be
    written.
    """
    if batch_size < 1 or seed < 0 or (steps is not None and steps < 1):
        raise SalcheckError(f"steps {steps}, batch size {batch_size}, seed {seed}: need at least 1, 1 and 0")
    lesson = lesson_of(dataset, data, seed)
    lesson = shuffled(lesson, seed) if shuffle else lesson
    steps = steps or lesson.steps
    try:
        out.mkdir(parents=True, exist_ok=True)  # before the minutes of training, not after them
    except OSError as error:
        raise SalcheckError(f"cannot write to '{out}': {error.strerror or error}") from error
    model = _fit(lesson, steps, seed, batch_size, device, report)
    held_out = {name: accuracy(model, read, count) for name, (read, count) in lesson.held_out.items()}
    seen = {} if lesson.count is None else {"training": accuracy(model, lesson.read, lesson.count)}
    report(", ".join(f"{name} {value:.4f}" for name, value in (held_out | seen).items()))
    call = f"salcheck.training.fit.train(out, steps={steps}, seed={seed}, batch_size={batch_size}, device={device!r}"
    call += f", dataset={dataset!r}" * (dataset != "scenes") + ", shuffle=True" * shuffle + ")"
    record = {"call": call, "torch": torch.__version__, "timm": timm.__version__, "held_out": held_out, **seen}
    _save(model, out, _config(lesson, model, record))
    return held_out | seen


def accuracy(model: nn.Module, read: Reader, count: int) -> float:
    """The share of pictures 0 to `count` - 1, or of MEASURED of them, whose n classes come first, in any order."""
    chosen = range(count) if count <= MEASURED else np.random.default_rng(0).permutation(count)[:MEASURED].tolist()
    device = next(model.parameters()).device
    hits = 0
    with torch.inference_mode():
        for start in range(0, len(chosen), CHUNK):
            pictures = [read(number) for number in chosen[start : start + CHUNK]]
            logits = model(to_batch([image for image, _ in pictures]).to(device)).cpu()
            for row, (_, classes) in zip(logits, pictures, strict=True):
                hits += set(row.topk(len(classes)).indices.tolist()) == set(classes)
    return hits / len(chosen)


def to_batch(images: Sequence[NDArray[np.uint8]]) -> Tensor:
    """Pictures (H, W, 3) as the model wants them: (B, 3, H, W), as timm's own transform leaves them."""
    return (torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2) / 255 - MEAN) / STD


def _fit(
    lesson: Lesson, steps: int, seed: int, batch_size: int, device: str, report: Callable[[str], None]
) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        # Blocks that begin as identities, timm's default, make so small a model learn later.
        model = timm.create_model(ARCHITECTURE, num_classes=len(lesson.classes), zero_init_last=False, **MODEL_ARGS)
    _see_edges_only(model)
    # Channels last is a fifth to a third quicker on a CPU.
    model = model.to(device, memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK, total_steps=steps + 1, pct_start=0.2)
    started = perf_counter()
    for step, (images, targets) in enumerate(_batches(lesson, steps, seed, batch_size), start=1):
        loss = F.cross_entropy(model(images.to(device)), targets.to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 100 == 0 or step == steps:
            report(f"step {step}/{steps}: loss {loss.item():.3f}, {perf_counter() - started:.0f} s")
    return model.eval()


def _see_edges_only(model: nn.Module) -> None:
    """Take the mean out of every filter of the stem, in place.

    Otherwise large even surfaces drown the outlines, and training stays at chance for thousands of scenes.
    """
    with torch.no_grad():
        for conv in filter(lambda module: isinstance(module, nn.Conv2d), model.get_submodule("conv1")):
            conv.weight -= conv.weight.mean((2, 3), keepdim=True)


def _batches(lesson: Lesson, steps: int, seed: int, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Pictures with targets (B, N) that share 1 between a picture's classes."""
    numbers, rng = _numbers(lesson.count, seed), np.random.default_rng([seed, AUGMENT])
    for _ in range(steps):
        pictures = [lesson.read(number) for number in itertools.islice(numbers, batch_size)]
        images = [_moved(rng, image, lesson.flips) if lesson.moves else image for image, _ in pictures]
        targets = torch.zeros(batch_size, len(lesson.classes))
        for row, (_, classes) in zip(targets, pictures, strict=True):
            row[list(classes)] = 1 / len(classes)
        yield to_batch(images), targets


def _numbers(count: int | None, seed: int) -> Iterator[int]:
    """0, 1, 2, ... without end, or all below `count` in another order again and again."""
    if count is None:
        yield from itertools.count()
    else:
        for epoch in itertools.count():
            yield from np.random.default_rng([seed, ORDER, epoch]).permutation(count).tolist()


def _moved(rng: np.random.Generator, image: NDArray[np.uint8], flips: bool) -> NDArray[np.uint8]:
    """A little aside, the edges' pixels repeated, and mirrored or not."""
    size = len(image)
    most = size // MOVE
    top, left = rng.integers(0, 2 * most + 1, 2)
    moved = np.pad(image, ((most, most), (most, most), (0, 0)), mode="edge")[top : top + size, left : left + size]
    return moved[:, ::-1] if flips and rng.random() < 0.5 else moved


def _save(model: nn.Module, out: Path, config: Mapping[str, object]) -> None:
    weights = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    text = json.dumps(config, indent=2) + "\n"
    atomic_write(out / "model.safetensors", lambda file: file.write(safetensors.torch.save(weights, {"format": "pt"})))
    atomic_write(out / "config.json", lambda file: file.write(text.encode()))


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
