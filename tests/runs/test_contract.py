"""A liar for each rule of the contract, and those who keep it."""

import pytest
import torch

from salcheck.diagnostics import Scores
from salcheck.errors import SalcheckError
from salcheck.maps.notes import Kind, Note
from salcheck.methods import parse_method
from salcheck.questions import find
from salcheck.runs.contract import check_method, check_scores, hooks
from tests.nets import make_images, make_net, make_view

CLASSES = torch.tensor([[0, 3], [1, 6], [5, 2]])
HONEST = "return (view.grads(classes) * view.acts[:, None]).sum(2)"
LIARS = {
    "return view.acts[:, :1]": r"its maps are \(3, 1, 2, 2\): they are \(3, 2, 2, 2\) on the layer's grid",
    "return torch.zeros(3, 2, 2, 56)": r"or \(3, 2, 56, 56\)",
    f"{HONEST} / 0": "is not finite",
    "maps = (view.grads(classes) * view.acts[:, None]).sum(2); return maps / maps.abs().max()": "in a batch of 3",
    "return torch.rand(*classes.shape, 2, 2)": "may depend on its own image and class alone",
    f"view.net.conv1.register_forward_hook(lambda *_: None); {HONEST}": "leaves a hook",
    f"len(view.net.conv1._forward_hooks) or view.net.conv1.register_forward_hook(lambda *_: None); {HONEST}": "a hook",
    f"view.net.requires_grad_(True); view.net(view.images).sum().backward(); {HONEST}": "leaves gradients",
    f"view.images.requires_grad_(); {HONEST}": "leaves gradients",
}


@pytest.fixture
def call(tmp_path):
    """Maps of a method with this body, checked."""

    def call(body, count=3):
        (tmp_path / "mine.py").write_text(f"import torch\ndef saliency(view, classes):\n    {body}\n")
        method = parse_method(str(tmp_path / "mine.py"))
        view = make_view(make_net("test_resnet"), make_images(count))
        before = hooks(view.net)
        check_method(method, view, CLASSES[:count], method.saliency(view, CLASSES[:count]), before=before)

    return call


@pytest.mark.parametrize("count", [1, 3])
def test_an_honest_method_passes(call, count):
    call(HONEST, count)


@pytest.mark.parametrize("body", LIARS)
def test_a_method_that_breaks_the_contract_is_one_line(call, body):
    with pytest.raises(SalcheckError, match=LIARS[body]) as caught:
        call(body)
    assert str(caught.value).startswith("method mine breaks the contract: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["random", "gradcam", "smoothgrad:samples=2", "case:contrast=logits"])
def test_salchecks_own_methods_pass(name):
    method, view = parse_method(name), make_view(make_net("test_resnet"), make_images())
    before = hooks(view.net)
    check_method(method, view, CLASSES, method.saliency(view, CLASSES), before=before)


NOTES = [None, None, Note(Kind.BLANK, "constant")]
WRONG = {
    "a dict": ({"overlap": torch.zeros(3)}, "gave a dict: it gives a Scores"),
    "notes": (Scores({"overlap": torch.zeros(3)}, NOTES[:2]), "2 notes for 3 images"),
    "words": (Scores({"overlap": torch.zeros(3)}, [None, None, "blank"]), "a note is 'blank': it is a salcheck.maps"),
    "images": (Scores({"overlap": torch.zeros(2)}, NOTES), r"overlap is \(2,\) for 3 images"),
    "levels": (Scores({"overlap": torch.zeros(3, 2)}, NOTES, [5.0]), "and 1 levels"),
    "metric": (Scores({"tied": torch.zeros(3)}, NOTES), "with overlap as the main one"),
    "unknown": (Scores({"overlap": torch.zeros(3), "x": torch.zeros(3)}, NOTES), "it scores overlap, x"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_scores_that_break_the_contract_are_one_line(kind):
    scores, says = WRONG[kind]
    with pytest.raises(SalcheckError, match=says) as caught:
        check_scores(find("rq1"), scores, 3)
    assert "\n" not in str(caught.value)


def test_scores_by_image_or_by_level_pass():
    check_scores(find("rq1"), Scores({"overlap": torch.zeros(3)}, NOTES), 3)
    check_scores(find("rq1"), Scores({"overlap": torch.zeros(3, 2), "tied": torch.zeros(3)}, NOTES, [5.0, 9.0]), 3)
