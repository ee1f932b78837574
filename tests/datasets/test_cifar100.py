import io
import os
import pickle
import pickletools
import struct
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from salcheck.datasets import _pickles
from salcheck.datasets.cifar100 import open_dataset, open_training
from salcheck.errors import SalcheckError
from salcheck.network.labels import Labels

NAMES = ["apple", "aquarium_fish", "baby", "bear"]
LABELS = Labels(NAMES)
IMAGES = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
CLASSES = [3, 0, 2, 1, 3]
FLAT = np.ascontiguousarray(IMAGES.transpose(0, 3, 1, 2).reshape(5, -1))


# A writer of what Python 2 wrote: texts as bytes, and NumPy's names before its second edition.
def text(value):
    return b"U" + bytes([len(value)]) + value


def whole(value):
    return b"J" + struct.pack("<i", value)


def python2_array(array, module=b"numpy.core.multiarray", kind=b"u1", columns=b"\x89"):
    content = array.tobytes("F" if columns == b"\x88" else "C")
    made = b"c" + module + b"\n_reconstruct\nq\x01cnumpy\nndarray\nq\x02K\x00\x85" + text(b"b") + b"\x87Rq\x03"
    dtype = (
        b"cnumpy\ndtype\nq\x04"
        + text(kind)
        + b"K\x00K\x01\x87R(K\x03"
        + text(b"|")
        + b"NNN"
        + whole(-1) * 2
        + b"K\x00tb"
    )
    shape = whole(array.shape[0]) + whole(array.shape[1]) + b"\x86"
    return made + b"(K\x01" + shape + dtype + columns + b"T" + struct.pack("<i", len(content)) + content + b"tb"


def python2_list(values):
    return b"](" + b"".join(text(value) if isinstance(value, bytes) else whole(value) for value in values) + b"e"


def python2_dict(**entries):
    return b"\x80\x02}(" + b"".join(text(name.encode()) + value for name, value in entries.items()) + b"u."


DATA = python2_array(FLAT)
SPLIT = {
    "filenames": python2_list([b"a.png"] * 5),
    "batch_label": text(b"testing batch 1 of 1"),
    "fine_labels": python2_list(CLASSES),
    "coarse_labels": python2_list([0] * 5),
    "data": DATA,
}
META = {"fine_label_names": python2_list([name.encode() for name in NAMES]), "coarse_label_names": python2_list([b"x"])}


def lay_out(root, content=None, meta=None, split="test"):
    place = root / "cifar-100-python"
    place.mkdir(parents=True, exist_ok=True)
    (place / split).write_bytes(python2_dict(**SPLIT) if content is None else content)
    (place / "meta").write_bytes(python2_dict(**META) if meta is None else meta)
    return root


def check(dataset, name="test"):
    assert [item.key for item in dataset.items] == [f"{name}-{index:05d}" for index in range(5)]
    assert [item.labels for item in dataset.items] == [(3,), (0,), (2,), (1,), (3,)]
    for item, image in zip(dataset.items, IMAGES, strict=True):
        assert np.array_equal(np.asarray(dataset.read(item)), image)


def test_the_miniature_is_what_pickle_itself_reads_as_cifar():
    content = pickle.loads(python2_dict(**SPLIT), encoding="bytes")
    assert np.array_equal(content[b"data"], FLAT) and content[b"data"].dtype == np.uint8
    assert content[b"fine_labels"] == CLASSES and content[b"filenames"][0] == b"a.png"


def test_the_pickles_as_distributed(tmp_path):
    lay_out(tmp_path)
    check(open_dataset(tmp_path, LABELS, 0))
    check(open_dataset(tmp_path / "cifar-100-python", LABELS, 0))
    lay_out(tmp_path, split="train")
    check(open_training(tmp_path, LABELS), "train")


