import csv

import numpy as np
import pytest
from PIL import Image

from salcheck.datasets.nih import BOXES, FINDINGS, TEST, open_dataset
from salcheck.errors import SalcheckError
from salcheck.network.labels import Labels
from tests.datasets.reading import unread, used

UNNAMED = Labels(["class 0", "class 1"])
NAMED = Labels(FINDINGS)
TABLE = "Data_Entry_2017.csv"
HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],\n"
)
ENTRIES = (
    "00000001_000.png,Cardiomegaly,0,1,58,M,PA,2682,2749,0.143,0.143,\n"
    "00000001_001.png,Cardiomegaly|Emphysema,1,1,58,M,PA,2894,2729,0.143,0.143,\n"
    "00000002_000.png,No Finding,0,2,81,M,PA,2500,2048,0.171,0.171,\n"
    "00000003_000.png,Infiltration|Pleural_Thickening,0,3,81,F,PA,2582,2991,0.143,0.143,\n"
)
BOX_HEADER = "Image Index,Finding Label,Bbox [x,y,w,h],,,\n"
BOX_ROWS = (
    "00000001_001.png,Cardiomegaly,256.0,512.0,128.0,64.0,,,\n"
    "00000003_000.png,Infiltrate,0.0,0.0,1024.0,1024.0,,,\n"
    "00000003_000.png,Mass,102.4,204.8,307.2,409.6,,,\n"
    "00099999_000.png,Nodule,1.0,1.0,1.0,1.0,,,\n"
)
NAMES = [row.split(",")[0] for row in ENTRIES.splitlines()]
SIZE = (64, 32)  # of the miniatures: width and height, unlike the published squares, must not be confused


def lay_out(
    root, table=HEADER + ENTRIES, boxes=BOX_HEADER + BOX_ROWS, test=None, name=TABLE, images="images_001/images"
):
    (root / images).mkdir(parents=True)
    for number, image in enumerate(NAMES):
        Image.new("L", SIZE, number).save(root / images / image)
    for file, text in ((name, table), (BOXES, boxes), (TEST, test)):
        if text is not None:
            (root / file).write_bytes(text if isinstance(text, bytes) else text.encode())
    return root


def labels_in(dataset):
    return {item.key.rpartition("/")[2]: item.labels for item in dataset.items}


def regions_of(dataset, image):
    return [(one.label, one.box) for one in dataset.regions(next(item for item in dataset.items if image in item.key))]


@pytest.mark.parametrize("images", ["images_001/images", "images"])
@pytest.mark.parametrize("name", [TABLE, "Data_Entry_2017_v2020.csv"])
def test_two_classes_are_no_finding_and_any(tmp_path, name, images):
    dataset = open_dataset(lay_out(tmp_path, name=name, images=images), UNNAMED, 0)
    assert labels_in(dataset) == dict(zip(NAMES, [(1,), (1,), (0,), (1,)], strict=True))
    assert [item.key for item in dataset.items] == [f"{images}/{image}" for image in NAMES]
    assert np.asarray(dataset.read(dataset.items[3])).tolist()[0][0] == [3, 3, 3]


def test_fourteen_findings_are_looked_up_by_name(tmp_path):
    dataset = open_dataset(lay_out(tmp_path), NAMED, 0)
    assert labels_in(dataset) == dict(zip(NAMES, [(1,), (1, 10), (), (3, 12)], strict=True))
    backwards = open_dataset(
        tmp_path, Labels(["No Finding", *(name.replace("_", " ").lower() for name in FINDINGS[::-1])]), 0
    )
    assert labels_in(backwards) == dict(zip(NAMES, [(13,), (4, 13), (0,), (2, 11)], strict=True))


def test_boxes_are_scaled_to_the_images_own_size(tmp_path):
    dataset = open_dataset(lay_out(tmp_path), UNNAMED, 0)
    assert regions_of(dataset, NAMES[0]) == []
    assert regions_of(dataset, NAMES[1]) == [(1, (16.0, 16.0, 24.0, 18.0))]
    whole, other = regions_of(dataset, NAMES[3])
    assert whole == (1, (0, 0, 64, 32))
    assert other[1] == pytest.approx((6.4, 6.4, 25.6, 19.2))


