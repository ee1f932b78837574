import csv

import numpy as np
import pytest
import scipy.io
from PIL import Image, ImageOps

from salcheck.datasets.imagenet import DEVKIT, SOLUTION, TRUTH, XML, open_dataset
from salcheck.errors import SalcheckError
from salcheck.network.labels import Labels
from tests.datasets.reading import unread, used

LABELS = Labels(["tench", "goldfish", "great white shark"], ["n01440764", "n01443537", "n01484850"])
TABLE = "ImageId,PredictionString\nval_1,n01484850 1 2 3 4 n01484850 5 6 7 8 \nval_2,n01440764 1 2 3 4 \n"


def lay_out(root, table=TABLE, images=("val_1", "val_2")):
    (root / "images").mkdir(parents=True)
    for name in images:
        Image.new("RGB", (4, 4)).save(root / "images" / f"{name}.JPEG")
    if table is not None:
        (root / SOLUTION).write_bytes(table if isinstance(table, bytes) else table.encode())
    return root


def labels_in(root):
    return {item.key: item.labels for item in open_dataset(root, LABELS, 0).items}


def test_labels_come_from_the_table(tmp_path):
    assert labels_in(lay_out(tmp_path)) == {"images/val_1.JPEG": (2,), "images/val_2.JPEG": (0,)}


def test_a_table_saved_by_a_spreadsheet_is_read_too(tmp_path):
    assert labels_in(lay_out(tmp_path, "\ufeff" + TABLE.replace("\n", "\r\n")))["images/val_1.JPEG"] == (2,)


def test_images_that_the_table_does_not_list_are_left_out(tmp_path):
    assert list(labels_in(lay_out(tmp_path, images=("val_2", "other")))) == ["images/val_2.JPEG"]


def test_class_folders_serve_where_there_is_no_table(tmp_path):
    (tmp_path / "n01443537").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "n01443537" / "a.JPEG")
    dataset = open_dataset(tmp_path, LABELS, 0)
    assert (dataset.name, dataset.items[0].labels) == ("imagenet", (1,))


@pytest.mark.parametrize(
    "table",
    [
        "",
        "a,b\n1,2\n",
        "ImageId,PredictionString\nval_1,\n",
        "ImageId,PredictionString\nval_1\n",
        b"ImageId\xff\xfe\n1",
    ],
)
def test_a_broken_table_is_one_line(tmp_path, table):
    with pytest.raises(SalcheckError, match=SOLUTION):
        used(open_dataset(lay_out(tmp_path, table), LABELS, 0))


def test_a_table_of_other_images_is_one_line(tmp_path):
    with pytest.raises(SalcheckError, match=r"names none of the 1 images"):
        open_dataset(lay_out(tmp_path, images=("other",)), LABELS, 0)


def test_classes_that_the_model_lacks_are_named(tmp_path):
    with pytest.raises(SalcheckError, match=r"does not have: n09999999"):
        open_dataset(lay_out(tmp_path, TABLE.replace("n01440764", "n09999999")), LABELS, 0)


def test_images_without_table_or_class_folders_are_one_line(tmp_path):
    with pytest.raises(SalcheckError, match=r"neither LOC_val_solution\.csv nor class folders"):
        open_dataset(lay_out(tmp_path, table=None), LABELS, 0)


def boxes_in(root, key="images/val_1.JPEG"):
    dataset = open_dataset(root, LABELS, 0)
    item = next(item for item in dataset.items if item.key == key)
    return [(region.label, region.box) for region in dataset.regions(item)]


def with_row(row):
    return f"ImageId,PredictionString\nval_1,{row}\n"


def test_the_table_gives_every_box_up_to_the_end_of_its_last_pixel(tmp_path):
    root = lay_out(tmp_path, with_row("n01484850 0 1 1 2 n01440764 2 0 3 3 "), images=("val_1",))
    assert boxes_in(root) == [(2, (0, 1, 2, 3)), (0, (2, 0, 4, 4))]


def test_a_box_of_a_class_that_the_model_lacks_is_kept_without_a_label(tmp_path):
    root = lay_out(tmp_path, with_row("n01484850 0 1 1 2 n09999999 2 0 3 3"), images=("val_1",))
    assert [label for label, _ in boxes_in(root)] == [2, -1]


def test_what_of_a_box_lies_outside_the_picture_is_cut_off(tmp_path):
    assert boxes_in(lay_out(tmp_path, with_row("n01484850 -1 1 4 2"), images=("val_1",))) == [(2, (0, 1, 4, 3))]


