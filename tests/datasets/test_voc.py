import numpy as np
import pytest
from PIL import Image

from salcheck.datasets.voc import CLASSES, open_dataset
from salcheck.errors import SalcheckError
from salcheck.network.labels import Labels
from tests.datasets.reading import unread, used

LABELS = Labels(["dog", "person", "dining table", "cat"])
DOG, PERSON, TABLE, CAT = range(4)
WIDTH, HEIGHT = 30, 20


def thing(name, box, difficult=0, parts=""):
    x0, y0, x1, y1 = box
    # 2012 has its fields in several orders.
    return (
        f"<object><name>{name}</name><pose>Frontal</pose><truncated>1</truncated><difficult>{difficult}</difficult>"
        f"<bndbox><xmax>{x1}</xmax><xmin>{x0}</xmin><ymax>{y1}</ymax><ymin>{y0}</ymin></bndbox>{parts}</object>\n"
    )


def annotation(*things, width=WIDTH, height=HEIGHT):
    return (
        "<annotation>\n<folder>VOC2012</folder><filename>a.jpg</filename><source><database>The VOC2008 Database"
        f"</database></source><size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
        f"<segmented>0</segmented>{''.join(things)}</annotation>"
    )


HEAD = "<part><name>head</name><bndbox><xmin>3</xmin><ymin>2</ymin><xmax>4</xmax><ymax>3</ymax></bndbox></part>"
TWO = annotation(thing("dog", (1, 1, 5, 4)), thing("person", (3.5, 2, 30, 20), parts=HEAD))
THREE = annotation(
    thing("dog", (1, 1, 10, 10)), thing("cat", (1, 1, 11, 10)), thing("dog", (11, 11, 12, 16), difficult=1)
)


def lay_out(root, annotations=(("a", TWO), ("b", THREE)), year="VOC2012", listed="a\nb\n", split="val"):
    for place in ("JPEGImages", "Annotations", "ImageSets/Main", "SegmentationObject", "SegmentationClass"):
        (root / year / place).mkdir(parents=True, exist_ok=True)
    for name, text in annotations:
        Image.new("RGB", (WIDTH, HEIGHT)).save(root / year / "JPEGImages" / f"{name}.jpg")
        (root / year / "Annotations" / f"{name}.xml").write_text(text)
    (root / year / "ImageSets/Main" / f"{split}.txt").write_text(listed)
    return root / year


