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
