import numpy as np
import pytest
from PIL import Image

from salcheck.datasets.rsna import DETAILS, IMAGES, TABLE, open_dataset
from salcheck.errors import SalcheckError
from salcheck.network.labels import Labels
from tests.datasets.dicoms import save, save_jpeg
from tests.datasets.reading import unread, used

UNNAMED = Labels(["class 0", "class 1"])
HEADER = "patientId,x,y,width,height,Target\n"
# As distributed: empty cells for patients without opacity, a row for each box of one with.
ROWS = (
    "0004cfab-14fd-4e49-80ba-63a80b6bddd6,,,,,0\n"
    "00313ee0-9eaa-42f4-b0ab-c148ed3241cd,,,,,0\n"
    "00436515-870c-4b36-a041-de91049b9ab4,12.0,4.0,9.0,16.0,1\n"
    "00436515-870c-4b36-a041-de91049b9ab4,30.0,8.0,10.0,20.0,1\n"
    "003d8fa0-6bf1-40ed-b54c-ac657f8495c5,,,,,0\n"
)
NAMES = list(dict.fromkeys(row.split(",")[0] for row in ROWS.splitlines()))
NOT_NORMAL, OTHER, OPAQUE, NORMAL = NAMES
KINDS = (
    f"patientId,class\n{NOT_NORMAL},No Lung Opacity / Not Normal\n{OTHER},No Lung Opacity / Not Normal\n"
    f"{OPAQUE},Lung Opacity\n{OPAQUE},Lung Opacity\n{NORMAL},Normal\n"
)
PIXELS = np.random.default_rng(0).integers(0, 256, (32, 48), dtype=np.uint8)


