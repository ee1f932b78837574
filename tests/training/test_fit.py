"""Training: what is committed does what it says, and every kind of dataset leaves a model that timm opens."""

import json

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
from PIL import Image
from timm.data import create_transform, resolve_model_data_config

from salcheck.datasets import puppets, scenes
from salcheck.errors import SalcheckError
from salcheck.maps.ranking import upsample
from salcheck.network.archs import ASSETS
from salcheck.network.labels import Labels
from salcheck.network.loading import load_model
from salcheck.training.feed import Feed, _moved, _numbers, to_batch
from salcheck.training.fit import _see_edges_only, accuracy, train
from salcheck.training.lessons import lesson_of, shuffled
from tests.makers import save_images

LIMITS = {"scenes": 3e6, "puppets": 1.2e6}  # bytes


def opened(name):
    return timm.create_model(f"local-dir:{name}", pretrained=True).eval()


@pytest.fixture(scope="module")
def built_in():
    return {name: opened(ASSETS / name) for name in LIMITS}


def quiet(line):
    pass


def short(out, **given):
    return train(out, **{"steps": 3, "batch_size": 8, "report": quiet} | given)


@pytest.fixture
def quick(monkeypatch):
    """Measure on a few drawn pictures only: here it is not the figures that matter."""
    monkeypatch.setattr("salcheck.training.lessons.HELD_OUT", 8)
    monkeypatch.setattr("salcheck.training.lessons.LEARNT", 12)


@pytest.fixture(scope="module")
def stripes(tmp_path_factory):
    """Class folders of 32 x 32 pictures, every picture another: 30 with bars that lie, 20 with bars that stand."""
    root, rng = tmp_path_factory.mktemp("stripes"), np.random.default_rng(0)
    for name, count in (("lying", 30), ("standing", 20)):
        (root / name).mkdir()
        for i in range(count):
            bars = (np.arange(32) + rng.integers(8)) // 4 % 2 * 150 + rng.integers(0, 100, (32, 32))
            pixels = (bars.T if name == "lying" else bars).astype(np.uint8)
            Image.fromarray(pixels).convert("RGB").save(root / name / f"{i}.png")
    return root


def save_digits(root, train=40, test=12):
    """A made-up mnist.npz: a digit is a bright column at 2 + 2 digits."""
    rng, arrays = np.random.default_rng(0), {}
    for split, count in (("train", train), ("test", test)):
        digits = np.arange(count) % 10
        images = rng.integers(0, 60, (count, 28, 28))
        images[np.arange(count), :, 2 + 2 * digits] = 255
        arrays |= {f"{split}_x": images.astype(np.uint8), f"{split}_y": digits}
    np.savez(root / "mnist.npz", **arrays)
    return root


def save_colours(root):
    rng = np.random.default_rng(0)
    names = np.array([f"kind {i}" for i in range(100)])
    arrays = {"classes": names}
    for split in ("train", "test"):
        arrays |= {f"{split}_x": rng.integers(0, 256, (100, 32, 32, 3)).astype(np.uint8), f"{split}_y": np.arange(100)}
    np.savez(root / "cifar100.npz", **arrays)
    return root


# The built-in models


@pytest.mark.parametrize("name", LIMITS)
def test_built_in_weights_are_small(name):
    assert (ASSETS / name / "model.safetensors").stat().st_size <= LIMITS[name]


@pytest.mark.parametrize(
    ("name", "figure", "least"), [("scenes", "single", 0.95), ("scenes", "pair", 0.85), ("puppets", "accuracy", 0.96)]
)
def test_built_in_model_is_right_on_held_out_pictures(built_in, name, figure, least):
    read, _ = lesson_of(name, None, 0).held_out[figure]
    share = accuracy(built_in[name], read, 200)
    assert share >= least
    recorded = json.loads((ASSETS / name / "config.json").read_text())["training"]["held_out"]
    assert share == pytest.approx(recorded[figure], abs=0.05)


