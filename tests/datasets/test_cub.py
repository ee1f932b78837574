import math
import os
import re
import shutil

import numpy as np
import pytest
from PIL import Image
from scipy.special import rel_entr, softmax

from salcheck.datasets.cub import ATTRIBUTES, FILES, GROUPS, open_dataset
from salcheck.errors import SalcheckError
from salcheck.network.labels import Labels
from tests.datasets.reading import unread, used

NAMES = ("001.Black_footed_Albatross", "002.Laysan_Albatross", "003.Sooty_Albatross")
ALBATROSSES = Labels(["Sooty Albatross", "laysan albatross", "gull", "Black_footed_Albatross"])
WIDTH, HEIGHT = 30, 20
PARTS = tuple(GROUPS)
GROUP_NAMES = sorted({name for names in GROUPS.values() for name in names})

# image: its class, whether it is a training image, box. 2 and 4 are the test images.
IMAGES = {1: (1, 1, "1 1 5 5"), 2: (3, 0, "2.0 3.0 10.0 8.0"), 3: (2, 1, "1 1 5 5"), 4: (1, 0, "0.0 0.0 30.0 20.0")}


def image_name(number):
    return f"{NAMES[IMAGES[number][0] - 1]}/bird_{number:04d}.jpg"


def lines(rows):
    return "".join(f"{row}\n" for row in rows)


def place(number, part):
    """x, y, visible: parts 1 to 5 are to be seen."""
    return f"{number + part}.0 {2 * part}.0 1" if part <= 5 else "0.0 0.0 0"


def percentages():
    """Two attributes a group, the first commonest in all classes but for the bill's length of the third."""
    rows = np.tile([100.0, 0.0], (3, len(GROUP_NAMES)))
    column = 2 * GROUP_NAMES.index("has_bill_length")
    rows[2, column : column + 2] = 0, 100
    return rows


def tables():
    return {
        "images.txt": lines(f"{i} {image_name(i)}" for i in IMAGES),
        "image_class_labels.txt": lines(f"{i} {one[0]}" for i, one in IMAGES.items()),
        "train_test_split.txt": lines(f"{i} {one[1]}" for i, one in IMAGES.items()),
        "bounding_boxes.txt": lines(f"{i} {one[2]}" for i, one in IMAGES.items()),
        "classes.txt": lines(f"{i} {name}" for i, name in enumerate(NAMES, 1)),
        "parts/parts.txt": lines(f"{i} {name}" for i, name in enumerate(PARTS, 1)),
        "parts/part_locs.txt": lines(f"{i} {part} {place(i, part)}" for i in IMAGES for part in range(1, 16)),
        ATTRIBUTES: lines(" ".join(map(str, row)) for row in percentages().tolist()),
        "attributes.txt": lines(
            f"{i} {name}" for i, name in enumerate((f"{g}::{v}" for g in GROUP_NAMES for v in ("red", "not_red")), 1)
        ),
    }


def lay_out(root, **changed):
    root = root / "CUB_200_2011"
    for name, text in (tables() | changed).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    for number in IMAGES:
        path = root / "images" / image_name(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (WIDTH, HEIGHT), (number, 0, 0)).save(path)
    return root


def test_the_test_images_are_labelled_and_the_training_images_left_out(tmp_path):
    dataset = open_dataset(lay_out(tmp_path), ALBATROSSES, 0)
    found = [(item.key, item.labels) for item in dataset.items]
    assert found == [(f"images/{image_name(4)}", (3,)), (f"images/{image_name(2)}", (0,))]


def test_the_folder_above_serves_too(tmp_path):
    assert len(open_dataset(lay_out(tmp_path).parent, ALBATROSSES, 0)) == 2


def test_boxes_are_edges(tmp_path):
    dataset = open_dataset(lay_out(tmp_path), ALBATROSSES, 0)
    found = [[(region.label, region.box) for region in dataset.regions(item)] for item in dataset.items]
    assert found == [[(3, (0, 0, 30, 20))], [(0, (2, 3, 12, 11))]]


