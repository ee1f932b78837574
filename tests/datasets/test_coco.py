import copy
import json

import numpy as np
import pytest
from matplotlib.path import Path as Outline
from PIL import Image

from salcheck.datasets._masks import from_polygon, from_runs, uncompressed
from salcheck.datasets.coco import open_dataset
from salcheck.errors import SalcheckError
from salcheck.network.labels import Labels
from tests.datasets.reading import unread, used

LABELS = Labels(["zebra, horse with stripes", "person", "kite"])
ZEBRA, PERSON, KITE = range(3)
WIDTH, HEIGHT = 6, 4

CATEGORIES = [
    {"supercategory": "person", "id": 1, "name": "person"},
    {"supercategory": "animal", "id": 24, "name": "zebra"},
    {"supercategory": "indoor", "id": 90, "name": "toothbrush"},
]
IMAGES = [
    {"license": 4, "file_name": name, "coco_url": "", "height": HEIGHT, "width": WIDTH, "date_captured": "", "id": i}
    for i, name in ((397133, "000000397133.jpg"), (7, "000000000007.jpg"))
]


def thing(number, category, segmentation, area, bbox=(1, 1, 2, 2), crowd=0, image=397133):
    return {
        **{"segmentation": segmentation, "area": area, "iscrowd": crowd, "image_id": image, "bbox": list(bbox)},
        **{"category_id": category, "id": number},
    }


SQUARE = [[1.0, 1.0, 3.0, 1.0, 3.0, 3.0, 1.0, 3.0]]
RUNS = {"counts": [0, 4, 18, 2], "size": [HEIGHT, WIDTH]}  # the first column, and the last two pixels of the last
TABLE = {
    "info": {"year": 2017},
    "licenses": [],
    "images": IMAGES,
    "annotations": [
        thing(1, 24, SQUARE, 4.0),
        thing(2, 90, SQUARE, 24.0),
        thing(3, 1, RUNS, 6, crowd=1),
        thing(4, 24, [], 1.5, bbox=(2.5, 0.0, 3.0, 4.0)),
    ],
    "categories": CATEGORIES,
}


def lay_out(root, table=TABLE, folder="val2017"):
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    (root / folder).mkdir(parents=True, exist_ok=True)
    for one in IMAGES:
        Image.new("RGB", (WIDTH, HEIGHT)).save(root / folder / one["file_name"])
    text = table if isinstance(table, str) else json.dumps(table)
    (root / "annotations" / "instances_val2017.json").write_text(text)
    return root


def found(root):
    dataset = open_dataset(root, LABELS, 0)
    item = next(item for item in dataset.items if "397133" in item.key)
    return item, dataset.regions(item)


def test_labels_come_by_total_area_with_crowds_and_without_classes_that_the_model_lacks(tmp_path):
    assert found(lay_out(tmp_path))[0].labels == (PERSON, ZEBRA)  # 6 against 4 + 1.5


def test_regions_are_masks_and_a_box_where_nothing_is_drawn(tmp_path):
    _, regions = found(lay_out(tmp_path))
    assert [region.label for region in regions] == [ZEBRA, -1, PERSON, ZEBRA]
    square = [[0] * 6, [0, 1, 1, 0, 0, 0], [0, 1, 1, 0, 0, 0], [0] * 6]
    runs = [[1, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0, 1], [1, 0, 0, 0, 0, 1]]
    assert regions[0].mask.astype(int).tolist() == square
    assert regions[2].mask.astype(int).tolist() == runs
    assert (regions[3].mask, regions[3].box) == (None, (2.5, 0, 5.5, 4))


def test_several_polygons_are_one_object(tmp_path):
    table = {**TABLE, "annotations": [thing(1, 24, [*SQUARE, [2, 1, 5, 1, 5, 2, 2, 2]], 6)]}
    mask = found(lay_out(tmp_path, table))[1][0].mask
    assert mask.astype(int).tolist() == [[0] * 6, [0, 1, 1, 1, 1, 0], [0, 1, 1, 0, 0, 0], [0] * 6]