def test_a_box_of_a_finding_that_the_model_does_not_have_belongs_to_none(tmp_path):
    dataset = open_dataset(lay_out(tmp_path), Labels(["Infiltration", "Hernia", "Cardiomegaly"]), 0)
    assert [label for label, _ in regions_of(dataset, NAMES[3])] == [0, -1]
    assert [label for label, _ in regions_of(dataset, NAMES[1])] == [2]
    alias = open_dataset(tmp_path, Labels(["Infiltrate", "Mass"]), 0)
    assert labels_in(alias)[NAMES[3]] == (0,)
    assert [label for label, _ in regions_of(alias, NAMES[3])] == [0, 1]


def test_one_named_finding_stands_against_health_and_other_findings_are_neither(tmp_path):
    dataset = open_dataset(lay_out(tmp_path), Labels(["Normal", "Cardiomegaly"]), 0)
    assert labels_in(dataset) == dict(zip(NAMES, [(1,), (1,), (0,), ()], strict=True))


def test_the_test_list_limits_the_images(tmp_path):
    dataset = open_dataset(lay_out(tmp_path, test=f"{NAMES[1]}\n{NAMES[2]}\n../{NAMES[3]}\n"), UNNAMED, 0)
    assert list(labels_in(dataset)) == NAMES[1:3]


def test_without_boxes_no_places_are_known(tmp_path):
    assert open_dataset(lay_out(tmp_path, boxes=None), UNNAMED, 0).regions is None


def test_the_turn_of_a_stored_image_turns_its_boxes(tmp_path):
    lay_out(tmp_path)
    stored = Image.new("L", SIZE)
    stored.paste(200, (16, 16, 24, 18))
    exif = Image.Exif()
    exif[0x0112] = 6
    stored.save(tmp_path / "images_001/images" / NAMES[1], exif=exif)
    dataset = open_dataset(tmp_path, UNNAMED, 0)
    pixels = np.asarray(dataset.read(dataset.items[1]))[..., 0]
    assert pixels.shape == (64, 32)
    ((_, (x0, y0, x1, y1)),) = regions_of(dataset, NAMES[1])
    expected = np.zeros((64, 32), np.uint8)
    expected[round(y0) : round(y1), round(x0) : round(x1)] = 200
    assert np.array_equal(pixels, expected)


def test_another_box_is_another_dataset(tmp_path):
    tables = [
        BOX_HEADER + BOX_ROWS,
        BOX_HEADER + BOX_ROWS.replace("Mass", "Nodule"),
        BOX_HEADER + BOX_ROWS.replace("64.0", "65.0"),
    ]
    assert (
        len({open_dataset(lay_out(tmp_path / str(n), boxes=t), UNNAMED, 0).digest for n, t in enumerate(tables)}) == 3
    )


BROKEN = {
    "empty": ({"table": ""}, rf"{TABLE}' has no column Image Index, Finding Labels"),
    "without findings": (
        {"table": HEADER.replace("Finding Labels", "Labels") + ENTRIES},
        "has no column Finding Labels",
    ),
    "a short row": ({"table": f"{HEADER}{NAMES[0]}\n"}, "shows a class of the model"),
    "no text": ({"table": b"\xff\xfe"}, f"{TABLE}' has no column"),
    "other images": ({"table": f"{HEADER}x.png,Mass\n"}, f"{TABLE} names none of the 4 images .*expected are images"),
    "a test list of others": ({"test": "x.png\n"}, f"{TABLE} and {TEST} name none of the 4 images"),
    "a test list of no text": ({"test": b"\xff"}, f"cannot read .*{TEST}"),
    "boxes without a header": ({"boxes": BOX_ROWS}, rf"{BOXES}' has no column Image Index, Finding Label, Bbox \[x"),
    "boxes of other columns": (
        {"boxes": "Image Index,Finding Label,box\n"},
        rf"{BOXES}' has no column Bbox \[x, y, w, h\]",
    ),
    "a box of words": ({"boxes": BOX_HEADER + BOX_ROWS.replace("256.0", "a")}, rf"{BOXES}' has the box a, 512\.0"),
    "a box of no width": ({"boxes": BOX_HEADER + BOX_ROWS.replace("128.0", "0")}, "a width and height above 0"),
    "an endless box": ({"boxes": BOX_HEADER + BOX_ROWS.replace("128.0", "1e999")}, "has the box 256.0, 512.0, 1e999"),
    "a short box": ({"boxes": f"{BOX_HEADER}{NAMES[0]},Mass,1,2,3\n"}, f"{BOXES}' has the box 1, 2, 3,:"),
}


@pytest.mark.parametrize(("files", "line"), BROKEN.values(), ids=BROKEN)
def test_a_broken_file_is_one_line(tmp_path, files, line):
    with pytest.raises(SalcheckError, match=line) as error:
        used(open_dataset(lay_out(tmp_path, **files), UNNAMED, 0))
    assert "\n" not in str(error.value)


