"""What outputs are: guessed, asked for, refused; and confidences by another route."""

import math
from types import SimpleNamespace

import pytest
import torch

from salcheck.errors import SalcheckError
from salcheck.network.outputs import KINDS, Outputs, labels_of_outputs, outputs_of, said

ONE = torch.tensor([[2.0], [-1.0]])
THREE = torch.tensor([[2.0, -1.0, 0.5]])


@pytest.mark.parametrize(
    ("count", "asked", "kind", "opposed"),
    [
        (1000, None, "softmax", False),
        (1000, "softmax", "softmax", False),
        (1000, "sigmoid", "sigmoid", False),
        (1, None, "sigmoid", True),
        (1, "sigmoid", "sigmoid", True),
        (1, "value", "value", True),
        (3, "value", "value", True),
        (0, None, "softmax", False),
    ],
)
def test_outputs_are_guessed_from_their_number_or_asked_for(count, asked, kind, opposed):
    assert outputs_of(count, asked) == Outputs(kind, opposed)


@pytest.mark.parametrize(
    ("count", "asked", "said"),
    [
        (5, "sofmax", "unknown --output 'sofmax': did you mean softmax"),
        (1, "softmax", "softmax of one output is always 1: say sigmoid, or value"),
        (0, "sigmoid", "does not fit a model without outputs"),
        (0, "value", "does not fit a model without outputs"),
    ],
)
def test_what_cannot_be_right_is_refused(count, asked, said):
    with pytest.raises(SalcheckError, match=said):
        outputs_of(count, asked)


def test_one_output_is_a_class_and_its_opposite():
    outputs = outputs_of(1, None)
    sure = [1 / (1 + math.exp(-2)), 1 / (1 + math.exp(1))]
    expected = torch.tensor([[1 - p, p] for p in sure])
    assert torch.allclose(outputs.confidences(outputs.scores(ONE)), expected)


def test_several_sigmoids_are_each_by_itself():
    outputs = outputs_of(3, "sigmoid")
    assert torch.equal(outputs.scores(THREE), THREE)
    assert torch.allclose(outputs.confidences(THREE), 1 / (1 + torch.exp(-THREE)))


def test_values_go_down_and_up_and_have_no_confidence():
    outputs = outputs_of(3, "value")
    assert outputs.scores(THREE).tolist() == [[-2.0, 2.0, 1.0, -1.0, -0.5, 0.5]]
    for ask in (outputs.confidences, lambda scores: outputs.log_confidence(scores, torch.tensor([0]))):
        with pytest.raises(SalcheckError, match="values, which have no confidence"):
            ask(outputs.scores(THREE))


@pytest.mark.parametrize("kind", ["softmax", "sigmoid"])
def test_log_confidences_are_logarithms_of_confidences(kind):
    outputs, classes = Outputs(kind), torch.tensor([2])
    expected = outputs.confidences(THREE)[0, 2].log()
    assert torch.allclose(outputs.log_confidence(THREE, classes), expected)


def test_log_confidences_of_improbable_classes_do_not_round_to_nothing():
    scores = torch.tensor([[-200.0, 0.0]])
    for kind in ("softmax", "sigmoid"):
        assert Outputs(kind).log_confidence(scores, torch.tensor([0])).item() == -200


def named(count, asked, given=None, **config):
    net = SimpleNamespace(num_classes=count, pretrained_cfg=config)
    return labels_of_outputs(net, outputs_of(count, asked), given)


def test_opposites_have_names():
    assert named(1, None, ["dog"]).names == ("not dog", "dog")
    assert named(1, None, ["cat", "dog"]).names == ("cat", "dog")
    assert named(1, None, label_names=["cat", "dog"]).names == ("cat", "dog")
    assert named(1, "value", ["age"]).names == ("age down", "age up")
    assert named(2, "value", ["age", "size"]).names == ("age down", "age up", "size down", "size up")
    assert named(2, None, ["a", "b"]).names == ("a", "b")


def test_classes_without_names_may_be_named_by_folders_and_values_may_not():
    assert named(1, None).names == ("class 0", "class 1") and not named(1, None).named
    assert named(1, "value").names == ("value down", "value up") and named(1, "value").named
    assert named(2, "value").names[2:] == ("value 1 down", "value 1 up")


def test_two_names_of_other_classes_in_a_config_are_a_note_and_no_traceback():
    found = named(1, None, label_names={"5": "cat", "7": "dog"})
    assert found.names == ("class 0", "class 1")
    assert "label_names of the model's config is not used" in found.notes[0]


def test_names_that_do_not_fit_are_refused():
    with pytest.raises(SalcheckError, match="names class 7"):
        named(1, None, {5: "cat", 7: "dog"})
    with pytest.raises(SalcheckError, match="there are 3 names for 1 classes"):
        named(1, None, ["a", "b", "c"])


@pytest.mark.parametrize("asked", [None, *KINDS])
@pytest.mark.parametrize("count", [1, 3])
def test_what_is_unusual_is_said_and_whether_it_was_guessed(count, asked):
    if (count, asked) == (1, "softmax"):
        return
    outputs = outputs_of(count, asked)
    lines = said(outputs, named(count, asked), asked is None)
    assert len(lines) == (outputs.kind != "softmax")
    for line in lines:
        assert ("guessed" in line) == (asked is None)