def test_torchvision_reads_the_same_from_the_same_files(tmp_path, monkeypatch):
    from torchvision.datasets import CIFAR100

    lay_out(tmp_path)
    monkeypatch.setattr(CIFAR100, "_check_integrity", lambda self: True)
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *args: True)
    theirs, ours = CIFAR100(str(tmp_path), train=False), open_dataset(tmp_path, LABELS, 0)
    assert theirs.classes == NAMES
    for item, (image, label) in zip(ours.items, theirs, strict=True):
        assert item.labels == (label,)
        assert np.array_equal(np.asarray(ours.read(item)), np.asarray(image))


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_pickles_saved_anew_by_todays_python_and_numpy(tmp_path, protocol):
    content = {"data": FLAT, "fine_labels": CLASSES}
    lay_out(tmp_path, pickle.dumps(content, protocol), pickle.dumps({"fine_label_names": NAMES}, protocol))
    check(open_dataset(tmp_path, LABELS, 0))


def test_an_array_stored_by_columns(tmp_path):
    content = {**SPLIT, "data": python2_array(FLAT, columns=b"\x88")}
    check(open_dataset(lay_out(tmp_path, python2_dict(**content)), LABELS, 0))
    content["data"] = python2_array(FLAT, module=b"numpy._core.multiarray")
    check(open_dataset(lay_out(tmp_path, python2_dict(**content)), LABELS, 0))