@pytest.mark.parametrize(
    ("row", "line"),
    [
        ("n01484850", "is expected"),
        ("n01484850 1 2 3", "is expected"),
        ("n01484850 1 2 3 3 n01440764", "is expected"),
        ("n01484850 1 2 three 4", "is expected"),
        ("n01484850 1 2 nan 3", "is expected"),
        ("n01484850 1 2 inf 3", "is expected"),
        ("n01484850 3 0 1 3", "is empty"),
        ("n01484850 1 3 2 2", "is empty"),
        ("n01484850 90 90 95 95", "outside the picture of 4x4"),
        ("n01484850 0 0 3 90", "outside the picture of 4x4"),
    ],
)
def test_a_broken_box_is_one_line(tmp_path, row, line):
    dataset = open_dataset(lay_out(tmp_path, with_row(row), images=("val_1",)), LABELS, 0)
    with pytest.raises(SalcheckError, match=line) as caught:
        dataset.regions(dataset.items[0])
    assert "val_1" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_changed_box_changes_the_digest(tmp_path):
    before = open_dataset(lay_out(tmp_path), LABELS, 0).digest
    (tmp_path / SOLUTION).write_text(TABLE.replace("5 6 7 8", "5 6 7 9"))
    assert open_dataset(tmp_path, LABELS, 0).digest != before


@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_turn_with_a_picture_that_exif_turns(tmp_path, orientation):
    stored = np.zeros((20, 30, 3), np.uint8)
    stored[4:9, 2:14] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    (tmp_path / SOLUTION).write_text(with_row("n01484850 2 4 13 8"))
    Image.fromarray(stored).save(tmp_path / "val_1.png", exif=exif)
    seen = np.asarray(open_dataset(tmp_path, LABELS, 0).read(open_dataset(tmp_path, LABELS, 0).items[0]))[..., 0] > 0
    ((_, (x0, y0, x1, y1)),) = boxes_in(tmp_path, "val_1.png")
    marked = np.zeros_like(seen)
    marked[int(y0) : int(y1), int(x0) : int(x1)] = True
    assert (marked == seen).all()
    assert (np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / "val_1.png")))[..., 0] > 0).sum() == 60


def test_training_images_beside_the_validation_images_are_left_alone(tmp_path):
    for place in ("ILSVRC/Data/CLS-LOC/train/n01440764", "ILSVRC/Data/CLS-LOC/val"):
        (tmp_path / place).mkdir(parents=True)
        Image.new("RGB", (4, 4)).save(tmp_path / place / "val_1.JPEG")
    (tmp_path / SOLUTION).write_text(TABLE)
    assert list(labels_in(tmp_path)) == ["ILSVRC/Data/CLS-LOC/val/val_1.JPEG"]


def annotation(objects, width=4, height=4):
    """As ILSVRC2012_bbox_val_v3.tgz has them."""
    found = "".join(
        f"<object>\n\t\t<name>{wnid}</name>\n\t\t<pose>Unspecified</pose><truncated>0</truncated>"
        "<difficult>0</difficult>\n\t\t"
        f"<bndbox><xmin>{x0}</xmin><ymin>{y0}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox>\n\t</object>"
        for wnid, x0, y0, x1, y1 in objects
    )
    return (
        "<annotation>\n\t<folder>val</folder>\n\t<filename>val_1</filename>\n\t<source><database>ILSVRC_2012"
        f"</database></source>\n\t<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
        f"<segmented>0</segmented>\n\t{found}\n</annotation>"
    )


def class_folders(root, text=None, place=XML[1]):
    (root / "n01443537").mkdir(parents=True)
    Image.new("RGB", (4, 4)).save(root / "n01443537" / "val_1.JPEG")
    Image.new("RGB", (4, 4)).save(root / "n01443537" / "val_2.JPEG")
    (root / place).mkdir(parents=True, exist_ok=True)
    if text is not None:
        (root / place / "val_1.xml").write_bytes(text if isinstance(text, bytes) else text.encode())
    return root


@pytest.mark.parametrize("place", [place for place in XML if place != "val"])
def test_boxes_of_class_folders_come_from_xml_in_any_usual_place(tmp_path, place):
    root = class_folders(tmp_path, annotation([("n01443537", 0, 1, 1, 2), ("n09999999", 2, 0, 3, 3)]), place)
    assert boxes_in(root, "n01443537/val_1.JPEG") == [(1, (0, 1, 2, 3)), (-1, (2, 0, 4, 4))]


