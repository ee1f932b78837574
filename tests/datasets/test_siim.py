import numpy as np
import pytest

from salcheck.datasets.siim import IMAGES, TABLE, open_dataset
from salcheck.errors import SalcheckError
from salcheck.network.labels import Labels
from tests.datasets.dicoms import save
from tests.datasets.reading import unread, used

UNNAMED = Labels(["class 0", "class 1"])
NAMES = [f"1.2.276.0.7230010.3.1.4.8323329.{number}.1517875162.966348" for number in (1034, 14508, 300, 4904)]
NONE, ONE, TWO, UNNAMED_IMAGE = NAMES
HEADER = "ImageId, EncodedPixels\n"  # as distributed: a space before the second name, and before the texts
ROWS = f"{NONE}, -1\n{ONE}, 5 2 1 3\n{TWO}, 0 1\n{TWO}, 3 2\n"
PIXELS = np.random.default_rng(0).integers(0, 256, (4, 6), dtype=np.uint8)


def lay_out(root, table=HEADER + ROWS):
    for name in NAMES:
        save(root / IMAGES / f"study-{name}" / f"series-{name}" / f"{name}.dcm", PIXELS)
    if table is not None:
        (root / TABLE).write_bytes(table if isinstance(table, bytes) else table.encode())
    return root


def item_of(dataset, name):
    return next(item for item in dataset.items if item.key.endswith(f"/{name}.dcm"))


def mask_of(dataset, name):
    (region,) = dataset.regions(item_of(dataset, name))
    assert region.box is None and region.label == 1 and region.mask.dtype == np.bool_
    return region.mask


def challenge_mask(text, height, width):
    """The challenge's rule, one pixel after the other: numbers alternate between a gap and a run, down each column."""
    mask, place = np.zeros((height, width), bool), 0
    for number, (gap, run) in enumerate(zip(text.split()[::2], text.split()[1::2], strict=True)):
        assert number < 1000
        place += int(gap)
        for _ in range(int(run)):
            mask[place % height, place // height] = True
            place += 1
    return mask


def test_labels_say_whether_there_is_a_mask_and_other_images_are_left_out(tmp_path):
    dataset = open_dataset(lay_out(tmp_path), UNNAMED, 0)
    assert {item.key.split("/")[-1][:-4]: item.labels for item in dataset.items} == {NONE: (0,), ONE: (1,), TWO: (1,)}
    assert all(item.key.startswith(f"{IMAGES}/study-") for item in dataset.items)
    assert np.array_equal(np.asarray(dataset.read(dataset.items[0]))[..., 0], PIXELS)


def test_a_mask_worked_out_by_hand(tmp_path):
    dataset = open_dataset(lay_out(tmp_path), UNNAMED, 0)
    # 4 rows: five pixels are left out (the first column and one), two taken, one left out, three taken.
    assert mask_of(dataset, ONE).astype(int).tolist() == [
        [0, 0, 1, 0, 0, 0],
        [0, 1, 1, 0, 0, 0],
        [0, 1, 1, 0, 0, 0],
        [0, 0, 0, 0, 0, 0],
    ]


def test_several_rows_of_an_image_are_one_mask(tmp_path):
    dataset = open_dataset(lay_out(tmp_path), UNNAMED, 0)
    expected = np.zeros((4, 6), bool)
    expected[0, 0] = expected[3, 0] = expected[0, 1] = True
    assert np.array_equal(mask_of(dataset, TWO), expected)


def test_an_image_without_a_mask_has_no_region(tmp_path):
    dataset = open_dataset(lay_out(tmp_path), UNNAMED, 0)
    assert list(dataset.regions(item_of(dataset, NONE))) == []


def test_a_mask_of_the_challenge_in_its_size(tmp_path):
    text = "387620 23 996 33 986 43 977 51 968 58 962 65 956 70 952 74 949 76 946 79"  # of the challenge's own table
    lay_out(tmp_path, f"{HEADER}{ONE}, {text}\n")
    save(tmp_path / IMAGES / f"study-{ONE}" / f"series-{ONE}" / f"{ONE}.dcm", np.zeros((1024, 1024), np.uint8))
    mask = mask_of(open_dataset(tmp_path, UNNAMED, 0), ONE)
    assert np.array_equal(mask, challenge_mask(text, 1024, 1024))
    rows, columns = np.nonzero(mask)
    assert mask.sum() == 572 and (columns.min(), columns.max()) == (378, 387) and rows.max() - rows.min() < 100


@pytest.mark.parametrize("seed", range(5))
def test_any_mask_is_the_challenges_rule(tmp_path, seed):
    numbers = np.random.default_rng(seed).integers(0, 4, 8)
    text = " ".join(map(str, numbers))
    dataset = open_dataset(lay_out(tmp_path, f"{HEADER}{ONE}, {text}\n"), UNNAMED, 0)
    assert np.array_equal(mask_of(dataset, ONE), challenge_mask(text, 4, 6))


def test_a_run_may_reach_the_last_pixel(tmp_path):
    assert mask_of(open_dataset(lay_out(tmp_path, f"{HEADER}{ONE}, 0 24\n"), UNNAMED, 0), ONE).all()


@pytest.mark.parametrize("names", [["Normal", "Pneumothorax"], ["0_normal", "1_abnormal"]])
def test_the_models_classes_are_looked_up_by_name(tmp_path, names):
    for turned in (False, True):
        dataset = open_dataset(lay_out(tmp_path), Labels(names[::-1] if turned else names), 0)
        assert item_of(dataset, ONE).labels == (0 if turned else 1,)
        assert item_of(dataset, NONE).labels == (1 if turned else 0,)
        assert [one.label for one in dataset.regions(item_of(dataset, ONE))] == [0 if turned else 1]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("0 25", "2 numbers from 0 on, 25 pixels in all"),
        ("23 1 0 1", "25 pixels in all"),
        ("0", "1 numbers"),
        ("", "0 numbers"),
        ("3 -1", "from -1 on"),
        ("-2 3", "from -2 on"),
        ("1 2 3 x", "invalid literal"),
        ("1.5 2", "invalid literal"),
        ("0 " + "9" * 4000, "EncodedPixels"),
        ("9" * 5000 + " 1", "EncodedPixels"),
    ],
)
def test_numbers_that_do_not_fit_the_image_are_one_line_when_they_are_asked_for(tmp_path, text, line):
    dataset = open_dataset(lay_out(tmp_path, f"{HEADER}{NONE}, -1\n{ONE}, {text}\n"), UNNAMED, 0)
    with pytest.raises(SalcheckError, match=rf"{TABLE}, {ONE}: .*within 6x4 are expected") as error:
        dataset.regions(item_of(dataset, ONE))
    assert line in str(error.value) and "\n" not in str(error.value) and len(str(error.value)) < 500
    assert list(dataset.regions(item_of(dataset, NONE))) == []


