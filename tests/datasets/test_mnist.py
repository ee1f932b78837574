import gzip
import io
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest

from salcheck.datasets import _arrays
from salcheck.datasets.mnist import open_dataset, open_training
from salcheck.errors import SalcheckError
from salcheck.network.labels import Labels

DIGITS = Labels([str(digit) for digit in range(10)])
IMAGES = np.random.default_rng(0).integers(0, 256, (5, 28, 28), dtype=np.uint8)
CLASSES = np.array([7, 2, 1, 0, 4], np.uint8)


def idx(array):
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def lay_out(root, images=None, labels=None, end="", split="t10k"):
    root.mkdir(parents=True, exist_ok=True)
    packed = gzip.compress if end else bytes
    (root / f"{split}-images-idx3-ubyte{end}").write_bytes(packed(idx(IMAGES) if images is None else images))
    (root / f"{split}-labels-idx1-ubyte{end}").write_bytes(packed(idx(CLASSES) if labels is None else labels))
    return root


def save_npz(path, **other):
    arrays = {"train_x": IMAGES[:2], "train_y": CLASSES[:2], "test_x": IMAGES, "test_y": CLASSES, **other}
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    return path


@pytest.mark.parametrize("end", ["", ".gz"])
@pytest.mark.parametrize("below", ["", "raw", "MNIST/raw"])
def test_idx_files_give_every_pixel_and_digit(tmp_path, end, below):
    lay_out(tmp_path / below, end=end)
    dataset = open_dataset(tmp_path, DIGITS, 0)
    assert [item.key for item in dataset.items] == [f"test-{index:05d}" for index in range(5)]
    assert [item.labels for item in dataset.items] == [(7,), (2,), (1,), (0,), (4,)]
    for item, image in zip(dataset.items, IMAGES, strict=True):
        read = dataset.read(item)
        assert read.mode == "RGB"
        assert np.array_equal(np.asarray(read), np.stack([image] * 3, -1))


def test_torchvision_reads_the_same_from_the_same_files(tmp_path):
    from torchvision.datasets import MNIST

    for split in ("t10k", "train"):
        lay_out(tmp_path / "MNIST" / "raw", split=split)
    theirs, ours = MNIST(str(tmp_path), train=False), open_dataset(tmp_path, DIGITS, 0)
    for item, (image, digit) in zip(ours.items, theirs, strict=True):
        assert item.labels == (digit,)
        assert np.array_equal(np.asarray(ours.read(item))[..., 0], np.asarray(image))


def test_an_npz_file_serves_by_itself_and_within_its_folder(tmp_path):
    path = save_npz(tmp_path / "mnist-piece.npz")
    by_file, by_folder = open_dataset(path, DIGITS, 0), open_dataset(tmp_path, DIGITS, 0)
    assert len(by_file) == 5 and by_file.items == by_folder.items
    assert np.array_equal(np.asarray(by_file.read(by_file.items[3]))[..., 1], IMAGES[3])


def test_training_images_are_others_than_the_test_images(tmp_path):
    dataset = open_training(save_npz(tmp_path / "a.npz", train_x=IMAGES[3:]), DIGITS)
    assert [item.key for item in dataset.items] == ["train-00000", "train-00001"]
    assert np.array_equal(np.asarray(dataset.read(dataset.items[0]))[..., 0], IMAGES[3])
    lay_out(tmp_path / "idx", idx(IMAGES[1:2]), idx(CLASSES[1:2]), split="train")
    assert [item.labels for item in open_training(tmp_path / "idx", DIGITS).items] == [(2,)]


def test_digits_are_looked_up_by_the_names_of_the_models_classes(tmp_path):
    backwards = Labels([str(9 - digit) for digit in range(10)])
    unnamed = Labels([f"class {digit}" for digit in range(10)])
    path = save_npz(tmp_path / "a.npz")
    assert [item.labels[0] for item in open_dataset(path, backwards, 0).items] == [2, 7, 8, 9, 5]
    assert [item.labels[0] for item in open_dataset(path, unnamed, 0).items] == [7, 2, 1, 0, 4]


@pytest.mark.parametrize("count", [0, 2, 1000])
def test_a_model_without_ten_classes_is_one_line(tmp_path, count):
    with pytest.raises(SalcheckError, match=rf"has {count} classes: ten are needed"):
        open_dataset(save_npz(tmp_path / "a.npz"), Labels([f"class {index}" for index in range(count)]), 0)


def test_another_pixel_or_label_is_another_dataset(tmp_path):
    changed, other = IMAGES.copy(), CLASSES.copy()
    changed[4, 27, 27] ^= 1
    other[0] = 9
    paths = [save_npz(tmp_path / "a.npz"), save_npz(tmp_path / "b.npz", test_x=changed)]
    paths.append(save_npz(tmp_path / "c.npz", test_y=other))
    assert len({open_dataset(path, DIGITS, 0).digest for path in paths}) == 3


HEAD = struct.pack(">BBBBIII", 0, 0, 8, 3, 5, 28, 28)
BROKEN_IDX = {
    "empty": (b"", "does not begin as an idx file"),
    "cut within the header": (HEAD[:9], "is no idx file"),
    "another kind of numbers": (bytes([0, 0, 13, 3]) + HEAD[4:] + IMAGES.tobytes(), "does not begin as an idx file"),
    "other axes": (idx(CLASSES), "does not begin as an idx file of 3 axes"),
    "too short": (HEAD + bytes(100), "holds 3920 bytes and holds fewer"),
    "too long": (HEAD + IMAGES.tobytes() + b"\0", "holds 3920 bytes and holds more"),
    "a bomb by its header": (struct.pack(">BBBBIII", 0, 0, 8, 3, 2**31, 28, 28), "the limit is"),
}