def test_xml_beside_the_class_folders_of_a_val_folder_is_found(tmp_path):
    class_folders(tmp_path / "val")
    (tmp_path / "bbox" / "val").mkdir(parents=True)
    (tmp_path / "bbox" / "val" / "val_1.xml").write_text(annotation([("n01443537", 0, 1, 1, 2)]))
    assert boxes_in(tmp_path, "n01443537/val_1.JPEG") == [(1, (0, 1, 2, 3))]


def test_an_image_without_xml_has_no_boxes_and_a_dataset_without_any_knows_no_places(tmp_path):
    root = class_folders(tmp_path / "a", annotation([("n01443537", 0, 1, 1, 2)]))
    assert boxes_in(root, "n01443537/val_2.JPEG") == []
    assert open_dataset(class_folders(tmp_path / "b"), LABELS, 0).regions is None


def test_changed_xml_is_told_of_its_own_item_only(tmp_path):
    root = class_folders(tmp_path, annotation([("n01443537", 0, 1, 1, 2)]))
    before = {item.key: item.annotation for item in open_dataset(root, LABELS, 0).items}
    (root / XML[1] / "val_1.xml").write_text(annotation([("n01443537", 0, 1, 1, 3)]))
    after = {item.key: item.annotation for item in open_dataset(root, LABELS, 0).items}
    assert [key for key in before if before[key] != after[key]] == ["n01443537/val_1.JPEG"]


BOMB = '<!DOCTYPE a [<!ENTITY x "boom"><!ENTITY y "&x;&x;&x;">]><annotation>&y;</annotation>'


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "no XML that can be read"),
        (annotation([("n01443537", 0, 1, 1, 2)])[:-20], "no XML that can be read"),
        (b"\xff\xfe\x00\x01", "no XML that can be read"),
        ('<?xml version="1.0" encoding="no-such"?><annotation/>', "no XML that can be read"),
        (BOMB, "document type"),
        ('<!DOCTYPE a SYSTEM "file:///etc/passwd"><annotation/>', "document type"),
        (BOMB.encode("utf-16"), "document type"),
        ("<a>" * 100_000 + "</a>" * 100_000, r"no <size/width>"),
        ("<annotation>" + " " * 1_000_001 + "</annotation>", "too large"),
        ("<annotation/>", r"no <size/width>"),
        (annotation([]).replace("<width>4", "<width>four"), "a number is needed"),
        (annotation([], width=5), "of a picture of 5x4 pixels, which has 4x4"),
        (annotation([("", 0, 1, 1, 2)]), "no <name>"),
        (annotation([("n01443537", 0, 1, "inf", 2)]), "a number is needed"),
        (annotation([("n01443537", 0, 1, 1, 2)]).replace("bndbox", "box"), "no <bndbox/xmin>"),
        (annotation([("n01443537", 2, 1, 0, 2)]), "is empty"),
    ],
)
def test_broken_xml_is_one_line_when_its_boxes_are_asked_for(tmp_path, text, line):
    class_folders(tmp_path, text)
    with pytest.raises(SalcheckError, match=line) as caught:
        dataset = open_dataset(tmp_path, LABELS, 0)
        dataset.regions(dataset.items[0])
    assert "\n" not in str(caught.value)


SYNSETS = (
    ("n01484850", 1),
    ("n01440764", 2),
    ("n01443537", 3),
    ("n02000000", 1000),
    ("n00001740", 1860),
)  # numbers are no indices


def devkit(root, truth="3\n1\n", synsets=SYNSETS):
    """As ILSVRC2012_devkit_t12 has it: a struct array `synsets`, of which the last are groups of classes."""
    (root / "val").mkdir(parents=True)
    for i in (1, 2):
        Image.new("RGB", (4, 4)).save(root / "val" / f"ILSVRC2012_val_{i:08d}.JPEG")
    (root / DEVKIT).mkdir(parents=True)
    (root / DEVKIT / TRUTH).write_text(truth)
    fields = ("ILSVRC2012_ID", "WNID", "words", "gloss", "num_children", "children", "wordnet_height")
    table = np.zeros((len(synsets), 1), [(field, object) for field in fields])
    for row, (wnid, number) in enumerate(synsets):
        table[row, 0] = (float(number), wnid, "words", "gloss", 0.0, np.zeros((0, 1)), 0.0)
    scipy.io.savemat(root / DEVKIT / "meta.mat", {"synsets": table}, do_compression=True)
    return root


