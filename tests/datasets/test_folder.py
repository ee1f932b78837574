import os

import pytest
from PIL import Image

from salcheck.datasets.folder import open_dataset
from salcheck.errors import SalcheckError
from salcheck.network.labels import Labels

LABELS = Labels(["tench, Tinca tinca", "goldfish", "great white shark", "tiger shark"], ["n1", "n2", "n3", "n4"])


def fill(root, *names):
    for place, name in enumerate(names):
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4), (place, 0, 0)).save(file, format="PNG")
    return root


def labels_in(root):
    return {item.key: item.labels for item in open_dataset(root, LABELS, 0).items}


def test_folders_are_wnids_numbers_or_names(tmp_path):
    fill(tmp_path, "n1/a.png", "2/a.png", "Goldfish/a.png", "tiger_shark/a.png", "tinca tinca/b.png")
    expected = {"n1/a.png": (0,), "2/a.png": (2,), "Goldfish/a.png": (1,), "tiger_shark/a.png": (3,)}
    assert labels_in(tmp_path) == expected | {"tinca tinca/b.png": (0,)}


def test_a_subset_of_classes_shifts_no_index(tmp_path):
    assert labels_in(fill(tmp_path, "n4/a.png", "n3/a.png")) == {"n3/a.png": (2,), "n4/a.png": (3,)}


def test_images_lie_at_any_depth_of_their_class(tmp_path):
    assert labels_in(fill(tmp_path, "n2/images/a.png")) == {"n2/images/a.png": (1,)}


def test_a_flat_folder_has_no_labels(tmp_path):
    assert labels_in(fill(tmp_path, "a.png", "b.png")) == {"a.png": (), "b.png": ()}


def test_folders_none_of_which_is_a_class_are_unlabelled(tmp_path):
    fill(tmp_path, "holiday/a.png", "work/b.png")
    (tmp_path / "empty").mkdir()
    assert labels_in(tmp_path) == {"holiday/a.png": (), "work/b.png": ()}


def test_a_mix_of_classes_and_other_folders_is_an_error_that_names_them(tmp_path):
    fill(tmp_path, "n1/a.png", "gold fisch/a.png")
    with pytest.raises(SalcheckError, match=r"no class of the model: gold fisch"):
        open_dataset(tmp_path, LABELS, 0)


@pytest.mark.parametrize("names", [("holiday", "work"), ("h", "w", "x", "y")])
def test_why_images_have_no_labels_is_said_with_what_to_do(tmp_path, names):
    dataset = open_dataset(fill(tmp_path, *(f"{name}/a.png" for name in names)), LABELS, 0)
    (note,) = dataset.notes
    assert "no folder" in note
    assert "--class-names" in note
    assert not dataset.classes


# Class folders of a model whose classes have no names


def unnamed(count, natural=False):
    return Labels([""] * count, named=False, natural=natural)


def opened(root, labels, *folders):
    dataset = open_dataset(fill(root, *(f"{name}/a.png" for name in folders)), labels, 0)
    return {item.key.split("/")[0]: item.labels for item in dataset.items}, dataset


@pytest.mark.oracle
def test_one_folder_for_each_class_names_them_as_torchvision_does(tmp_path):
    from torchvision.datasets import ImageFolder

    names = ["dog", "bird", "10", "9", "Zebra", "car", "\u00e9clair", "car 2", "_x"]
    labels, dataset = opened(tmp_path, unnamed(9), *names)
    theirs = ImageFolder(str(tmp_path)).class_to_idx
    assert labels == {name: (index,) for name, index in theirs.items()}
    assert list(dataset.classes) == list(theirs)
    (note,) = dataset.notes
    assert note.startswith("classes by sorted folder names: 0 10, 1 9, 2 Zebra")
    assert "10 before 9, as torchvision's reader has it; 9 before 10, as timm's does not" in note


@pytest.mark.oracle
def test_the_folders_of_a_checkpoint_of_timm_are_sorted_as_timm_sorts_them(tmp_path):
    from timm.data.readers.reader_image_folder import find_images_and_targets

    names = ["dog", "bird", "10", "9", "Zebra", "car", "car 2", "a10b", "a9c"]
    labels, dataset = opened(tmp_path, unnamed(9, natural=True), *names)
    theirs = find_images_and_targets(str(tmp_path))[1]
    assert labels == {name: (index,) for name, index in theirs.items()}
    assert [name for name, _ in sorted(theirs.items(), key=lambda pair: pair[1])] == list(dataset.classes)


def test_plain_names_are_one_plain_note(tmp_path):
    labels, dataset = opened(tmp_path, unnamed(3), "dog", "bird", "car")
    assert labels == {"bird": (0,), "car": (1,), "dog": (2,)}
    assert dataset.notes == ["classes by sorted folder names: 0 bird, 1 car, 2 dog"]


def test_long_lists_are_cut_and_end_with_the_last(tmp_path):
    _, dataset = opened(tmp_path, unnamed(30), *(f"c{i:02}" for i in range(30)))
    assert dataset.notes[0].endswith("9 c09, …, 29 c29")