def draw(year, name, objects, classes):
    """Masks as palette images, like the published ones."""
    for folder, values in (("SegmentationObject", objects), ("SegmentationClass", classes)):
        image = Image.fromarray(values)
        image.putpalette([value for i in range(256) for value in (i, 255 - i, i // 2)])
        image.save(year / folder / f"{name}.png")


def found(root, name="a"):
    dataset = open_dataset(root, LABELS, 0)
    item = next(item for item in dataset.items if item.key.endswith(f"{name}.jpg"))
    return item, dataset.regions(item)


def test_boxes_count_from_one_and_end_after_their_last_pixel(tmp_path):
    item, regions = found(lay_out(tmp_path))
    assert [(region.label, region.box) for region in regions] == [(DOG, (0, 0, 5, 4)), (PERSON, (2.5, 1, 30, 20))]
    assert item.key == "JPEGImages/a.jpg"


def test_labels_come_by_the_total_area_of_their_boxes_with_difficult_objects(tmp_path):
    # Dogs: 100 + 12, the second of them difficult; cat: 110.
    item, regions = found(lay_out(tmp_path), "b")
    assert item.labels == (DOG, CAT)
    assert [region.label for region in regions] == [DOG, CAT, DOG]


def test_two_words_of_a_model_are_one_of_vocs(tmp_path):
    text = annotation(thing("diningtable", (1, 1, 5, 4)))
    assert found(lay_out(tmp_path, [("a", text)], listed="a\n"))[0].labels == (TABLE,)


def test_an_object_of_a_class_that_the_model_lacks_is_a_region_and_no_label(tmp_path):
    text = annotation(thing("sheep", (1, 1, 20, 20)), thing("dog", (1, 1, 5, 4)))
    item, regions = found(lay_out(tmp_path, [("a", text)], listed="a\n"))
    assert item.labels == (DOG,)
    assert [region.label for region in regions] == [-1, DOG]


def test_masks_take_the_place_of_boxes_where_both_kinds_are_drawn(tmp_path):
    year = lay_out(tmp_path)
    objects = np.zeros((HEIGHT, WIDTH), np.uint8)
    objects[2:5, 3:9], objects[7:9, 1:20], objects[2, 3], objects[0] = 1, 2, 2, 255
    classes = np.where(objects == 1, CLASSES.index("cat") + 1, np.where(objects == 2, 15, objects)).astype(np.uint8)
    classes[8, 19] = 255  # a stray pixel
    draw(year, "a", objects, classes)
    _, regions = found(year)
    assert [(region.label, region.box) for region in regions] == [(CAT, None), (PERSON, None)]
    assert all((region.mask == (objects == i)).all() for i, region in enumerate(regions, 1))
    assert [region.mask.sum() for region in regions] == [17, 39]


def test_one_kind_of_mask_alone_is_not_taken(tmp_path):
    year = lay_out(tmp_path)
    draw(year, "a", np.ones((HEIGHT, WIDTH), np.uint8), np.ones((HEIGHT, WIDTH), np.uint8))
    (year / "SegmentationClass" / "a.png").unlink()
    assert found(year)[1][0].box == (0, 0, 5, 4)


@pytest.mark.parametrize("given", ["", "VOCdevkit", "VOCdevkit/VOC2012"])
def test_the_folder_may_be_named_at_any_height(tmp_path, given):
    lay_out(tmp_path / "VOCdevkit")
    dataset = open_dataset(tmp_path / given, LABELS, 0)
    assert [item.key for item in dataset.items] == ["JPEGImages/a.jpg", "JPEGImages/b.jpg"]


def test_the_test_set_of_2007_goes_before_its_validation_set_and_that_of_2012_does_not(tmp_path):
    for year in ("VOC2007", "VOC2012"):
        lay_out(tmp_path, year=year, listed="a\n")
        lay_out(tmp_path, year=year, listed="b\n", split="test")
    keys = [[item.key for item in open_dataset(tmp_path / f"VOC{year}", LABELS, 0).items] for year in (2007, 2012)]
    assert keys == [["JPEGImages/b.jpg"], ["JPEGImages/a.jpg"]]


def test_several_years_in_one_folder_are_one_line(tmp_path):
    lay_out(tmp_path), lay_out(tmp_path, year="VOC2007")
    with pytest.raises(SalcheckError, match="has VOC2007, VOC2012: name one"):
        open_dataset(tmp_path, LABELS, 0)


def test_a_changed_annotation_or_mask_changes_only_its_own_items_fingerprint(tmp_path):
    year = lay_out(tmp_path)
    prints = [[item.annotation for item in open_dataset(year, LABELS, 0).items]]
    lay_out(tmp_path, [("a", TWO.replace("<xmax>5<", "<xmax>6<"))])
    prints.append([item.annotation for item in open_dataset(year, LABELS, 0).items])
    draw(year, "a", np.ones((HEIGHT, WIDTH), np.uint8), np.ones((HEIGHT, WIDTH), np.uint8))
    prints.append([item.annotation for item in open_dataset(year, LABELS, 0).items])
    assert len({one[0] for one in prints}) == 3
    assert len({one[1] for one in prints}) == 1


@pytest.mark.parametrize("missing", ["JPEGImages", "Annotations", "ImageSets/Main/val.txt"])
def test_an_incomplete_folder_says_what_is_missing(tmp_path, missing):
    year = lay_out(tmp_path)
    (year / missing).rename(year / "elsewhere")
    with pytest.raises(SalcheckError, match=rf"no {missing}.*: give a folder laid out as VOCdevkit/VOC2012"):
        open_dataset(year, LABELS, 0)


@pytest.mark.parametrize(
    ("listed", "line"),
    [
        ("", "is empty"),
        ("a\nc\n", r"images that ImageSets names are missing: .*c\.jpg"),
        ("../a\n", "a path below"),
        ("/etc/passwd", "a path below"),
    ],
)
def test_a_broken_list_of_images_is_one_line(tmp_path, listed, line):
    with pytest.raises(SalcheckError, match=line):
        used(open_dataset(lay_out(tmp_path, listed=listed), LABELS, 0))


def test_missing_images_are_counted(tmp_path):
    year = lay_out(tmp_path)
    (year / "JPEGImages" / "b.jpg").unlink()
    with pytest.raises(SalcheckError, match=r"1 of the 2 images that ImageSets names are missing: .*b\.jpg"):
        open_dataset(year, LABELS, 0)


def test_a_model_without_any_of_the_classes_is_one_line(tmp_path):
    with pytest.raises(SalcheckError, match="none of the classes of VOC"):
        open_dataset(lay_out(tmp_path), Labels(["square", "disk"]), 0)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (TWO[:-30], "no XML that can be read"),
        ('<!DOCTYPE a [<!ENTITY x "dog">]>' + TWO, "document type"),
        (annotation(thing("dragon", (1, 1, 5, 4))), "has an object 'dragon'"),
        (annotation(thing("dog", (1, 1, "x", 4))), "a number is needed"),
        (annotation(thing("dog", (1, 1, 1e400, 4))), "a number is needed"),
        (annotation(thing("dog", (6, 1, 3, 4))), "is empty"),
        (annotation(thing("dog", (100, 100, 110, 110))), "outside the picture of 30x20"),
        (annotation(thing("dog", (1, 1, 5, 4)), height=21), "of a picture of 30x21 pixels, which has 30x20"),
    ],
)
def test_a_broken_annotation_is_one_line(tmp_path, text, line):
    year = lay_out(tmp_path, [("a", text), ("b", THREE)])
    with pytest.raises(SalcheckError, match=line) as caught:
        used(open_dataset(year, LABELS, 0))
    assert "a.xml" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda path: Image.new("P", (WIDTH, HEIGHT + 1)).save(path), "is 30x21 pixels and its picture 30x20"),
        (lambda path: Image.new("RGB", (WIDTH, HEIGHT)).save(path), r"has colours \(RGB\)"),
        (lambda path: path.write_bytes(path.read_bytes()[:-40]), "no PNG that can be read"),
        (lambda path: path.write_bytes(b"GIF89a"), "no PNG that can be read"),
        (lambda path: Image.new("L", (WIDTH, HEIGHT), 21).save(path), "1 to 20 is expected"),
        (lambda path: Image.new("L", (WIDTH, HEIGHT), 255).save(path), "1 to 20 is expected"),
    ],
)
def test_a_broken_mask_is_one_line(tmp_path, make, line):
    year = lay_out(tmp_path)
    draw(year, "a", np.ones((HEIGHT, WIDTH), np.uint8), np.ones((HEIGHT, WIDTH), np.uint8))
    make(year / "SegmentationClass" / "a.png")
    with pytest.raises(SalcheckError, match=line) as caught:
        found(year)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_masks_turn_with_a_picture_that_exif_turns(tmp_path, orientation):
    year = lay_out(tmp_path)
    objects = np.zeros((HEIGHT, WIDTH), np.uint8)
    objects[2:5, 3:19] = 1
    draw(year, "a", objects, objects)
    exif = Image.Exif()
    exif[0x0112] = orientation
    marked = Image.fromarray(objects * 255).convert("RGB")
    marked.save(year / "JPEGImages" / "a.jpg", exif=exif, quality=100)
    item, (region,) = found(year)
    seen = np.asarray(open_dataset(year, LABELS, 0).read(item))[..., 0] > 127
    assert (region.mask == seen).all()


@pytest.mark.parametrize("text", [TWO[:-30], annotation(thing("dragon", (1, 1, 5, 4))), ""])
def test_one_bad_annotation_is_said_of_its_image_and_the_others_are_read(tmp_path, text):
    dataset = open_dataset(lay_out(tmp_path, [("a", text), ("b", THREE)]), LABELS, 0)
    found = unread(dataset)
    assert list(found) == [dataset.items[0].key] and "a.xml" in found[dataset.items[0].key]
    assert [bool(item.labels) for item in dataset.items] == [False, True]
