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
