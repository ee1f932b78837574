from types import SimpleNamespace

import pytest
import timm

from salcheck.errors import SalcheckError
from salcheck.network.labels import Labels, labels_of

PETS = Labels(["tabby, tabby cat", "golden_retriever", "crane", "crane", "7"], ["n01", "n02", "n03", "n04", "n05"])


@pytest.fixture(scope="module")
def imagenet():
    return labels_of(timm.create_model("test_resnet"))


@pytest.mark.parametrize("name", ["tabby", "Tabby Cat", "tabby_cat", " tabby, tabby cat ", "n01", "N01", "0"])
def test_a_class_has_many_spellings(name):
    assert PETS.resolve(name) == 0


@pytest.mark.parametrize("name", ["golden_retriever", "Golden Retriever"])
def test_an_underscore_is_a_space(name):
    assert PETS.resolve(name) == 1


def test_a_name_comes_before_a_number():
    assert PETS.resolve("7") == 4
    assert PETS.resolve("3") == 3


def test_imagenet_is_known_by_wnid_number_and_name(imagenet):
    assert len(imagenet) == 1000
    assert {imagenet.resolve(name) for name in ("n01440764", "0", "tench", "Tinca tinca")} == {0}
    assert imagenet.short(282) == "tiger cat"


def test_an_ambiguous_name_offers_each_class(imagenet):
    assert imagenet.index("crane") is None
    with pytest.raises(SalcheckError, match=r"several classes.*134 .n02012849, crane.*517 .n03126707, crane"):
        imagenet.resolve("crane")


@pytest.mark.parametrize("number", ["5", "-1", "9" * 50, "00005"])
def test_a_number_out_of_range_is_told_the_range(number):
    with pytest.raises(SalcheckError, match=r"out of range.*0 to 4"):
        PETS.resolve(number)


def test_an_unknown_name_is_told_the_nearest(imagenet):
    with pytest.raises(SalcheckError, match=r"did you mean.*tiger cat"):
        imagenet.resolve("tigre cat")


@pytest.mark.parametrize("name", ["", "$x_1$", "²", "x" * 10_000, "9" * 5000])
def test_absurd_names_are_one_short_line(imagenet, name):
    with pytest.raises(SalcheckError) as caught:
        imagenet.resolve(name)
    assert len(str(caught.value)) < 300


def net(classes, **config):
    return SimpleNamespace(num_classes=classes, pretrained_cfg={"num_classes": 1000, **config})


def test_names_come_from_the_models_own_config():
    described = {"n1": "a cat, puss"}
    labels = labels_of(net(2, label_names=["n1", "n2"], label_descriptions=described))
    assert labels.names == ("a cat, puss", "n2")
    assert labels.resolve("puss") == labels.resolve("n1") == 0


@pytest.mark.parametrize("config", [{}, {"num_classes": 0}, {"label_names": ["n1", "n2"]}, {"label_names": []}])
def test_a_model_without_classes_has_no_names(config):
    labels = labels_of(net(0, **config))
    assert len(labels) == 0
    assert labels.index("tench") is labels.index("0") is None
    for name in ("tench", "0", "-1"):
        with pytest.raises(SalcheckError, match="no classes"):
            labels.resolve(name)


def test_names_that_are_too_few_or_too_many_are_not_used():
    assert labels_of(net(3, label_names=["a", "b"])).names == ("class 0", "class 1", "class 2")


def test_names_may_be_numbers():
    assert labels_of(net(2, label_names=[10, 20])).resolve("20") == 1


def test_a_model_with_another_head_has_no_imagenet_names():
    assert labels_of(timm.create_model("test_resnet", num_classes=7)).names[0] == "class 0"


# Names as their makers write them

WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven"]
AS_TEXT = {key: WORDS[int(key)] for key in sorted(map(str, range(12)))}


@pytest.mark.parametrize(
    "names",
    [
        WORDS,
        AS_TEXT,
        {int(key): word for key, word in AS_TEXT.items()},
        {word: index for index, word in sorted(enumerate(WORDS), key=lambda pair: pair[1])},
    ],
    ids=["list", "keys as text", "keys as numbers", "indices by name"],
)
def test_a_dict_of_names_goes_by_its_numbers_and_not_by_its_order(names):
    labels = labels_of(net(12, label_names=names))
    assert labels.names == tuple(WORDS)
    assert labels.resolve("10") == labels.resolve("ten") == 10
    assert labels.named
    assert not labels.notes