def test_a_flat_folder_is_labelled_by_the_devkit(tmp_path):
    found = labels_in(devkit(tmp_path))
    assert found == {"val/ILSVRC2012_val_00000001.JPEG": (1,), "val/ILSVRC2012_val_00000002.JPEG": (2,)}


def test_a_flat_folder_with_the_devkit_has_boxes_from_xml(tmp_path):
    (devkit(tmp_path) / "bbox/val").mkdir(parents=True)
    text = annotation([("n01443537", 0, 1, 1, 2)])
    (tmp_path / "bbox/val/ILSVRC2012_val_00000001.xml").write_text(text)
    assert boxes_in(tmp_path, "val/ILSVRC2012_val_00000001.JPEG") == [(1, (0, 1, 2, 3))]


@pytest.mark.parametrize("truth", ["", "4\n", "-1\n", "three\n", "99999999999999999999\n", "1860\n1861"])
def test_a_broken_list_of_the_devkit_is_one_line(tmp_path, truth):
    with pytest.raises(SalcheckError, match=rf"{TRUTH}' has .*: a number of meta\.mat's, 1 to 1000, is expected"):
        open_dataset(devkit(tmp_path, truth), LABELS, 0)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no matlab file at all, but long enough to be taken for one by its size" * 9,
        b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + bytes(512),
        "cut",
        "other",
        "number",
        bytes(4_000_001),
        None,
    ],
)
def test_a_broken_meta_mat_is_one_line(tmp_path, content):
    mat = devkit(tmp_path) / DEVKIT / "meta.mat"
    if content == "cut":
        mat.write_bytes(mat.read_bytes()[:-100])
    elif content in ("other", "number"):
        scipy.io.savemat(mat, {"synsets" if content == "number" else "other": 3.0})
    elif content is None:
        mat.unlink()
    else:
        mat.write_bytes(content)
    with pytest.raises(SalcheckError, match=r"meta\.mat.*`synsets` of ILSVRC2012_ID and WNID is expected"):
        open_dataset(tmp_path, LABELS, 0)


def test_the_devkits_classes_that_the_model_lacks_are_named(tmp_path):
    with pytest.raises(SalcheckError, match=r"does not have: n02000000"):
        open_dataset(devkit(tmp_path, "3\n1000\n"), LABELS, 0)


def test_the_validation_photographs_as_distributed(shared):
    import timm

    from salcheck.network.labels import labels_of

    labels = labels_of(timm.create_model("test_resnet"))
    root = shared / "photos" / "val"
    dataset = open_dataset(root, labels, 0)
    mapping = (root / "LOC_synset_mapping.txt").read_text().splitlines()
    rows = dict(line.split(",", 1) for line in (root / SOLUTION).read_text().splitlines()[1:])
    assert len(dataset) == 500
    for item in dataset.items:
        wnid = rows[dataset.path(item).stem].split()[0]
        assert mapping[item.labels[0]].split()[0] == wnid


def test_the_boxes_of_the_validation_photographs(shared):
    import timm

    from salcheck.network.labels import labels_of

    root = shared / "photos" / "val"
    dataset = open_dataset(root, labels_of(timm.create_model("test_resnet")), 0)
    with (root / SOLUTION).open() as lines:
        rows = {row["ImageId"]: row["PredictionString"].split() for row in csv.DictReader(lines)}
    single = 0
    for item in dataset.items:
        found, row = dataset.regions(item), rows[dataset.path(item).stem]
        single += len(found) == 1
        assert {region.label for region in found} == set(item.labels)
        written = np.array([row[i + 1 : i + 5] for i in range(0, len(row), 5)], dtype=float)
        assert np.array_equal([region.box for region in found], written + np.array([0, 0, 1, 1]))  # none reaches beyond
    assert single == 382


def test_one_bad_row_is_said_of_its_image_and_the_others_are_read(tmp_path):
    table = "ImageId,PredictionString\nval_1,\nval_2,n01484850 1 1 2 2\n"
    dataset = open_dataset(lay_out(tmp_path, table), LABELS, 0)
    assert list(unread(dataset)) == [dataset.items[0].key]
    dataset = open_dataset(devkit(tmp_path / "kit", "4000\n1"), LABELS, 0)
    assert len(unread(dataset)) == 1 < len(dataset)
