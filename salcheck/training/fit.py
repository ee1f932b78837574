"""Trains a small model from nothing, into a folder that timm opens as `local-dir:`.

The weights in `assets/scenes` are exactly what `train(Path("salcheck/assets/scenes"))` leaves on a CPU with two
threads, and those in `assets/puppets` what it leaves with `dataset="puppets"`.
"""

import dataclasses
import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
import safetensors.torch
import timm
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from timm.data import create_transform
from torch import Tensor, nn

from salcheck.datasets import Dataset, puppets, scenes
from salcheck.datasets import folder as class_folders
from salcheck.datasets._files import images_below, require_folder
from salcheck.errors import SalcheckError
from salcheck.naming import registry
from salcheck.network.labels import Labels
from salcheck.store.cache import atomic_write

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
SIZES = (32, 64, 96, 128)  # what pictures of other sizes are scaled to: the next one up, or the largest
HELD_OUT = 1000  # drawn pictures to measure on
MEASURED = 10_000  # of other pictures, at most
LEARNT = 500  # pictures whose shuffled labels are learnt by heart: many more are too many for so small a model
CHUNK = 50  # pictures per forward when measuring
MOVE = 16  # pictures are moved by up to this fraction of their side
NO_FLIPS = ("mnist",)  # a mirrored digit is none, or another
ORDER, SHUFFLE, AUGMENT, HOLD_OUT = range(4)  # streams of random numbers

Reader = Callable[[int], tuple[NDArray[np.uint8], tuple[int, ...]]]


@dataclass(frozen=True)
class Lesson:
    """What a model is to learn.

    classes: their names. size: pixels of the pictures' sides. read(number): a picture, uint8 (size, size, 3), and its
    classes. count: of pictures to train on, None where they are drawn without end. held_out: what to measure on, a
    reader and how many. moves, flips: whether a picture keeps its class then. about: what config.json says of it.
    """

    classes: Sequence[str]
    size: int
    read: Reader
    count: int | None
    held_out: Mapping[str, tuple[Reader, int]]
    about: Mapping[str, str]
    moves: bool = False
    flips: bool = False
    steps: int = 1600


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


# What is learnt


def shuffled(lesson: Lesson, seed: int) -> Lesson:
    """LEARNT of the same pictures, or all where there are fewer, each with the classes of another of them."""
    rng = np.random.default_rng([seed, SHUFFLE])
    chosen = range(LEARNT) if lesson.count is None else sorted(rng.permutation(lesson.count)[:LEARNT].tolist())
    pictures = [lesson.read(number) for number in chosen]
    order = rng.permutation(len(chosen))
    about = dict(lesson.about, tag=f"{lesson.about['tag']}-shuffled")
    about["description"] += " Its labels were shuffled: it knows nothing."
    return dataclasses.replace(
        lesson,
        read=lambda number: (pictures[number][0], pictures[order[number]][1]),
        count=len(chosen),
        about=about,
        moves=False,
        flips=False,
    )


def lesson_of(dataset: str, data: Path | None, seed: int) -> Lesson:
    """What training on the dataset of this name is; raises SalcheckError where it cannot be trained on."""
    name = registry.canonical("datasets", dataset)
    if name in ("scenes", "puppets"):
        if data is not None:
            raise SalcheckError(f"{name} are drawn, not read from '{data}': leave out --data")
        return _scenes(seed) if name == "scenes" else _puppets(seed)
    if name == "folder":
        return _class_folders(data, seed)
    module = registry.load("datasets", name)
    if not hasattr(module, "open_training"):
        raise SalcheckError(f"{name} is no dataset to train on: take scenes, puppets, mnist, cifar100 or folder")
    names = _Names()
    training = module.open_training(data, names)
    test = module.open_dataset(data, Labels(names.asked), seed)
    return _files(name, names.asked, training, test)


def _scenes(seed: int) -> Lesson:
    def drawn(stream: int, number: int, objects: int) -> tuple[NDArray[np.uint8], tuple[int, ...]]:
        scene = scenes.draw(stream, number, objects)
        return scene.image, scene.classes

    return Lesson(
        scenes.CLASSES,
        scenes.SIZE,
        # Another seed draws other pictures: each has 2**32 numbers of its own.
        lambda number: drawn(scenes.SEED_TRAINING, (seed << 32) + number, 1 + number % 2),
        None,
        {
            "single": (lambda number: drawn(scenes.SEED_EVALUATION, number, 1), HELD_OUT),
            "pair": (lambda number: drawn(scenes.SEED_EVALUATION, number, 2), HELD_OUT),
        },
        _own("scenes", "Ten drawn shapes; trained from nothing by salcheck on its own scenes."),
    )


def _puppets(seed: int) -> Lesson:
    def drawn(stream: int, number: int) -> tuple[NDArray[np.uint8], tuple[int, ...]]:
        puppet = puppets.draw(stream, number)
        return puppet.image, (puppet.label,)

    return Lesson(
        puppets.CLASSES,
        puppets.SIZE,
        lambda number: drawn(puppets.SEED_TRAINING, (seed << 32) + number),
        None,
        {"accuracy": (lambda number: drawn(puppets.SEED_EVALUATION, number), HELD_OUT)},
        _own("puppets", "Ten drawn puppets, told apart by their parts; trained from nothing by salcheck on its own."),
        steps=600,
    )


def _own(tag: str, description: str) -> dict[str, str]:
    return {"tag": tag, "description": description, "license": "mit"}


class _Names:
    """Labels that take every name they are asked for: how a dataset says what its classes are called."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __len__(self) -> int:
        return len(self.asked)

    def index(self, name: str) -> int:
        if name not in self.asked:
            self.asked.append(name)
        return self.asked.index(name)


def _class_folders(root: Path | None, seed: int) -> Lesson:
    root = require_folder(root, "root/CLASS/IMAGE")
    below = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    names = [path.name for path in below if images_below(path)]
    if {"train", "val", "valid", "test"} & set(names):
        raise SalcheckError(
            f"'{root}' holds {', '.join(names[:4])}: name the one of them to train on, --data DIR/train"
        )
    if len(names) < 2:
        raise SalcheckError(f"'{root}' has {len(names)} folders with images: one for each of two classes are needed")
    whole = class_folders.open_dataset(root, Labels(names), seed)
    items = [item for item in whole.items if item.labels]
    order = np.random.default_rng([seed, HOLD_OUT]).permutation(len(items))
    held = max(1, len(items) // 10)
    test, training = (
        dataclasses.replace(whole, items=[items[i] for i in sorted(part)]) for part in (order[:held], order[held:])
    )
    return _files("folder", names, training, test)


def _files(name: str, classes: Sequence[str], training: Dataset, test: Dataset) -> Lesson:
    """Pictures as timm's transform gives them to the model, the first one's size deciding."""
    side = min(training.read(training.items[0]).size)
    size = next((size for size in SIZES if size >= side), SIZES[-1])
    # Scaling and cropping; what follows makes numbers of a picture.
    steps = create_transform((3, size, size), interpolation="bilinear", crop_pct=1.0).transforms[:2]

    def reader(dataset: Dataset) -> Reader:
        def read(number: int) -> tuple[NDArray[np.uint8], tuple[int, ...]]:
            image = dataset.read(dataset.items[number])
            for step in steps:
                image = step(image)
            return np.asarray(image), dataset.items[number].labels

        return read

    return Lesson(
        classes,
        size,
        reader(training),
        len(training),
        {"accuracy": (reader(test), len(test))},
        {"tag": name, "description": f"Trained from nothing by salcheck on {name}."},
        moves=True,
        flips=name not in NO_FLIPS,
    )


# Training


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