def test_built_in_model_looks_at_the_objects(built_in):
    """Grad-CAM of a class (its classifier row times the activations) lies on its object, not on the other."""
    drawn = [scenes.draw(scenes.SEED_EVALUATION, index) for index in range(60)]
    net = built_in["scenes"]
    with torch.inference_mode():
        acts = net.forward_features(to_batch([scene.image for scene in drawn]))
        maps = torch.einsum("nc,bchw->bnhw", net.fc.weight, acts).relu()
    shares = []
    for scene, grids in zip(drawn, upsample(maps, (128, 128)), strict=True):
        masks = torch.from_numpy(scene.masks)
        for order in ([0, 1], [1, 0]):
            grid = grids[scene.classes[order[0]]]
            shares.append([(grid * masks[other]).sum() / grid.sum() for other in order])
    own, other = torch.tensor(shares).nanmean(0)
    assert own > 4 * other


def test_built_in_model_tells_puppets_apart_by_the_parts_that_differ(built_in):
    """Painting over the one part in which two classes differ brings them much closer than painting over another."""
    net, labels = built_in["puppets"], Labels(puppets.CLASSES)
    between = puppets.open_dataset(None, labels, 0).parts.differences
    closer = {True: [], False: []}
    for index in range(16):
        puppet = puppets.draw(puppets.SEED_EVALUATION, index)
        around = puppet.image[~puppet.masks.any(0)].mean(0)
        images = [np.where(mask[..., None], around, puppet.image).astype(np.uint8) for mask in puppet.masks]
        with torch.inference_mode():
            logits = net(to_batch([puppet.image, *images]))
        for other in np.flatnonzero(between[puppet.label].sum(-1) == 1):
            lead = logits[:, puppet.label] - logits[:, other]
            for part in np.flatnonzero(puppet.masks.any((1, 2))):
                differs = bool(between[puppet.label, other, part])
                closer[differs].append((lead[0] - lead[1 + part]).item())
    assert len(closer[True]) >= 16
    assert np.mean(closer[True]) > 5 * max(np.mean(closer[False]), 0.1)


def test_transform_is_that_of_training(built_in):
    """timm's own transform gives the very numbers that the model was trained on."""
    image = scenes.draw(1, 2).image
    transform = create_transform(**resolve_model_data_config(built_in["scenes"]), is_training=False)
    assert torch.allclose(transform(Image.fromarray(image)), to_batch([image])[0], atol=1e-6)


# Accuracy


class Fixed(torch.nn.Module):
    """Gives the logits that were set for each picture, which is its own number."""

    def __init__(self, logits):
        super().__init__()
        self.logits = torch.nn.Parameter(torch.tensor(logits))

    def forward(self, images):
        return self.logits[((images[:, 0, 0, 0] * 0.5 + 0.5) * 255).round().long()]


def test_accuracy_is_the_share_whose_classes_come_first_in_any_order():
    net = Fixed([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0], [1.0, 2.0, 3.0], [1.0, 3.0, 2.0]])
    classes = [(0,), (1, 0), (2, 0), (0,)]  # right, right, half, wrong

    def read(number):
        return np.full((2, 2, 3), number, np.uint8), classes[number]

    assert accuracy(net, read, 4) == 0.5
    assert accuracy(net, read, 3) == pytest.approx(2 / 3)


def test_accuracy_of_many_pictures_is_measured_on_some_of_all(monkeypatch):
    monkeypatch.setattr("salcheck.training.fit.MEASURED", 10)
    seen = []

    def read(number):
        seen.append(number)
        return np.full((2, 2, 3), 0, np.uint8), (0,)

    assert accuracy(Fixed([[1.0, 0.0]]), read, 1000) == 1
    assert len(set(seen)) == 10 and max(seen) > 500


# Training


def weights(out):
    return (out / "model.safetensors").read_bytes()


@pytest.mark.parametrize("dataset", ["scenes", "folder"])
def test_same_seed_same_weights(tmp_path, quick, stripes, dataset):
    given = {"dataset": dataset, "data": stripes if dataset == "folder" else None}
    first, second, other = tmp_path / "first", tmp_path / "second", tmp_path / "other"
    torch.manual_seed(1)
    short(first, **given)
    torch.manual_seed(2)  # what else draws random numbers must not matter
    short(second, **given)
    short(other, seed=1, **given)
    assert weights(first) == weights(second) != weights(other)


def test_training_leaves_the_random_state_alone(tmp_path, quick):
    before = torch.get_rng_state()
    short(tmp_path)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("dataset", ["scenes", "puppets"])