def test_parts_are_the_middles_of_their_pixels_and_nowhere_where_they_are_not_visible(tmp_path):
    dataset = open_dataset(lay_out(tmp_path), ALBATROSSES, 0)
    assert dataset.parts.names == PARTS
    places = dataset.parts.of(dataset.items[1])
    assert places[:5].tolist() == [[2 + part + 0.5, 2 * part + 0.5, 1] for part in range(1, 6)]
    assert places.shape == (15, 3)
    assert not places[5:].any()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_parts_turn_with_a_picture_that_exif_turns(tmp_path, orientation):
    root = lay_out(tmp_path)
    stored = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    stored[2, 3], stored[10, 7] = 255, 255  # parts 1 and 5 of image 2
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = root / "images" / image_name(2)
    Image.fromarray(stored).save(path, format="PNG", exif=exif)
    dataset = open_dataset(root, ALBATROSSES, 0)
    seen = np.asarray(dataset.read(dataset.items[1]))[..., 0]
    x, y = dataset.parts.of(dataset.items[1])[[0, 4], :2].T
    assert (seen[np.floor(y).astype(int), np.floor(x).astype(int)] == 255).all()


def test_classes_differ_in_the_parts_whose_attributes_differ(tmp_path):
    differences = open_dataset(lay_out(tmp_path), ALBATROSSES, 0).parts.differences
    beak = PARTS.index("beak")
    # The third class is the model's class 0. One of the beak's three groups differs altogether: 2 log 2 in it.
    assert differences.shape == (4, 4, 15)
    assert differences[0, 1, beak] == pytest.approx(2 * math.log(2) / 3, abs=1e-9)
    assert differences[1, 0, beak] == differences[3, 0, beak] == differences[0, 1, beak]
    assert np.delete(differences[0, 1], beak).tolist() == [0] * 14
    assert not differences[1, 3].any()
    assert np.isnan(differences[2]).all()  # gulls are not in the table
    assert np.isnan(differences[:, 2]).all()


@pytest.mark.parametrize(
    "labels",
    [
        Labels(NAMES),
        Labels([name[4:] for name in NAMES]),
        Labels([name[4:].replace("_", " ").upper() for name in NAMES]),
        Labels([f"class {i}" for i in range(3)]),
    ],
)
def test_classes_are_known_by_both_names_or_by_number_where_they_have_none(tmp_path, labels):
    dataset = open_dataset(lay_out(tmp_path), labels, 0)
    assert [item.labels for item in dataset.items] == [(0,), (2,)]


def test_numbers_serve_only_where_there_are_as_many_classes(tmp_path):
    with pytest.raises(SalcheckError, match=r"does not have: 001\.Black_footed_Albatross, 003\.Sooty_Albatross"):
        open_dataset(lay_out(tmp_path), Labels([f"class {i}" for i in range(4)]), 0)


def test_only_classes_of_test_images_must_be_known(tmp_path):
    labels = Labels(["Sooty Albatross", "Black_footed_Albatross"])
    dataset = open_dataset(lay_out(tmp_path), labels, 0)
    assert [item.labels for item in dataset.items] == [(1,), (0,)]
    assert dataset.parts.differences.shape == (2, 2, 15)


@pytest.mark.parametrize(
    ("name", "old", "new", "differ"),
    [
        ("bounding_boxes.txt", "2 2.0", "2 2.5", [False, True]),
        ("parts/part_locs.txt", "2 1 3.0", "2 1 4.0", [False, True]),
        (ATTRIBUTES, "100.0", "99.0", [True, True]),
    ],
)
def test_a_changed_annotation_changes_the_fingerprints_of_its_items(tmp_path, name, old, new, differ):
    before = [item.annotation for item in open_dataset(lay_out(tmp_path), ALBATROSSES, 0).items]
    text = tables()[name]
    assert old in text
    root = lay_out(tmp_path, **{name: text.replace(old, new, 1)})
    after = [item.annotation for item in open_dataset(root, ALBATROSSES, 0).items]
    assert [a != b for a, b in zip(before, after, strict=True)] == differ


@pytest.mark.parametrize("place", ["attributes.txt", "../attributes.txt", "attributes/attributes.txt"])
def test_the_names_of_attributes_may_lie_in_three_places(tmp_path, place):
    root = lay_out(tmp_path)
    (root / "attributes.txt").rename(root / place)
    assert len(open_dataset(root, ALBATROSSES, 0)) == 2


def test_no_names_of_attributes_is_one_line(tmp_path):
    root = lay_out(tmp_path)
    (root / "attributes.txt").unlink()
    with pytest.raises(SalcheckError, match=r"no attributes\.txt in .* or beside it"):
        open_dataset(root, ALBATROSSES, 0)