def test_another_mask_is_another_dataset(tmp_path):
    tables = [HEADER + ROWS, HEADER + ROWS.replace("5 2 1 3", "5 2 1 4")]
    assert len({open_dataset(lay_out(tmp_path, table), UNNAMED, 0).digest for table in tables}) == 2


@pytest.mark.parametrize(
    ("table", "line"),
    [
        ("", "has no column ImageId, EncodedPixels"),
        ("ImageId,Mask\na,1\n", "has no column EncodedPixels"),
        (f"{HEADER}{ONE}\n", "has the EncodedPixels '' for"),
        (b"\xff\xfe\0", "has no column"),
        (f"{HEADER}{ONE}, {'1 ' * 100000}\n", "cannot read .*field larger"),
        (f"{HEADER}../../x, -1\n", "names none of the 4 images"),
    ],
)
def test_a_broken_table_is_one_line(tmp_path, table, line):
    with pytest.raises(SalcheckError, match=line) as error:
        used(open_dataset(lay_out(tmp_path, table), UNNAMED, 0))
    assert TABLE in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("missing", [IMAGES, TABLE])
def test_an_incomplete_folder_says_what_is_missing(tmp_path, missing):
    (lay_out(tmp_path) / missing).rename(tmp_path / "elsewhere")
    with pytest.raises(SalcheckError, match=rf"has no {missing}: give a folder laid out as {IMAGES}"):
        open_dataset(tmp_path, UNNAMED, 0)


def test_a_table_without_the_space_is_read_too(tmp_path):
    table = (HEADER + ROWS).replace(", ", ",")
    assert mask_of(open_dataset(lay_out(tmp_path, table), UNNAMED, 0), ONE).sum() == 5


def test_one_bad_row_is_said_of_its_image_and_the_others_are_read(tmp_path):
    dataset = open_dataset(lay_out(tmp_path, HEADER + ROWS + f"{ONE}, one two\n"), UNNAMED, 0)
    assert len(unread(dataset)) == 1 < len(dataset)