def test_training_on_drawn_pictures_writes_a_folder_that_timm_opens(tmp_path, quick, dataset):
    out = tmp_path / "deep" / "model"
    lines = []
    figures = train(out, steps=3, batch_size=8, report=lines.append, dataset=dataset)
    model = opened(out)
    state = safetensors.torch.load_file(out / "model.safetensors")
    assert sorted(path.name for path in out.iterdir()) == ["config.json", "model.safetensors"]
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())
    module = {"scenes": scenes, "puppets": puppets}[dataset]
    assert model.pretrained_cfg["label_names"] == list(module.CLASSES)
    assert model(to_batch([module.draw(0, 0).image])).shape == (1, 10)
    assert figures == json.loads((out / "config.json").read_text())["training"]["held_out"]
    assert set(figures) == ({"single", "pair"} if dataset == "scenes" else {"accuracy"}) and len(lines) == 2


def test_the_built_in_scenes_are_what_todays_arguments_say(tmp_path, quick):
    """All of config.json but the figures and versions is as it was when that model was trained."""
    short(tmp_path)
    made, committed = (json.loads((out / "config.json").read_text()) for out in (tmp_path, ASSETS / "scenes"))
    call = made.pop("training")["call"].replace("steps=3", "steps=1600").replace("batch_size=8", "batch_size=48")
    assert call == committed.pop("training")["call"]
    assert made == committed


def test_class_folders_are_learnt(tmp_path, stripes):
    """What can be learnt is, on pictures that were held out, and the labels are the folders' names."""
    figures = train(tmp_path / "out", 40, batch_size=16, report=quiet, dataset="folder", data=stripes)
    assert figures == {"accuracy": 1.0, "training": 1.0}
    model = load_model(f"local-dir:{tmp_path / 'out'}", device="cpu")
    assert model.labels.names == ("lying", "standing") and model.size == (32, 32)
    image = Image.open(stripes / "standing" / "3.png").convert("RGB")
    assert model.logits(model.batch([model.transform(image)])).argmax() == 1


def test_shuffled_labels_are_learnt_by_heart_only(tmp_path, stripes):
    """Right on the pictures that were seen, which a model that knew the classes could not be."""
    figures = train(tmp_path, 150, batch_size=16, report=quiet, dataset="folder", data=stripes, shuffle=True)
    config = json.loads((tmp_path / "config.json").read_text())
    assert figures["training"] >= 0.95
    assert config["training"]["training"] == figures["training"]
    assert config["pretrained_cfg"]["tag"] == "folder-shuffled" and "shuffle=True" in config["training"]["call"]


@pytest.mark.parametrize("dataset", ["folder", "scenes"])
def test_shuffling_changes_labels_once_and_keeps_pictures_and_counts(monkeypatch, stripes, dataset):
    monkeypatch.setattr("salcheck.training.lessons.LEARNT", 50)
    plain = lesson_of(dataset, stripes if dataset == "folder" else None, 0)
    mixed, again, other = (shuffled(plain, seed) for seed in (0, 0, 1))
    numbers = range(mixed.count)
    before, after = ([lesson.read(number) for number in numbers] for lesson in (plain, mixed))
    assert all(np.array_equal(one[0], two[0]) for one, two in zip(before, after, strict=True))
    was, now = [classes for _, classes in before], [classes for _, classes in after]
    assert sorted(was) == sorted(now) and was != now
    assert [mixed.read(number)[1] for number in numbers] == now == [again.read(number)[1] for number in numbers]
    assert [other.read(number)[1] for number in numbers] != now
    assert not (mixed.moves or mixed.flips), "a picture learnt by heart stays as it is"
    for name, (read, _) in plain.held_out.items():
        assert read(0)[1] == mixed.held_out[name][0](0)[1], "held-out labels stay true"


def test_of_many_pictures_some_are_shuffled(monkeypatch, stripes):
    monkeypatch.setattr("salcheck.training.lessons.LEARNT", 20)
    plain = lesson_of("folder", stripes, 0)
    mixed = shuffled(plain, 0)
    known = {plain.read(number)[0].tobytes(): plain.read(number)[1] for number in range(plain.count)}
    pictures = [mixed.read(number)[0].tobytes() for number in range(mixed.count)]
    assert mixed.count == len(set(pictures)) == 20 and set(pictures) < set(known)
    was, now = [known[one] for one in pictures], [mixed.read(number)[1] for number in range(20)]
    assert sorted(was) == sorted(now) and was != now and len(set(was)) == 2