class Call:
    """Unpickled, it calls a function."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


def calling(*nested):
    return pickle.dumps({"data": FLAT, "fine_labels": CLASSES, "filenames": list(nested)}, 2)


TOUCH = "touch {}/ran"
HOSTILE = {
    "a shell": lambda place: calling(Call(os.system, TOUCH.format(place))),
    "nested": lambda place: calling({"a": [({"b": Call(os.system, TOUCH.format(place))},)]}),
    "eval": lambda place: calling(Call(eval, f"open('{place}/ran', 'w')")),
    "getattr": lambda place: calling(Call(getattr, "", "join")),
    "in the data's place": lambda place: pickle.dumps({"data": Call(os.mkdir, f"{place}/ran"), "fine_labels": []}, 4),
    "protocol 0": lambda place: f"cposix\nsystem\n(S'{TOUCH.format(place)}'\ntR.".encode(),
    "inst": lambda place: f"(S'{TOUCH.format(place)}'\niposix\nsystem\n.".encode(),
    "obj": lambda place: f"(cposix\nsystem\nS'{TOUCH.format(place)}'\no.".encode(),
    "newobj": lambda place: b"\x80\x02csubprocess\nPopen\n" + text(b"true") + b"\x85\x81.",
    "names from the memo": lambda place: (
        b"\x80\x04\x8c\x05posix\x94\x8c\x06system\x940h\x00h\x01\x93" + text(TOUCH.format(place).encode()) + b"\x85R."
    ),
    "through a module of an allowed name": lambda place: (
        b"\x80\x04cnumpy\n_core.os.system\n" + text(b"true") + b"\x85R."
    ),
    "other functions of numpy": lambda place: b"\x80\x02cnumpy\nload\n" + text(b"x") + b"\x85R.",
    "a persistent id": lambda place: b"\x80\x02K\x01Q.",
    "an extension": lambda place: b"\x80\x02\x82\x01.",
}


@pytest.mark.parametrize("make", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_pickle_runs_nothing(tmp_path, make):
    content = make(tmp_path)
    for wheres in ({"content": content}, {"meta": content}):
        with pytest.raises(SalcheckError, match=r"is no pickle of CIFAR-100 .*not needed for an array") as error:
            open_dataset(lay_out(tmp_path, **wheres), LABELS, 0)
        assert "\n" not in str(error.value)
    assert not (tmp_path / "ran").exists()


def test_the_hostile_pickles_would_run_if_they_were_unpickled(tmp_path):
    pickle.loads(HOSTILE["a shell"](tmp_path))
    assert (tmp_path / "ran").exists()


def test_what_a_pickle_sets_on_what_it_is_given_does_not_stay(tmp_path):
    state = b"N}" + text(b"__setstate__") + b"cnumpy\ndtype\ns\x86b"  # the slots' state: attributes by setattr
    spoilt = b"\x80\x02cnumpy\nndarray\n" + state + b"."
    pickletools.dis(spoilt, out=io.StringIO())
    with pytest.raises(SalcheckError):
        open_dataset(lay_out(tmp_path, spoilt), LABELS, 0)
    assert _pickles._Kept.__setstate__.__qualname__ == "_Kept.__setstate__"
    check(open_dataset(lay_out(tmp_path), LABELS, 0))


CRASHING = {
    "a memo of 34 gigabytes": b"\x80\x02]r\xff\xff\xff\x7f.",
    "tuples nested three million deep, as a key": b"\x80\x02}()" + b"\x85" * 3_000_000 + b"K\x01u.",
    "a tuple of itself, doubled forty times, as a key": b"\x80\x02})" + b"q\x00h\x00\x86" * 40 + b"K\x01s.",
}


@pytest.mark.parametrize("name", CRASHING)
def test_a_pickle_made_to_crash_python_is_one_line(tmp_path, name):
    lay_out(tmp_path, CRASHING[name])
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))\n"
        "from pathlib import Path; from salcheck.datasets._pickles import read_pickle\n"
        "try: read_pickle(Path('cifar-100-python/test'), 'data')\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.startswith("SalcheckError") and ("tuples" in done.stdout or "numbers what" in done.stdout)


def test_a_list_doubled_sixty_times_is_not_unfolded(tmp_path):
    doubled = b"(" * 61 + b"K\x01l" + b"q\x00h\x00l" * 60
    content = {**SPLIT, "fine_labels": doubled}
    with pytest.raises(SalcheckError, match="labels are no list of whole numbers"):
        open_dataset(lay_out(tmp_path, python2_dict(**content)), LABELS, 0)


BROKEN = {
    "empty": (b"", "is no pickle of CIFAR-100"),
    "cut short": (python2_dict(**SPLIT)[:-3000], "is no pickle of CIFAR-100"),
    "no dictionary": (b"\x80\x02" + python2_list(CLASSES) + b".", "has no data, fine_labels"),
    "without data": (python2_dict(fine_labels=SPLIT["fine_labels"]), "has no data: it must be a dictionary of"),
    "CIFAR-10": (python2_dict(data=DATA, labels=SPLIT["fine_labels"]), "has no fine_labels"),
    "data a list": (python2_dict(**{**SPLIT, "data": SPLIT["fine_labels"]}), "data are no array of bytes"),
    "data without a state": (python2_dict(**{**SPLIT, "data": b"cnumpy\ndtype\n)R"}), "data are no array of bytes"),
    "data of another kind": (python2_dict(**{**SPLIT, "data": python2_array(FLAT, kind=b"O8")}), "are not uint8"),
    "data shorter than their shape": (
        python2_dict(**{**SPLIT, "data": DATA.replace(whole(5) + whole(3072), whole(6) + whole(3072))}),
        "data are no array of bytes .*reshape",
    ),
    "images of another size": (
        python2_dict(**{**SPLIT, "data": python2_array(FLAT[:, :3000])}),
        r"\(5, 3000\): \(n, 3072\)",
    ),
    "labels of text": (python2_dict(**{**SPLIT, "fine_labels": python2_list([b"a"] * 5)}), "no list of whole numbers"),
    "too few labels": (python2_dict(**{**SPLIT, "fine_labels": python2_list([1])}), r"int64 \(1,\): integers \(5,\)"),
    "a label beyond the names": (python2_dict(**{**SPLIT, "fine_labels": python2_list([4] * 5)}), "go from 4 to 4"),
}


@pytest.mark.parametrize(("content", "line"), BROKEN.values(), ids=BROKEN)
def test_a_broken_pickle_is_one_line(tmp_path, content, line):
    with pytest.raises(SalcheckError, match=line) as error:
        open_dataset(lay_out(tmp_path, content), LABELS, 0)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("names", [text(b"apple"), b"]", python2_list([1, 2])])
def test_broken_names_of_classes_are_one_line(tmp_path, names):
    with pytest.raises(SalcheckError, match="meta': its names of classes are no list of texts"):
        open_dataset(lay_out(tmp_path, meta=python2_dict(fine_label_names=names)), LABELS, 0)


def save_npz(path, **other):
    arrays = {"test_x": IMAGES, "test_y": CLASSES, "train_x": IMAGES, "train_y": CLASSES, "classes": NAMES, **other}
    np.savez(path, **arrays)
    return path


def test_an_npz_file(tmp_path):
    path = save_npz(tmp_path / "cifar100-piece.npz")
    check(open_dataset(path, LABELS, 0))
    check(open_training(tmp_path, LABELS), "train")


def test_an_npz_file_with_other_classes_or_objects_is_one_line(tmp_path):
    with pytest.raises(SalcheckError, match=r"classes are int64 \(4,\): a list of names"):
        open_dataset(save_npz(tmp_path / "a.npz", classes=np.arange(4)), LABELS, 0)
    with pytest.raises(SalcheckError, match=r"cannot read .*pickle"):
        open_dataset(save_npz(tmp_path / "b.npz", classes=np.array([Call(os.mkdir, "ran")])), LABELS, 0)
    assert not (tmp_path / "ran").exists()


def test_classes_are_looked_up_by_name_in_any_order(tmp_path):
    other = Labels(["bear", "baby", "zebra", "Aquarium Fish", "apple"])
    assert [item.labels[0] for item in open_dataset(lay_out(tmp_path), other, 0).items] == [0, 4, 1, 3, 0]


def test_a_model_without_names_has_the_classes_in_their_order(tmp_path):
    unnamed = Labels([f"class {index}" for index in range(4)])
    check(open_dataset(lay_out(tmp_path), unnamed, 0))


@pytest.mark.parametrize("names", [[], NAMES[:3], [*NAMES[:3], "cat"], [f"class {index}" for index in range(1000)]])
def test_classes_that_the_model_does_not_have_are_named(tmp_path, names):
    with pytest.raises(SalcheckError, match=r"that the model does not have: (apple|bear)"):
        open_dataset(lay_out(tmp_path), Labels(names), 0)


def draw(root):
    for index, name in enumerate(NAMES):
        (root / name).mkdir(parents=True)
        Image.fromarray(IMAGES[index]).save(root / name / "0.png")
    return root


def test_class_folders_of_images(tmp_path):
    draw(tmp_path / "a" / "test")
    dataset = open_dataset(tmp_path / "a", LABELS, 0)
    assert dataset.name == "cifar100"
    assert {item.key: item.labels for item in dataset.items} == {f"{n}/0.png": (i,) for i, n in enumerate(NAMES)}
    assert np.array_equal(np.asarray(dataset.read(dataset.items[2])), IMAGES[2])
    assert len(open_dataset(draw(tmp_path / "b"), LABELS, 0)) == 4
    with pytest.raises(SalcheckError, match="no training images in"):
        open_training(tmp_path / "a", LABELS)
    draw(tmp_path / "a" / "train")
    assert len(open_training(tmp_path / "a", LABELS)) == 4


def test_a_wrong_or_incomplete_folder_says_what_is_missing(tmp_path):
    with pytest.raises(SalcheckError, match=r"no images of CIFAR-100 .*expected is cifar-100-python/"):
        open_dataset(tmp_path, LABELS, 0)
    (lay_out(tmp_path / "a") / "cifar-100-python" / "meta").unlink()
    with pytest.raises(SalcheckError, match="no meta in"):
        open_dataset(tmp_path / "a", LABELS, 0)
    with pytest.raises(SalcheckError, match="no folder given"):
        open_dataset(None, LABELS, 0)
    with pytest.raises(SalcheckError, match=r"no folder of .* is a class of the model"):
        open_dataset(draw(tmp_path / "b"), Labels(["cat", "dog"]), 0)


def test_another_pixel_is_another_dataset(tmp_path):
    changed = IMAGES.copy()
    changed[0, 0, 0, 0] ^= 1
    paths = [save_npz(tmp_path / "a.npz"), save_npz(tmp_path / "b.npz", test_x=changed)]
    assert len({open_dataset(path, LABELS, 0).digest for path in paths}) == 2


def test_the_piece_of_the_real_cifar100(shared):
    path = shared / "small" / "cifar100-piece.npz"
    names = np.load(path)["classes"].tolist()
    dataset = open_dataset(path, Labels(names[::-1]), 0)
    assert (len(dataset), len(open_training(path, Labels(names)))) == (1500, 4000)
    assert [sum(item.labels == (index,) for item in dataset.items) for index in range(100)] == [15] * 100
    assert dataset.items[0].labels == (99,) and dataset.read(dataset.items[0]).size == (32, 32)