@pytest.mark.parametrize(("content", "line"), BROKEN_IDX.values(), ids=BROKEN_IDX)
def test_a_broken_idx_file_is_one_line(tmp_path, content, line):
    with pytest.raises(SalcheckError, match=rf"t10k-images-idx3-ubyte.*{line}") as error:
        open_dataset(lay_out(tmp_path, images=content), DIGITS, 0)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("cut", [0, 10, -9])
def test_a_gzip_file_that_is_none_or_cut_short_is_one_line(tmp_path, cut):
    path = lay_out(tmp_path, end=".gz") / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:cut] if cut else b"no gzip at all")
    with pytest.raises(SalcheckError, match=r"images-idx3-ubyte\.gz' is no idx file"):
        open_dataset(tmp_path, DIGITS, 0)


def test_a_gzip_bomb_is_unpacked_no_further_than_its_header_says(tmp_path):
    lay_out(tmp_path, end=".gz")
    (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(HEAD + bytes(200_000_000), 1))
    tracemalloc.start()
    with pytest.raises(SalcheckError, match="holds more"):
        open_dataset(tmp_path, DIGITS, 0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10_000_000


@pytest.mark.parametrize(
    ("labels", "line"),
    [
        (idx(CLASSES[:4]), r"labels of .* are uint8 \(4,\): integers \(5,\) are needed"),
        (idx(CLASSES + 6), r"labels of .* go from 6 to 13: they must be 0 to 9"),
    ],
)
def test_labels_that_do_not_fit_the_images_are_one_line(tmp_path, labels, line):
    with pytest.raises(SalcheckError, match=line):
        open_dataset(lay_out(tmp_path, labels=labels), DIGITS, 0)


@pytest.mark.parametrize(
    ("other", "line"),
    [
        ({"test_x": None}, "has no test_x: it needs the arrays test_x, test_y"),
        ({"test_y": np.array([None] * 5)}, "cannot read .*pickle"),
        ({"test_x": IMAGES.astype(np.float32)}, r"are float32 \(5, 28, 28\): uint8"),
        ({"test_x": IMAGES[..., None]}, r"are uint8 \(5, 28, 28, 1\)"),
        ({"test_x": IMAGES[:0], "test_y": CLASSES[:0]}, "one or more of 1 to"),
        ({"test_x": np.zeros((5, 1, 2000), np.uint8)}, "of 1 to 1024 pixels"),
        ({"test_x": IMAGES[:, :0]}, "of 1 to 1024 pixels"),
        ({"test_y": CLASSES.astype(float)}, r"labels of .* are float64 \(5,\)"),
        ({"test_y": CLASSES.astype(np.int8) - 1}, "go from -1 to 6"),
    ],
)
def test_an_npz_file_with_other_arrays_is_one_line(tmp_path, other, line):
    with pytest.raises(SalcheckError, match=line):
        open_dataset(save_npz(tmp_path / "a.npz", **other), DIGITS, 0)


@pytest.mark.parametrize(
    "damage", [lambda data: b"", lambda data: data[:500], lambda data: data.replace(b"NUMPY", b"numpy")]
)
def test_a_damaged_npz_file_is_one_line(tmp_path, damage):
    path = save_npz(tmp_path / "a.npz")
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(SalcheckError, match=r"cannot read '.*a\.npz'"):
        open_dataset(path, DIGITS, 0)


def test_an_npz_file_that_says_it_is_larger_than_it_is_takes_no_memory(tmp_path):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (10**9, 28, 28)})
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("test_x.npy", header.getvalue() + bytes(100))
        archive.writestr("test_y.npy", b"")
    with pytest.raises(SalcheckError, match="cannot read"):
        open_dataset(tmp_path / "a.npz", DIGITS, 0)


def test_an_npz_bomb_is_refused_by_its_directory(tmp_path, monkeypatch):
    monkeypatch.setattr(_arrays, "MAX_BYTES", 1000)
    with pytest.raises(SalcheckError, match="test_x has 4048 bytes; the limit is 1000"):
        open_dataset(save_npz(tmp_path / "a.npz"), DIGITS, 0)


def test_a_wrong_or_incomplete_folder_says_what_is_missing(tmp_path):
    with pytest.raises(SalcheckError, match=r"no t10k-images-idx3-ubyte in .*expected are"):
        open_dataset(tmp_path, DIGITS, 0)
    (lay_out(tmp_path / "half") / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(SalcheckError, match="no t10k-labels-idx1-ubyte in"):
        open_dataset(tmp_path / "half", DIGITS, 0)
    with pytest.raises(SalcheckError, match="no folder given"):
        open_dataset(None, DIGITS, 0)
    with pytest.raises(SalcheckError, match=r"no folder '.*nowhere\.npz'"):
        open_dataset(tmp_path / "nowhere.npz", DIGITS, 0)
    for name in ("mnist-a.npz", "mnist-b.npz"):
        save_npz(tmp_path / name)
    with pytest.raises(SalcheckError, match=r"holds mnist-a\.npz, mnist-b\.npz: name one of them"):
        open_dataset(tmp_path, DIGITS, 0)


def test_the_piece_of_the_real_mnist(shared):
    path = shared / "small" / "mnist-piece.npz"
    test, training = open_dataset(path, DIGITS, 0), open_training(path, DIGITS)
    assert (len(test), len(training)) == (2000, 10000)
    assert [sum(item.labels == (digit,) for item in test.items) for digit in range(10)] == [200] * 10
    assert test.read(test.items[0]).size == (28, 28)
    assert not {item.fingerprint for item in test.items} & {item.fingerprint for item in training.items}
