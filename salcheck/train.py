"""Trains the built-in model on drawn scenes, from nothing, into a folder that timm opens as `local-dir:`.

The weights in `assets/scenes` are exactly what `train(Path("salcheck/assets/scenes"))` leaves on a CPU with
two threads.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from time import perf_counter

import numpy as np
import safetensors.torch
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from salcheck.cache import atomic_write
from salcheck.datasets.scenes import CLASSES, SEED_EVALUATION, SEED_TRAINING, SIZE, Scene, draw
from salcheck.errors import SalcheckError

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
HELD_OUT = 1000  # scenes with one object, and as many with two, to measure on
CHUNK = 50  # scenes per forward when measuring


def train(
    out: Path,
    steps: int = 1600,
    seed: int = 0,
    batch_size: int = 48,
    device: str = "cpu",
    report: Callable[[str], None] = print,
) -> dict[str, float]:
    """Train the model, write `out/config.json` and `out/model.safetensors`, and return the held-out figures.

    The figures are those of `accuracy`, and config.json repeats them. On a CPU the same arguments, machine,
    torch and number of threads give the same weights, bit for bit. `report` gets a line of progress now and then.
    Raises SalcheckError where there is nothing to train or the folder cannot be written.
    """
    if min(steps, batch_size) < 1 or seed < 0:
        raise SalcheckError(f"steps {steps}, batch size {batch_size}, seed {seed}: need at least 1, 1 and 0")
    try:
        out.mkdir(parents=True, exist_ok=True)  # before the minutes of training, not after them
    except OSError as error:
        raise SalcheckError(f"cannot write to '{out}': {error.strerror or error}") from error
    model = _fit(steps, seed, batch_size, device, report)
    figures = accuracy(model, HELD_OUT)
    report(", ".join(f"{name} {value:.4f}" for name, value in figures.items()))
    call = f"salcheck.train.train(out, steps={steps}, seed={seed}, batch_size={batch_size}, device={device!r})"
    _save(model, out, {"call": call, "torch": torch.__version__, "timm": timm.__version__, "held_out": figures})
    return figures


def accuracy(model: nn.Module, count: int) -> dict[str, float]:
    """What the model gets right on the first `count` scenes of SEED_EVALUATION with one object, and with two.

    `single`: share of one-object scenes whose class comes first.
    `pair`: share of two-object scenes whose two classes are the first two, in either order.
    """
    return {"single": _hits(model, count, 1), "pair": _hits(model, count, 2)}


def to_batch(scenes: Sequence[Scene]) -> Tensor:
    """Scenes as the model wants them: (B, 3, SIZE, SIZE), as timm's own transform leaves them."""
    images = torch.from_numpy(np.stack([scene.image for scene in scenes])).permute(0, 3, 1, 2)
    return (images / 255 - MEAN) / STD


def _hits(model: nn.Module, count: int, objects: int) -> float:
    device = next(model.parameters()).device
    hits = 0
    with torch.inference_mode():
        for start in range(0, count, CHUNK):
            scenes = [draw(SEED_EVALUATION, i, objects) for i in range(start, min(start + CHUNK, count))]
            best = model(to_batch(scenes).to(device)).topk(objects).indices.tolist()
            hits += sum(set(row) == set(scene.classes) for row, scene in zip(best, scenes, strict=True))
    return hits / count


def _fit(steps: int, seed: int, batch_size: int, device: str, report: Callable[[str], None]) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        # Blocks that begin as identities, timm's default, make so small a model learn later.
        model = timm.create_model(ARCHITECTURE, num_classes=len(CLASSES), zero_init_last=False, **MODEL_ARGS)
    _see_edges_only(model)
    # Channels last is a fifth to a third quicker on a CPU.
    model = model.to(device, memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK, total_steps=steps + 1, pct_start=0.2)
    started = perf_counter()
    for step, (images, targets) in enumerate(_batches(steps, seed, batch_size), start=1):
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


def _batches(steps: int, seed: int, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Fresh scenes, one object and two in turn, with targets (B, N) that share 1 between the objects."""
    for start in range(0, steps * batch_size, batch_size):
        numbers = range(start, start + batch_size)
        # Another seed draws other scenes: each has 2**32 numbers of its own.
        scenes = [draw(SEED_TRAINING, (seed << 32) + number, 1 + number % 2) for number in numbers]
        targets = torch.zeros(batch_size, len(CLASSES))
        for row, scene in zip(targets, scenes, strict=True):
            row[list(scene.classes)] = 1 / len(scene.classes)
        yield to_batch(scenes), targets


def _save(model: nn.Module, out: Path, training: dict[str, object]) -> None:
    weights = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    config = json.dumps(_config(model, training), indent=2) + "\n"
    atomic_write(out / "model.safetensors", lambda file: file.write(safetensors.torch.save(weights, {"format": "pt"})))
    atomic_write(out / "config.json", lambda file: file.write(config.encode()))


def _config(model: nn.Module, training: dict[str, object]) -> dict[str, object]:
    """What timm reads to build the model and its transform; it leaves `training` alone."""
    return {
        "architecture": ARCHITECTURE,
        "num_classes": len(CLASSES),
        "num_features": model.num_features,
        "model_args": MODEL_ARGS,
        "pretrained_cfg": {
            "tag": "scenes",
            "description": "Ten drawn shapes; trained from nothing by salcheck on its own scenes.",
            "license": "mit",
            "input_size": [3, SIZE, SIZE],
            "fixed_input_size": False,
            "interpolation": "bilinear",
            "crop_pct": 1.0,
            "crop_mode": "center",
            "mean": [MEAN] * 3,
            "std": [STD] * 3,
            "num_classes": len(CLASSES),
            "label_names": list(CLASSES),
            "pool_size": [SIZE // 8, SIZE // 8],
            "first_conv": "conv1.0",
            "classifier": "fc",
        },
        "training": training,
    }