def test_compressed_run_lengths_are_read(tmp_path):
    table = {**TABLE, "annotations": [thing(1, 24, {"counts": pack([0, 4, 18, 2]), "size": [HEIGHT, WIDTH]}, 6)]}
    assert (found(lay_out(tmp_path, table))[1][0].mask == from_runs([0, 4, 18, 2], HEIGHT, WIDTH)).all()


def test_an_image_without_objects_has_no_labels_and_no_regions(tmp_path):
    dataset = open_dataset(lay_out(tmp_path), LABELS, 0)
    assert (dataset.items[0].labels, dataset.regions(dataset.items[0])) == ((), [])


def test_images_may_lie_in_a_folder_of_their_own(tmp_path):
    dataset = open_dataset(lay_out(tmp_path, folder="images/val2017"), LABELS, 0)
    assert [item.key for item in dataset.items] == [
        "images/val2017/000000000007.jpg",
        "images/val2017/000000397133.jpg",
    ]


def test_a_changed_annotation_changes_only_its_own_items_fingerprint(tmp_path):
    before = [item.annotation for item in open_dataset(lay_out(tmp_path), LABELS, 0).items]
    table = copy.deepcopy(TABLE)
    table["annotations"][0]["segmentation"][0][0] = 1.25
    after = [item.annotation for item in open_dataset(lay_out(tmp_path, table), LABELS, 0).items]
    assert (before[0] == after[0], before[1] == after[1]) == (True, False)


@pytest.mark.parametrize("missing", ["val2017", "annotations/instances_val2017.json"])
def test_an_incomplete_folder_says_what_is_missing(tmp_path, missing):
    (lay_out(tmp_path) / missing).rename(tmp_path / "elsewhere")
    with pytest.raises(SalcheckError, match=rf"no {missing} .*: give a folder laid out as annotations/"):
        open_dataset(tmp_path, LABELS, 0)


def test_missing_images_are_counted(tmp_path):
    (lay_out(tmp_path) / "val2017" / "000000000007.jpg").unlink()
    with pytest.raises(SalcheckError, match=r"1 of the 2 images .* are missing: .*000000000007\.jpg"):
        open_dataset(tmp_path, LABELS, 0)


def test_a_model_without_any_of_the_classes_is_one_line(tmp_path):
    with pytest.raises(SalcheckError, match=r"none of the classes of COCO \(person, zebra, toothbrush"):
        open_dataset(lay_out(tmp_path), Labels(["square", "disk"]), 0)


def changed(place, value):
    """The table with another value at a place, or without it where the value is ...."""
    table = copy.deepcopy(TABLE)
    at = table
    for step in place[:-1]:
        at = at[step]
    if value is ...:
        del at[place[-1]]
    else:
        at[place[-1]] = value
    return table