def lay_out(root, table=HEADER + ROWS, kinds=KINDS, images=NAMES):
    for name in images:
        save(root / IMAGES / f"{name}.dcm", PIXELS)
    for name, text in ((TABLE, table), (DETAILS, kinds)):
        if text is not None:
            (root / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return root


def labels_in(dataset):
    return {item.key.removeprefix(f"{IMAGES}/").removesuffix(".dcm"): item.labels for item in dataset.items}


def regions_of(dataset, patient):
    return dataset.regions(next(item for item in dataset.items if patient in item.key))


def test_patients_with_opacity_stand_against_normal_ones(tmp_path):
    assert labels_in(open_dataset(lay_out(tmp_path), UNNAMED, 0)) == {OPAQUE: (1,), NORMAL: (0,)}


def test_without_the_details_all_patients_without_opacity_count_as_healthy(tmp_path):
    found = labels_in(open_dataset(lay_out(tmp_path, kinds=None), UNNAMED, 0))
    assert found == {OPAQUE: (1,), NORMAL: (0,), OTHER: (0,), NOT_NORMAL: (0,)}


def test_regions_are_the_boxes_by_their_edges(tmp_path):
    dataset = open_dataset(lay_out(tmp_path), UNNAMED, 0)
    assert [(one.label, one.box, one.mask) for one in regions_of(dataset, OPAQUE)] == [
        (1, (12, 4, 21, 20), None),
        (1, (30, 8, 40, 28), None),
    ]
    assert list(regions_of(dataset, NORMAL)) == []


def test_the_image_is_read_as_dicom(tmp_path):
    lay_out(tmp_path)
    smooth = Image.fromarray(np.linspace(0, 255, 32 * 48).reshape(32, 48).astype(np.uint8))
    _, decoded = save_jpeg(tmp_path / IMAGES / f"{NORMAL}.dcm", smooth)
    dataset = open_dataset(tmp_path, UNNAMED, 0)
    images = {dataset.path(item).stem: dataset.read(item) for item in dataset.items}
    assert np.array_equal(np.asarray(images[OPAQUE]), np.stack([PIXELS] * 3, -1))
    assert np.array_equal(np.asarray(images[NORMAL])[..., 2], np.asarray(decoded))


@pytest.mark.parametrize(
    ("names", "opaque", "normal"),
    [
        (["0_normal", "1_abnormal"], (1,), (0,)),
        (["Pneumonia", "Normal"], (0,), (1,)),
        (["Opacity", "other"], (0,), (1,)),
        (["other", "healthy"], (0,), (1,)),
        (["0", "1"], (1,), (0,)),
        (["Normal", "No Lung Opacity / Not Normal", "Lung Opacity"], (2,), (0,)),
        (["Mass", "Hernia", "Pneumonia"], (2,), ()),
    ],
)
def test_the_models_classes_are_looked_up_by_name(tmp_path, names, opaque, normal):
    dataset = open_dataset(lay_out(tmp_path), Labels(names), 0)
    assert labels_in(dataset) == {OPAQUE: opaque, NORMAL: normal}
    assert {one.label for one in regions_of(dataset, OPAQUE)} == set(opaque)


@pytest.mark.parametrize("count", [0, 1, 1000])
def test_a_model_that_tells_no_finding_from_none_is_one_line(tmp_path, count):
    with pytest.raises(
        SalcheckError, match=rf"has {count} classes: it needs two, 0 healthy and 1 finding, or one called"
    ):
        open_dataset(lay_out(tmp_path), Labels([f"class {index}" for index in range(count)]), 0)


def test_another_box_is_another_dataset(tmp_path):
    first = open_dataset(lay_out(tmp_path / "a"), UNNAMED, 0).digest
    assert open_dataset(lay_out(tmp_path / "b"), UNNAMED, 0).digest == first
    assert open_dataset(lay_out(tmp_path / "b", HEADER + ROWS.replace("12.0", "13.0")), UNNAMED, 0).digest != first
    save(tmp_path / "a" / IMAGES / f"{OPAQUE}.dcm", PIXELS[::-1])
    assert open_dataset(tmp_path / "a", UNNAMED, 0).digest != first


BROKEN = {
    "empty": ("", r"has no column patientId, x, y, width, height, Target"),
    "a column less": ((HEADER + ROWS).replace(",Target", ""), r"has no column Target: it needs patientId"),
    "other columns": ("a,b\n1,2\n", "has no column patientId"),
    "a row cut short": (HEADER + ROWS[:-3], "has the Target '': 0 or 1 is expected"),
    "no text": (b"\x89PNG\r\n\x1a\n\0\0\xff", "has no column"),
    "another target": (HEADER + ROWS.replace(",0\n", ",2\n"), "has the Target '2': 0 or 1"),
    "words for a box": (
        HEADER + ROWS.replace("12.0", "left"),
        r"has the box left, 4\.0, 9\.0, 16\.0: x, y and a width",
    ),
    "an empty box": (HEADER + ROWS.replace("12.0,4.0,9.0,16.0", ",,,"), "has the box , , ,: x, y"),
    "a box without end": (HEADER + ROWS.replace("12.0", "inf"), "has the box inf"),
    "no number": (HEADER + ROWS.replace("12.0", "nan"), "has the box nan"),
    "a box of no width": (HEADER + ROWS.replace("9.0", "0"), r"has the box 12\.0, 4\.0, 0, 16\.0"),
    "a box of negative height": (HEADER + ROWS.replace("16.0", "-16.0"), "width and height above 0"),
    "other patients": (HEADER + "somebody,,,,,0\n", r"names none of the 4 images .*expected are stage_2_train_images"),
    "a path that leads out": (HEADER + "../../secret,,,,,0\n", "names none of the 4 images"),
}


@pytest.mark.parametrize(("table", "line"), BROKEN.values(), ids=BROKEN)
def test_a_broken_table_is_one_line(tmp_path, table, line):
    with pytest.raises(SalcheckError, match=rf"{TABLE}.*{line}|{line}") as error:
        used(open_dataset(lay_out(tmp_path, table), UNNAMED, 0))
    assert TABLE in str(error.value) and "\n" not in str(error.value)


def test_a_box_outside_its_picture_is_one_line_when_it_is_asked_for(tmp_path):
    dataset = open_dataset(lay_out(tmp_path, HEADER + ROWS.replace("30.0", "300.0")), UNNAMED, 0)
    with pytest.raises(SalcheckError, match=rf"{TABLE}, {OPAQUE}: the box .* outside the picture of 48x32 pixels"):
        regions_of(dataset, OPAQUE)
    assert list(regions_of(dataset, NORMAL)) == []


def test_a_table_saved_by_a_spreadsheet_is_read_too(tmp_path):
    table = "\ufeff" + (HEADER + ROWS).replace("\n", "\r\n") + "\r\n"
    assert labels_in(open_dataset(lay_out(tmp_path, table), UNNAMED, 0)) == {OPAQUE: (1,), NORMAL: (0,)}


def test_images_are_parsed_only_when_they_are_read(tmp_path):
    lay_out(tmp_path)
    (tmp_path / IMAGES / f"{OPAQUE}.dcm").write_bytes(b"broken")
    dataset = open_dataset(tmp_path, UNNAMED, 0)
    item = next(item for item in dataset.items if OPAQUE in item.key)
    for ask in (dataset.read, dataset.regions):
        with pytest.raises(SalcheckError, match=f"{OPAQUE}.dcm' is no DICOM file"):
            ask(item)


@pytest.mark.parametrize("missing", [IMAGES, TABLE])
def test_an_incomplete_folder_says_what_is_missing(tmp_path, missing):
    (lay_out(tmp_path) / missing).rename(tmp_path / "elsewhere")
    with pytest.raises(
        SalcheckError, match=rf"has no {missing}: give a folder laid out as {IMAGES}/\*\.dcm with {TABLE}"
    ):
        open_dataset(tmp_path, UNNAMED, 0)


def test_no_folder_and_broken_details_are_one_line(tmp_path):
    with pytest.raises(SalcheckError, match="no folder given"):
        open_dataset(None, UNNAMED, 0)
    with pytest.raises(SalcheckError, match=rf"{DETAILS}' has no column class"):
        open_dataset(lay_out(tmp_path, kinds="patientId\n"), UNNAMED, 0)


@pytest.mark.parametrize(("old", "new"), [("12.0", "left"), ("12.0,4.0,9.0,16.0", ",,,")])
def test_one_bad_row_is_said_of_its_image_and_the_others_are_read(tmp_path, old, new):
    dataset = open_dataset(lay_out(tmp_path, HEADER + ROWS.replace(old, new)), UNNAMED, 0)
    assert len(unread(dataset)) == 1 < len(dataset)