def test_a_tenth_of_class_folders_is_held_out_and_not_trained_on(stripes):
    lesson = lesson_of("folder", stripes, 0)
    read, count = lesson.held_out["accuracy"]
    assert (lesson.count, count) == (45, 5)
    seen = {lesson.read(number)[0].tobytes() for number in range(45)}
    held = {read(number)[0].tobytes() for number in range(5)}
    assert len(seen) == 45 and len(held) == 5 and not seen & held
    other = lesson_of("folder", stripes, 1).held_out["accuracy"][0]
    assert held != {other(number)[0].tobytes() for number in range(5)}


def test_digits_are_learnt_from_training_images_and_measured_on_test_images(tmp_path):
    lesson = lesson_of("mnist", save_digits(tmp_path), 0)
    assert list(lesson.classes) == [str(digit) for digit in range(10)]
    assert (lesson.size, lesson.count, lesson.held_out["accuracy"][1]) == (32, 40, 12)
    assert lesson.moves and not lesson.flips
    assert [lesson.read(number)[1] for number in range(12)] == [(number % 10,) for number in range(12)]
    figures = short(tmp_path / "out", dataset="mnist", data=tmp_path)
    assert set(figures) == {"accuracy", "training"}
    assert load_model(f"local-dir:{tmp_path / 'out'}", device="cpu").labels.names == tuple(lesson.classes)


def test_cifar100_brings_its_own_names(tmp_path):
    lesson = lesson_of("cifar100", save_colours(tmp_path), 0)
    assert list(lesson.classes) == [f"kind {i}" for i in range(100)]
    assert lesson.flips and lesson.read(7)[1] == (7,)
    short(tmp_path / "out", dataset="cifar100", data=tmp_path)
    assert load_model(f"local-dir:{tmp_path / 'out'}", device="cpu").labels.names == tuple(lesson.classes)


@pytest.mark.parametrize(("side", "size"), [((20, 30), 32), ((40, 33), 64), ((300, 200), 128)])
def test_pictures_are_scaled_as_the_trained_model_will_see_them(tmp_path, side, size):
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.fromarray(rng.integers(0, 256, (*side, 3)).astype(np.uint8)).save(tmp_path / name / "one.png")
    lesson = lesson_of("folder", tmp_path, 0)
    assert lesson.size == size
    image, (label,) = lesson.read(0)
    short(tmp_path.parent / f"{tmp_path.name}-out", steps=1, batch_size=2, dataset="folder", data=tmp_path)
    model = load_model(f"local-dir:{tmp_path.parent / f'{tmp_path.name}-out'}", device="cpu")
    seen = model.transform(Image.open(tmp_path / lesson.classes[label] / "one.png"))
    assert torch.allclose(seen, to_batch([image])[0], atol=1e-6)


def test_drawn_pictures_are_of_the_seeds_own_stream_and_held_out_ones_of_another():
    for seed in (0, 3):
        lesson = lesson_of("scenes", None, seed)
        for number in (0, 5):
            scene = scenes.draw(scenes.SEED_TRAINING, seed * 2**32 + number, 1 + number % 2)
            image, classes = lesson.read(number)
            assert np.array_equal(image, scene.image) and classes == scene.classes
        for objects, figure in enumerate(("single", "pair"), start=1):
            scene = scenes.draw(scenes.SEED_EVALUATION, 4, objects)
            assert np.array_equal(lesson.held_out[figure][0](4)[0], scene.image)
        lesson = lesson_of("puppets", None, seed)
        puppet = puppets.draw(puppets.SEED_TRAINING, seed * 2**32 + 5)
        assert np.array_equal(lesson.read(5)[0], puppet.image) and lesson.read(5)[1] == (puppet.label,)
        puppet = puppets.draw(puppets.SEED_EVALUATION, 5)
        assert np.array_equal(lesson.held_out["accuracy"][0](5)[0], puppet.image)
    assert len({puppets.SEED_TRAINING, puppets.SEED_EVALUATION, scenes.SEED_TRAINING, scenes.SEED_EVALUATION}) == 4


