"""What a model is trained on: drawn pictures, digits, class folders, each as a `Lesson`."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from timm.data import create_transform

from salcheck.datasets import Dataset
from salcheck.datasets._files import images_below, require_folder
from salcheck.errors import SalcheckError
from salcheck.naming import registry
from salcheck.network.labels import Labels

SIZES = (32, 64, 96, 128)  # what pictures of other sizes are scaled to: the next one up, or the largest
HELD_OUT = 1000  # drawn pictures to measure on
LEARNT = 500  # pictures whose shuffled labels are learnt by heart: many more are too many for so small a model
NO_FLIPS = ("mnist",)  # a mirrored digit is none, or another
ORDER, SHUFFLE, AUGMENT, HOLD_OUT = range(4)  # streams of random numbers

Reader = Callable[[int], tuple[NDArray[np.uint8], tuple[int, ...]]]


@dataclass(frozen=True)
class Lesson:
    """What a model is to learn.

    classes: their names. size: pixels of the pictures' sides. read(number): a picture, uint8 (size, size, 3), and its
    classes. count: of pictures to train on, None where they are drawn without end. held_out: what to measure on, a
    reader and how many. moves, flips: whether a picture keeps its class then. about: what config.json says of it.
    digest: of the files that it is read from.
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
    digest: str = ""


def shuffled(lesson: Lesson, seed: int) -> Lesson:
    """LEARNT of the same pictures, or all where there are fewer, each with the classes of another of them."""
    rng = np.random.default_rng([seed, SHUFFLE])
    chosen = range(LEARNT) if lesson.count is None else sorted(rng.permutation(lesson.count)[:LEARNT].tolist())
    pictures = [found for number in chosen if (found := readable(lesson.read, number))]
    if len(pictures) < 2:
        raise SalcheckError(f"{len(pictures)} of {len(chosen)} pictures can be read: two are needed to shuffle labels")
    order = rng.permutation(len(pictures))
    about = dict(lesson.about, tag=f"{lesson.about['tag']}-shuffled")
    about["description"] += " Its labels were shuffled: it knows nothing."
    return dataclasses.replace(
        lesson,
        read=lambda number: (pictures[number][0], pictures[order[number]][1]),
        count=len(pictures),
        about=about,
        moves=False,
        flips=False,
    )


def readable(read: Reader, number: int) -> tuple[NDArray[np.uint8], tuple[int, ...]] | None:
    """A picture with its classes, None where it cannot be read."""
    try:
        return read(number)
    except SalcheckError:
        return None


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
    scenes = registry.load("datasets", "scenes")

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
    puppets = registry.load("datasets", "puppets")

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

    named, natural = True, False

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
    whole = registry.load("datasets", "folder").open_dataset(root, Labels(names), seed)
    items = [item for item in whole.items if item.labels]
    order = np.random.default_rng([seed, HOLD_OUT]).permutation(len(items))
    held = max(1, len(items) // 10)
    test, training = (
        dataclasses.replace(whole, items=[items[i] for i in sorted(part)]) for part in (order[:held], order[held:])
    )
    return _files("folder", names, training, test)


def _files(name: str, classes: Sequence[str], training: Dataset, test: Dataset) -> Lesson:
    """Pictures as timm's transform gives them to the model, the first one's size deciding."""
    side = min(_first_that_can_be_read(training).size)
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
        digest=f"{training.digest} {test.digest}",
    )


def _first_that_can_be_read(dataset: Dataset) -> Image.Image:
    failure = "there are none"
    for item in dataset.items:
        try:
            return dataset.read(item)
        except SalcheckError as error:
            failure = str(error)
    raise SalcheckError(f"none of the pictures to train on can be read: {failure}")