def test_a_box_outside_its_picture_or_a_broken_image_is_one_line_when_it_is_asked_for(tmp_path):
    dataset = open_dataset(lay_out(tmp_path, boxes=BOX_HEADER + BOX_ROWS.replace("256.0", "1000.0")), UNNAMED, 0)
    with pytest.raises(SalcheckError, match=rf"{BOXES}, {NAMES[1]}: the box .* outside the picture of 1024x1024"):
        regions_of(dataset, NAMES[1])
    (tmp_path / "images_001/images" / NAMES[3]).write_bytes(b"broken")
    with pytest.raises(SalcheckError, match=rf"{NAMES[3]}' cannot be read"):
        regions_of(dataset, NAMES[3])


@pytest.mark.parametrize("labels", [Labels([]), Labels([f"class {n}" for n in range(14)]), Labels(["tench"] * 1000)])
def test_a_model_that_tells_no_finding_from_none_is_one_line(tmp_path, labels):
    with pytest.raises(
        SalcheckError, match=rf"nih tells a finding from none, and this model has {len(labels)} classes"
    ):
        open_dataset(lay_out(tmp_path), labels, 0)


def test_a_model_of_other_findings_is_one_line(tmp_path):
    with pytest.raises(SalcheckError, match=r"none of the 4 images .* shows a class of the model"):
        open_dataset(lay_out(tmp_path), Labels(["Hernia", "Edema", "Fibrosis"]), 0)


def test_a_wrong_folder_says_what_is_expected(tmp_path):
    (tmp_path / "cats").mkdir()
    Image.new("L", SIZE).save(tmp_path / "cats" / "a.png")
    with pytest.raises(SalcheckError, match=r"no images of ChestX-ray14 .*expected are images.*1_abnormal"):
        open_dataset(tmp_path, UNNAMED, 0)
    with pytest.raises(SalcheckError, match="no folder given"):
        open_dataset(None, UNNAMED, 0)


def class_folders(root):
    places = ("test/1_abnormal", "valid/1_abnormal", "valid/0_normal", "train/1_abnormal")
    for place, image in zip(places, NAMES, strict=True):
        (root / place).mkdir(parents=True)
        Image.new("RGB", SIZE).save(root / place / image)
    (root / BOXES).write_text((BOX_HEADER + BOX_ROWS).replace(",,,", ""), newline="\r\n")
    return root


def test_class_folders_are_read_but_for_the_training_images(tmp_path):
    dataset = open_dataset(class_folders(tmp_path), UNNAMED, 0)
    assert {item.key: item.labels for item in dataset.items} == {
        f"test/1_abnormal/{NAMES[0]}": (1,),
        f"valid/0_normal/{NAMES[2]}": (0,),
        f"valid/1_abnormal/{NAMES[1]}": (1,),
    }
    assert regions_of(dataset, NAMES[1]) == [(1, (16.0, 16.0, 24.0, 18.0))]
    named = open_dataset(tmp_path, Labels(["1_abnormal", "0_normal"]), 0)
    assert list(labels_in(named).values()) == [(0,), (1,), (0,)]
    training = open_dataset(tmp_path / "train", UNNAMED, 0)
    assert labels_in(training) == {NAMES[3]: (1,)} and training.regions is None


def test_the_piece_of_the_real_chest_x_rays(shared):
    root = shared / "small" / "xray"
    dataset = open_dataset(root, UNNAMED, 0)
    assert len(dataset) == 400 and sum(item.labels == (1,) for item in dataset.items) == 200
    assert not any("train" in item.key for item in dataset.items)
    boxed = {item.key.rpartition("/")[2]: item for item in dataset.items if dataset.regions(item)}
    assert len(boxed) == 7
    rows = {row[0]: row for row in csv.reader((root / BOXES).open())}
    for image, item in boxed.items():
        _, finding, *numbers = rows[image]
        x, y, width, height = (float(number) / 16 for number in numbers)
        (region,) = dataset.regions(item)
        assert region.label == 1 and region.box == pytest.approx((x, y, x + width, y + height))
        assert dataset.read(item).size == (64, 64) and finding


def test_one_bad_row_is_said_of_its_image_and_the_others_are_read(tmp_path):
    dataset = open_dataset(lay_out(tmp_path, table=f"{HEADER}{NAMES[0]}\n{NAMES[1]},Mass\n"), UNNAMED, 0)
    assert len(unread(dataset)) == 1 < len(dataset)
