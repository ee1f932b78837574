import pytest
from PIL import Image

from salcheck.datasets.imagenet import SOLUTION, open_dataset
from salcheck.errors import SalcheckError
from salcheck.labels import Labels

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
        open_dataset(lay_out(tmp_path, table), LABELS, 0)


def test_a_table_of_other_images_is_one_line(tmp_path):
    with pytest.raises(SalcheckError, match=r"names none of the 1 images"):
        open_dataset(lay_out(tmp_path, images=("other",)), LABELS, 0)


def test_classes_that_the_model_lacks_are_named(tmp_path):
    with pytest.raises(SalcheckError, match=r"does not have: n09999999"):
        open_dataset(lay_out(tmp_path, TABLE.replace("n01440764", "n09999999")), LABELS, 0)


def test_images_without_table_or_class_folders_are_one_line(tmp_path):
    with pytest.raises(SalcheckError, match=r"neither LOC_val_solution\.csv nor class folders"):
        open_dataset(lay_out(tmp_path, table=None), LABELS, 0)


def test_the_validation_photographs_as_distributed(shared):
    import timm

    from salcheck.labels import labels_of

    labels = labels_of(timm.create_model("test_resnet"))
    root = shared / "photos" / "val"
    dataset = open_dataset(root, labels, 0)
    mapping = (root / "LOC_synset_mapping.txt").read_text().splitlines()
    rows = dict(line.split(",", 1) for line in (root / SOLUTION).read_text().splitlines()[1:])
    assert len(dataset) == 500
    for item in dataset.items:
        wnid = rows[dataset.path(item).stem].split()[0]
        assert mapping[item.labels[0]].split()[0] == wnid