def test_targets_share_one_between_the_classes_of_a_picture():
    lesson = lesson_of("scenes", None, 0)
    feed = Feed(lesson, 0, 4)
    (first, targets), (second, _) = feed.batch(), feed.batch()
    assert torch.equal(first, to_batch([lesson.read(number)[0] for number in range(4)]))
    assert torch.equal(second, to_batch([lesson.read(number)[0] for number in range(4, 8)]))
    for number, row in enumerate(targets):
        classes = lesson.read(number)[1]
        assert row[list(classes)].tolist() == [1 / len(classes)] * len(classes) and row.sum() == 1


def test_a_fresh_stem_sees_nothing_on_an_even_surface():
    net = timm.create_model("resnet18", stem_type="deep", stem_width=16)
    _see_edges_only(net)
    first = net.get_submodule("conv1.0")
    out = first(torch.full((1, 3, 16, 16), 0.7))[..., 1:-1, 1:-1]
    assert out.abs().max() < 1e-6 < first.weight.abs().max()


def test_every_picture_comes_once_before_any_comes_again():
    numbers = _numbers(7, 0)
    rounds = [[next(numbers) for _ in range(7)] for _ in range(3)]
    assert all(sorted(one) == list(range(7)) for one in rounds)
    assert rounds[0] != rounds[1] != rounds[2]
    endless = _numbers(None, 0)
    assert [next(endless) for _ in range(5)] == [0, 1, 2, 3, 4]


def test_pictures_are_moved_and_mirrored_by_little():
    image = np.random.default_rng(1).integers(0, 256, (32, 32, 3)).astype(np.uint8)
    found, rng = set(), np.random.default_rng(0)
    for _ in range(300):
        moved = _moved(rng, image, flips=True)
        for flip in (False, True):
            back = moved[:, ::-1] if flip else moved
            for down in range(-3, 4):
                for right in range(-3, 4):
                    if np.array_equal(back[4:-4, 4:-4], image[4 + down : 28 + down, 4 + right : 28 + right]):
                        found.add((flip, down, right))
    near = range(-2, 3)
    assert found == {(flip, down, right) for flip in (False, True) for down in near for right in near}
    assert not any(np.array_equal(_moved(rng, image, flips=False), image[:, ::-1]) for _ in range(50))


# What is refused


def refused(match, dataset="scenes", **given):
    with pytest.raises(SalcheckError, match=match) as caught:
        short(given.pop("out", "out"), dataset=dataset, **given)
    assert "\n" not in str(caught.value)


def test_user_errors(tmp_path, stripes):
    (tmp_path / "file").write_text("")
    refused("cannot write to", out=tmp_path / "file")
    for steps in (0, -1):
        refused(f"steps {steps}", steps=steps)
    refused("batch size 0", batch_size=0)
    refused("scenes are drawn.*leave out --data", data=stripes)
    refused("puppets are drawn.*leave out --data", "puppets", data=stripes)
    refused("unknown dataset 'scene'.*scenes", "scene")
    refused("imagenette is no dataset to train on: take scenes, puppets", "imagenette")
    refused("no folder given", "folder")
    refused("no folder", "folder", data=tmp_path / "none")
    refused("no folder given", "mnist")


def test_class_folders_that_are_none(tmp_path, stripes):
    refused("0 folders with images", "folder", data=stripes / "lying")
    (tmp_path / "one" / "only").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(tmp_path / "one" / "only" / "a.png")
    (tmp_path / "one" / "empty").mkdir()
    refused("1 folders with images", "folder", data=tmp_path / "one")
    (tmp_path / "split").mkdir()
    for name in ("train", "test"):
        (tmp_path / "split" / name).symlink_to(stripes, target_is_directory=True)
    refused("name the one of them to train on", "folder", data=tmp_path / "split")


def test_pictures_that_cannot_be_read_are_left_out_and_counted(tmp_path):
    data = save_images(tmp_path / "images", classes=2, side=32)
    for name in ("0/0.png", "1/3.png"):
        (data / name).write_bytes(b"no picture")
    lines = []
    train(tmp_path / "net", steps=3, batch_size=8, report=lines.append, dataset="folder", data=data)
    assert any("could not be read and were left out" in line for line in lines)
    assert json.loads((tmp_path / "net" / "config.json").read_text())["training"]["unread"] >= 1


@pytest.mark.parametrize("steps", range(1, 7))
def test_any_number_of_steps_can_be_trained(tmp_path, quick, steps):
    train(tmp_path, steps=steps, batch_size=2, report=lambda line: None)
    assert not (tmp_path / "unfinished.pt").exists()
