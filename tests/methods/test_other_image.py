import pytest
import torch

from salcheck.errors import SalcheckError
from salcheck.methods import other_image, parse_method
from tests.methods.conftest import CLASSES
from tests.nets import make_images, make_view

GALLERY = torch.arange(5.0)[:, None, None].expand(5, 4, 4) + torch.rand(4, 4)


def drawn(net, seeds, classes=CLASSES, gallery=GALLERY):
    """Which of the gallery's maps each pair has, (B, M)."""
    view = make_view(net, make_images(len(seeds), 32), seeds=seeds)
    maps = other_image.saliency(view, classes, reference={"gallery": gallery})
    equal = (maps[:, :, None] == gallery).flatten(-2).all(-1)
    assert (equal.sum(-1) == 1).all()
    return equal.int().argmax(-1)


@pytest.mark.oracle
def test_maps_are_those_of_the_gallery_each_as_often_as_the_others(net):
    classes = torch.arange(7).expand(100, 7)
    counts = drawn(net, range(100), classes).flatten().bincount(minlength=5)
    assert counts.sum() == 700
    assert (counts - 140).abs().max() < 45  # four standard deviations


def test_image_class_and_seed_decide_and_nothing_else(net):
    classes = torch.arange(6).expand(3, 6)
    one = drawn(net, [1, 2, 3], classes)
    assert torch.equal(one, drawn(net, [1, 2, 3], classes))
    assert torch.equal(one[1:2, 4:5], drawn(net, [2], classes[:1, 4:5]))
    assert not torch.equal(one, drawn(net, [4, 5, 6], classes))
    assert len({tuple(row) for row in one.tolist()}) == 3
    assert all(len(set(row)) > 1 for row in one.tolist())


def test_without_another_image_it_says_so(net):
    with pytest.raises(SalcheckError, match="none was read, give others with --reference"):
        drawn(net, [0], CLASSES[:1], torch.zeros(0, 1, 1))


def test_it_is_a_control_that_needs_held_out_images_and_the_seed():
    method = parse_method("other-image")
    assert method.control and method.seeded
    assert [need.key for need in method.needs] == ["gallery"]