@pytest.mark.parametrize(
    ("table", "line"),
    [
        ("", "cannot read"),
        (json.dumps(TABLE)[:-9], "cannot read"),
        ("[" * 200_000, "cannot read"),
        ('{"images": ' + "9" * 5000 + "}", "cannot read"),
        ("[]", "no list of 'categories'"),
        ("3", "no list of 'categories'"),
        ({**TABLE, "images": {}}, "no list of 'images'"),
        ({**TABLE, "annotations": ["a"]}, "no list of 'annotations'"),
        (changed(["images", 0, "file_name"], ...), "'file_name' missing"),
        (changed(["images", 0, "file_name"], "../a.jpg"), "a path below"),
        (changed(["images", 0, "file_name"], "/etc/passwd"), "a path below"),
        (changed(["images", 0, "width"], "6"), "'width' missing or of another type"),
        (changed(["images", 0, "width"], 7), "says that 000000397133.jpg has 7x4 pixels, and it has 6x4"),
        (changed(["images", 0, "id"], [1]), "'id' missing or of another type"),
        (changed(["categories", 0, "name"], None), "'name' missing or of another type"),
        (changed(["annotations", 0, "image_id"], 5), "image 5: it lists no such"),
        (changed(["annotations", 0, "category_id"], 5), "category 5: it lists no such"),
        (changed(["annotations", 0, "area"], ...), "'area' missing"),
        (changed(["annotations", 0, "segmentation"], "abc"), "annotation 1 of 000000397133.jpg: a segmentation is"),
        (changed(["annotations", 0, "segmentation", 0], [1, 1, 2, 2]), "three corners or more"),
        (changed(["annotations", 0, "segmentation", 0], [1, 1, 2, 2, 3, 3, 4]), "three corners or more"),
        (changed(["annotations", 0, "segmentation", 0], 5), "three corners or more"),
        (changed(["annotations", 0, "segmentation", 0, 0], "x"), "8 numbers are expected"),
        (changed(["annotations", 0, "segmentation", 0, 0], float("nan")), "8 numbers are expected"),
        (changed(["annotations", 0, "segmentation", 0, 0], 10**400), "8 numbers are expected"),
        (changed(["annotations", 0, "segmentation", 0, 0], -50), "far outside"),
        (changed(["annotations", 2, "segmentation", "size"], [WIDTH, HEIGHT]), r"with 'size' \[4, 6\]"),
        (changed(["annotations", 2, "segmentation", "counts"], [4, 21]), "do not add up to the picture's 6x4"),
        (changed(["annotations", 2, "segmentation", "counts"], [30, -6]), "do not add up"),
        (changed(["annotations", 2, "segmentation", "counts"], [10**400]), "do not add up"),
        (changed(["annotations", 2, "segmentation", "counts"], [4.0, 20]), "whole numbers or a string"),
        (changed(["annotations", 2, "segmentation", "counts"], "é"), "no string of COCO's"),
        (changed(["annotations", 2, "segmentation", "counts"], "o" * 50), "no string of COCO's"),
        (changed(["annotations", 2, "segmentation", "counts"], "P"), "break off"),
        (changed(["annotations", 2, "segmentation", "counts"], "4"), "do not add up"),
        (changed(["annotations", 3, "bbox"], [1, 1, 2]), "4 numbers are expected"),
        (changed(["annotations", 3, "bbox"], ...), "'bbox' missing"),
        (changed(["annotations", 3, "bbox"], [1, 1, 0, 2]), "is empty"),
        (changed(["annotations", 3, "bbox"], [60, 1, 5, 2]), "outside the picture of 6x4"),
    ],
)
def test_a_broken_table_is_one_line(tmp_path, table, line):
    with pytest.raises(SalcheckError, match=line) as caught:
        used(open_dataset(lay_out(tmp_path, table), LABELS, 0))
    assert "instances_val2017.json" in str(caught.value)
    assert "\n" not in str(caught.value)


def pack(counts):
    """COCO's compressed string: six bits a character, the differences from the fourth number on."""
    text = ""
    for i, count in enumerate(counts):
        rest = count - (counts[i - 2] if i > 2 else 0)
        while True:
            low, rest = rest % 32, rest // 32
            done = rest == (-1 if low & 16 else 0)
            text += chr(48 + low + (0 if done else 32))
            if done:
                break
    return text


def test_published_strings_of_run_lengths_add_up_to_their_pictures():
    # From cocodataset/cocoapi's issues 135 and 492.
    assert uncompressed("b1") == [50]  # a mask of 5x10 pixels with nothing in it
    long = (
        "ea_d21__11O0001O00000001O01O00a^40_aK000[k]30eTbL010O0000001O000000000010O00000001O01O00000001O01O00"
        "00010O00000001O000001O0001O0000010O0000000000010O0000000000010O0000000010O000000000010O00000001O01OO10001O000000P]jP1"
    )
    counts = uncompressed(long)
    assert sum(counts) == 1520 * 2704
    assert min(counts) >= 0


def test_compressed_run_lengths_are_the_numbers_that_were_packed():
    counts = np.random.default_rng(0).integers(0, 5000, 300).tolist()
    assert uncompressed(pack(counts)) == counts
    assert uncompressed("") == []


def test_run_lengths_go_down_the_columns():
    mask = np.random.default_rng(0).random((5, 7)) < 0.5
    runs, value, length = [], False, 0
    for pixel in mask.T.ravel():
        if pixel != value:
            runs.append(length)
            value, length = pixel, 0
        length += 1
    assert (from_runs([*runs, length], 5, 7) == mask).all()