def test_folders_that_are_numbers_of_classes_are_taken_as_such(tmp_path):
    assert opened(tmp_path / "a", unnamed(12), "10", "3")[0] == {"10": (10,), "3": (3,)}
    labels, dataset = opened(tmp_path / "b", unnamed(12), *map(str, range(12)))
    assert labels == {str(i): (i,) for i in range(12)}
    assert "(2 is class 2)" in dataset.notes[0]
    assert "sorts 10 before 2" in dataset.notes[0] or "sorts 11 before 2" in dataset.notes[0]
    assert not opened(tmp_path / "c", unnamed(10), *map(str, range(10)))[1].notes
    assert not opened(tmp_path / "d", unnamed(12, natural=True), *map(str, range(12)))[1].classes


def test_numbers_from_one_on_are_names(tmp_path):
    labels, dataset = opened(tmp_path, unnamed(3), "1", "2", "3")
    assert labels == {"1": (0,), "2": (1,), "3": (2,)}
    assert "0 1, 1 2, 2 3" in dataset.notes[0]


@pytest.mark.parametrize("names", [("bird", "car"), ("a", "b", "c", "d")])
def test_another_number_of_folders_is_no_guess(tmp_path, names):
    labels, dataset = opened(tmp_path, unnamed(3), *names)
    assert set(labels.values()) == {()}
    (note,) = dataset.notes
    assert f"{len(names)} class folders and the model 3 classes" in note
    assert not dataset.classes


def test_folders_without_images_do_not_count(tmp_path):
    (tmp_path / "aaa").mkdir()
    assert opened(tmp_path, unnamed(2), "cat", "dog")[0] == {"cat": (0,), "dog": (1,)}


@pytest.mark.parametrize("names", [("train", "test"), ("Train", "validation")])
def test_parts_of_a_dataset_are_no_classes(tmp_path, names):
    with pytest.raises(SalcheckError, match="name the one of them to read"):
        opened(tmp_path, unnamed(2), *names)


def test_a_strange_folder_without_images_does_no_harm(tmp_path):
    fill(tmp_path, "n1/a.png")
    (tmp_path / "notes").mkdir()
    assert labels_in(tmp_path) == {"n1/a.png": (0,)}


def test_hidden_and_other_files_are_left_out(tmp_path):
    fill(tmp_path, "n1/a.png", "n1/.b.png", ".cache/c.png", "n1/.thumbs/d.png")
    (tmp_path / "n1" / "notes.txt").write_text("no image")
    assert labels_in(tmp_path) == {"n1/a.png": (0,)}


def test_val_below_the_root_is_taken(tmp_path):
    assert labels_in(fill(tmp_path, "val/n1/a.png", "train/n1/b.png")) == {"n1/a.png": (0,)}


def test_links_are_followed_once(tmp_path):
    elsewhere = fill(tmp_path / "elsewhere", "a.png")
    root = tmp_path / "root"
    root.mkdir()
    (root / "n2").symlink_to(elsewhere)
    (elsewhere / "back").symlink_to(elsewhere)
    (elsewhere / "up").symlink_to(root)
    assert labels_in(root) == {"n2/a.png": (1,)}


def test_a_name_of_any_bytes_can_be_stored_and_read(tmp_path):
    name = os.fsdecode(b"caf\xe9.png")
    try:
        fill(tmp_path, f"n1/{name}")
    except OSError:
        pytest.skip("this file system takes UTF-8 only")
    dataset = open_dataset(tmp_path, LABELS, 0)
    assert dataset.items[0].key.encode("utf-8") == b"n1/caf\\xe9.png"
    assert dataset.read(dataset.items[0]).size == (4, 4)


def test_the_digest_tells_another_label_and_another_file_apart(tmp_path):
    one, other, larger = (fill(tmp_path / name, f"{u}/a.png") for name, u in (("x", "0"), ("y", "1"), ("z", "0")))
    Image.new("RGB", (400, 400)).save(larger / "0" / "a.png")
    again = fill(tmp_path / "copy", "0/a.png")
    digests = [open_dataset(root, LABELS, 0).digest for root in (one, other, larger, again)]
    assert len(set(digests)) == 3
    assert digests[0] == digests[3]


@pytest.mark.parametrize("content", [(), ("n1/notes.txt",)])
def test_a_folder_without_images_is_one_line(tmp_path, content):
    for name in content:
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    with pytest.raises(SalcheckError, match=r"no images in .*\.jpeg"):
        open_dataset(tmp_path, LABELS, 0)


def test_no_folder_is_one_line_with_the_layout(tmp_path):
    with pytest.raises(SalcheckError, match=r"no folder .*root/CLASS/IMAGE"):
        open_dataset(tmp_path / "missing", LABELS, 0)
    with pytest.raises(SalcheckError, match=r"add --data DIR"):
        open_dataset(None, LABELS, 0)


def test_reading_an_image_that_has_gone_is_one_line(tmp_path):
    dataset = open_dataset(fill(tmp_path, "a.png"), LABELS, 0)
    (tmp_path / "a.png").unlink()
    with pytest.raises(SalcheckError, match=r"a\.png.*No such file"):
        dataset.read(dataset.items[0])