def test_gaps_in_a_dict_are_numbers_and_said():
    labels = labels_of(net(4, label_names={"0": "cat", "3": "dog"}))
    assert labels.names == ("cat", "class 1", "class 2", "dog")
    assert labels.notes == ("label_names of the model's config names 2 of 4 classes, not 1, 2",)


@pytest.mark.parametrize(
    "described",
    [{"b": "second", "a": "first"}, {"1": "second", "0": "first"}, ["first", "second"], {0: "first", 1: "second"}],
)
def test_descriptions_go_by_name_or_by_number(described):
    labels = labels_of(net(2, label_names={"1": "b", "0": "a"}, label_descriptions=described))
    assert labels.names == ("first", "second")
    assert labels.resolve("b") == labels.resolve("second") == labels.resolve("1") == 1
    alone = labels_of(net(2, label_descriptions={"1": "second", "0": "first"}))
    assert alone.names == ("first", "second")


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["a", "b", "c", "d", "e"], "there are 5 names for 7 classes"),
        ({str(i): "x" for i in range(9)}, "it names class 8, and the model has 7 classes"),
        ({"-1": "x"}, "neither its keys nor its values"),
        ({"cat": "felis", "dog": "canis"}, "neither its keys nor its values"),
        ({"cat": 0, "dog": 0}, "neither its keys nor its values"),
        ("imagenet-1k", "it is a str"),
        (7, "it is a int"),
    ],
)
def test_names_that_do_not_fit_are_not_used_and_said(names, says):
    labels = labels_of(net(7, label_names=names))
    assert labels.names == tuple(f"class {i}" for i in range(7))
    assert not labels.named
    (note,) = labels.notes
    assert note.startswith("label_names of the model's config is not used: ")
    assert says in note
    with pytest.raises(SalcheckError, match="do not fit this model"):
        labels_of(net(7), names)


def test_what_is_no_text_has_a_number():
    labels = labels_of(net(5, label_names=["a", None, ["x"], " ", 7]))
    assert labels.names == ("a", "class 1", "class 2", "class 3", "7")
    assert labels.notes == ("label_names of the model's config names 2 of 5 classes, not 1, 2, 3",)


def test_given_names_come_before_all_others():
    own = net(2, label_names=["a", "b"])
    assert labels_of(own, ["cat", "dog"]).names == ("cat", "dog")


# Names as they are printed


def test_only_synonyms_of_imagenet_are_cut_at_the_comma(imagenet):
    own = Labels(["cell, healthy", "cell, sick"])
    assert [own.short(0), own.short(1)] == ["cell, healthy", "cell, sick"]
    assert own.resolve("sick") == 1
    assert imagenet.short(0) == "tench"
    assert [imagenet.short(638), imagenet.short(639)] == ["maillot", "maillot, tank suit"]


def test_no_two_classes_of_imagenet_are_printed_alike(imagenet):
    assert len({imagenet.short(i) for i in range(1000)}) == 1000
    assert len({imagenet.short(i, 24) for i in range(1000)}) == 1000
    assert imagenet.short(134) == "crane (class 134)"


@pytest.mark.parametrize(
    "names",
    [
        ["cat", "cat"],
        ["cat", "cat "],
        ["cat\n", "cat\t"],
        ["caf\u00e9", "cafe\u0301"],
        ["", "class 0"],
        [f"adenocarcinoma of the upper lobe, {side}" for side in ("left", "right")],
    ],
)
def test_classes_that_look_alike_are_told_apart(names):
    labels = Labels(names)
    for limit in (None, 24):
        shown = [labels.short(i, limit) for i in range(2)]
        assert len(set(shown)) == 2
        assert all(len(one) <= (limit or 99) for one in shown)


def test_names_hold_no_control_codes():
    labels = Labels(["a\x1b[31mred\x00", "b\nc"])
    assert labels.names == ("a\\x1b[31mred\\x00", "b c")


def test_names_may_differ_in_their_case_alone():
    labels = Labels(["Ab", "aB"])
    assert [labels.index("Ab"), labels.index("aB")] == [0, 1]
    assert labels.index("ab") is None


def test_a_class_without_a_name_is_told_the_numbers():
    with pytest.raises(SalcheckError, match=r"no names but their numbers, 0 to 6"):
        labels_of(net(7)).resolve("cat")