@pytest.mark.parametrize("seed", range(6))
def test_a_polygon_holds_the_pixels_whose_middle_is_inside(seed):
    rng = np.random.default_rng(seed)
    angle = np.sort(rng.random(25)) * 2 * np.pi
    radius = rng.uniform(4, 22, 25)  # reaches beyond the picture of 40x30
    corners = np.stack([18 + radius * np.cos(angle), 13 + radius * np.sin(angle)], 1)
    y, x = np.mgrid[:30, :40] + 0.5
    inside = Outline([*corners, corners[0]], closed=True).contains_points(np.stack([x.ravel(), y.ravel()], 1))
    mask = from_polygon(corners if seed % 2 else corners[::-1], 30, 40)
    assert (mask == inside.reshape(30, 40)).all()
    assert 100 < mask.sum() < 1100


def test_a_triangle_by_hand():
    mask = from_polygon(np.array([[0.0, 0.0], [4.0, 0.0], [0.0, 4.0]]), 4, 5)
    assert mask.astype(int).tolist() == [[1, 1, 1, 0, 0], [1, 1, 0, 0, 0], [1, 0, 0, 0, 0], [0, 0, 0, 0, 0]]


def test_neighbouring_polygons_share_no_pixel_even_where_their_edge_is_on_the_middles():
    left, right = (np.array([[a, 0.0], [b, 0.0], [b, 4.0], [a, 4.0]]) for a, b in ((0, 2.5), (2.5, 5)))
    above = np.array([[0.0, 0.0], [5.0, 0.0], [5.0, 1.5], [0.0, 1.5]])
    below = np.array([[0.0, 1.5], [5.0, 1.5], [5.0, 4.0], [0.0, 4.0]])
    for one, other in ((left, right), (above, below)):
        assert (from_polygon(one, 4, 5).astype(int) + from_polygon(other, 4, 5) == 1).all()


def test_a_middle_on_the_left_or_upper_edge_is_inside_and_one_on_the_others_is_not():
    mask = from_polygon(np.array([[0.5, 0.5], [2.5, 0.5], [2.5, 2.5], [0.5, 2.5]]), 3, 4)
    assert mask.astype(int).tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0]]


def test_a_polygon_between_the_middles_or_beside_the_picture_has_no_pixels():
    for x in (0.6, 3.6, 9.0):
        corners = np.array([[x, 0.6], [x + 0.3, 0.6], [x + 0.3, 0.8]])
        assert from_polygon(corners, 3, 4).shape == (3, 4)
        assert not from_polygon(corners, 3, 4).any()


def test_many_edges_left_of_a_pixel_are_counted():
    # 600 corners there and back along a line of the picture: 300 times over a pixel, and it stays outside.
    comb = np.array([[0.2 + i / 3000, 3.0 * (i % 2)] for i in range(601)] + [[9.0, 3.0], [9.0, 0.0]])
    y, x = np.mgrid[:3, :10] + 0.5
    inside = Outline([*comb, comb[0]], closed=True).contains_points(np.stack([x.ravel(), y.ravel()], 1))
    assert (from_polygon(comb, 3, 10).ravel() == inside).all()


def test_where_a_polygon_overlaps_itself_is_outside():
    twice = np.array([[0, 0], [4, 0], [4, 4], [0, 4], [0, 0], [1, 1], [3, 1], [3, 3], [1, 3], [1, 1]], float)
    assert from_polygon(twice, 4, 4).sum() == 12


def test_a_polygon_with_too_many_long_edges_is_one_line():
    zigzag = np.array([[i % 7, 3000 * (i % 2)] for i in range(8000)], float)
    with pytest.raises(SalcheckError, match="crosses too many rows"):
        from_polygon(zigzag, 3000, 10)


@pytest.mark.parametrize(("name", "value"), [("category_id", 5), ("category_id", "x"), ("area", ...)])
def test_one_bad_entry_is_said_of_its_image_and_the_others_are_read(tmp_path, name, value):
    dataset = open_dataset(lay_out(tmp_path, changed(["annotations", 0, name], value)), LABELS, 0)
    assert len(unread(dataset)) == 1 < len(dataset)