@pytest.mark.parametrize("missing", FILES)
def test_an_incomplete_folder_says_what_is_missing(tmp_path, missing):
    root = lay_out(tmp_path)
    (root / missing).rename(root / "elsewhere")
    with pytest.raises(SalcheckError, match=rf"has no {missing}: give a folder laid out as CUB_200_2011/"):
        open_dataset(root, ALBATROSSES, 0)


def test_missing_images_are_counted(tmp_path):
    root = lay_out(tmp_path)
    (root / "images" / image_name(2)).unlink()
    with pytest.raises(SalcheckError, match=r"1 of the 2 images that images\.txt names are missing: .*bird_0002"):
        open_dataset(root, ALBATROSSES, 0)


@pytest.mark.parametrize(
    ("name", "old", "new", "line"),
    [
        ("images.txt", "2 003", "5 003", r"'5 003.* on line 2: '2 <name>' is expected"),
        ("images.txt", "2 003.Sooty_Albatross/bird_0002.jpg", "2", "'2 <name>' is expected"),
        ("images.txt", "003.Sooty_Albatross/bird_0002.jpg", "../../secret.jpg", "a path below"),
        ("images.txt", "003.Sooty_Albatross/bird_0002.jpg", "/etc/passwd", "a path below"),
        ("image_class_labels.txt", "2 3", "2 4", "no sound row"),
        ("image_class_labels.txt", "2 3", "2 2.5", "no sound row"),
        ("image_class_labels.txt", "2 3\n", "", "no sound row"),
        ("image_class_labels.txt", "2 3", "1 3", "no sound row"),
        ("train_test_split.txt", "2 0", "2 7", "no sound row"),
        ("bounding_boxes.txt", "2 2.0", "2 two", "no sound row"),
        ("bounding_boxes.txt", "2 2.0", "2 nan", "no sound row"),
        ("bounding_boxes.txt", "10.0 8.0", "0.0 8.0", "is empty"),
        ("bounding_boxes.txt", "2 2.0", "2 200.0", "outside the picture of 30x20"),
        ("parts/parts.txt", "2 beak", "2 bill", "other parts than CUB's"),
        ("parts/part_locs.txt", "2 1 3.0 2.0 1", "2 1 3.0 2.0 2", "no sound row"),
        ("parts/part_locs.txt", "2 1 3.0 2.0 1", "2 2 3.0 2.0 1", "no sound row"),
        ("parts/part_locs.txt", "2 1 3.0 2.0 1", "2 1 3.0 2.0", "no sound row"),
        (ATTRIBUTES, "100.0 0.0", "100.0", "3 lines of "),
        (ATTRIBUTES, "100.0", "101.0", "percentages are expected"),
        (ATTRIBUTES, "100.0", "-1", "percentages are expected"),
        ("attributes.txt", "has_bill_length::red", "bill_length::red", None),
        ("attributes.txt", "has_bill_length", "bill_length", "no attributes of has_bill_length"),
    ],
)
def test_a_broken_table_is_one_line(tmp_path, name, old, new, line):
    text = tables()[name]
    assert old in text
    root = lay_out(tmp_path, **{name: text.replace(old, new)})
    if line is None:  # one of two attributes left: odd, and not broken
        assert len(open_dataset(root, ALBATROSSES, 0)) == 2
        return
    with pytest.raises(SalcheckError, match=line) as caught:
        dataset = open_dataset(root, ALBATROSSES, 0)
        for item in used(dataset).items:
            dataset.parts.of(item)
    assert name.rpartition("/")[2] in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_table_that_is_no_text_is_one_line(tmp_path):
    root = lay_out(tmp_path)
    (root / "classes.txt").write_bytes(b"1 \xff\xfe")
    with pytest.raises(SalcheckError, match=r"cannot read .*classes\.txt"):
        open_dataset(root, ALBATROSSES, 0)


# The real annotations, with one stand-in for all photographs.

# Attributes of each part as SCOUT's script averages them (spec/diffcam.md, 2.4), counted from 1.
SCOUT = {
    "back": "59-73, 237-240",
    "beak": "1-9, 150-152, 279-293",
    "belly": "198-212, 245-248",
    "breast": "55-58, 106-120",
    "crown": "95-105, 153-167, 294-308",
    "forehead": "95-105, 153-167",
    "left eye": "136-149, 95-105",
    "left leg": "264-278",
    "left wing": "10-24, 213-217, 309-312",
    "nape": "183-197",
    "right eye": "136-149, 95-105",
    "right leg": "264-278",
    "right wing": "10-24, 213-217, 309-312",
    "tail": "74-79, 80-94, 168-182, 241-244",
    "throat": "95-105, 121-135",
}


@pytest.fixture(scope="module")
def real(shared, tmp_path_factory):
    source, root = shared / "small" / "cub-annotations", tmp_path_factory.mktemp("cub") / "CUB_200_2011"
    shutil.copytree(source, root)
    for place in (root, root / "parts", root / "attributes"):
        place.chmod(0o755)
    standin = root.parent / "standin.png"
    Image.new("RGB", (500, 500)).save(standin)
    names = (line.split()[1] for line in (root / "images.txt").read_text().splitlines())
    for name in names:
        path = root / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        os.link(standin, path)
    return root, open_dataset(root, Labels([f"class {i}" for i in range(200)]), 0)


def test_the_real_split_labels_boxes_and_parts(real):
    root, dataset = real
    split = dict(line.split() for line in (root / "train_test_split.txt").read_text().splitlines())
    files = dict(line.split() for line in (root / "images.txt").read_text().splitlines())
    boxes = dict(line.split(maxsplit=1) for line in (root / "bounding_boxes.txt").read_text().splitlines())
    numbers = {f"images/{name}": number for number, name in files.items()}
    assert len(dataset) == 5794
    assert {numbers[item.key] for item in dataset.items} == {number for number, one in split.items() if one == "0"}
    assert all(item.labels == (int(item.key[7:10]) - 1,) for item in dataset.items)
    marked = {}
    for line in (root / "parts" / "part_locs.txt").read_text().splitlines():
        number, part, x, y, visible = line.split()
        marked[number, int(part)] = [float(x) + 0.5, float(y) + 0.5, 1] if visible == "1" else [0, 0, 0]
    for item in dataset.items[::97]:
        number = numbers[item.key]
        assert dataset.parts.of(item).tolist() == [marked[number, part] for part in range(1, 16)]
        x, y, width, height = map(float, boxes[number].split())
        assert dataset.regions(item)[0].box == (x, y, min(x + width, 500), min(y + height, 500))


def test_real_differences_are_scouts(real):
    root, dataset = real
    percent = np.loadtxt(root / ATTRIBUTES)
    differences = dataset.parts.differences
    rng = np.random.default_rng(0)
    for a, b, part in zip(*rng.integers(0, 200, (2, 100)), rng.integers(0, 15, 100), strict=True):
        by_group = []
        for first, last in re.findall(r"(\d+)-(\d+)", SCOUT[PARTS[part]]):
            p, q = (softmax(percent[u, int(first) - 1 : int(last)]) for u in (a, b))
            by_group.append(rel_entr(p, (p + q) / 2).sum() + rel_entr(q, (p + q) / 2).sum())
        assert differences[a, b, part] == pytest.approx(np.mean(by_group), abs=1e-12)
    assert tuple(SCOUT) == PARTS


def test_the_share_of_real_parts_that_differ(real):
    differences = real[1].parts.differences
    above = differences > np.percentile(differences, 20)
    # Where nothing but the diagonal is 0: any 80 % of all entries are 80.4 % of those of two classes.
    assert above[~np.eye(200, dtype=bool)].mean() == pytest.approx(0.8 * 200 / 199, abs=1e-5)
    assert differences.max() <= 2 * math.log(2) + 1e-12


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("image_class_labels.txt", "2 3", "2 4"),
        ("image_class_labels.txt", "2 3\n", ""),
        ("train_test_split.txt", "2 0", "x"),
    ],
)
def test_one_bad_row_is_said_of_its_image_and_the_others_are_read(tmp_path, name, old, new):
    dataset = open_dataset(lay_out(tmp_path, **{name: tables()[name].replace(old, new)}), ALBATROSSES, 0)
    found = unread(dataset)
    assert len(found) == 1 < len(dataset)
    assert all(name in line and key.endswith("bird_0002.jpg") for key, line in found.items())
