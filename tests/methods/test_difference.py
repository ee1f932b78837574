"""The plain difference against the grad-cam package, CAM, CASE, Finer-CAM and its sum; and who is whose rival."""

from types import SimpleNamespace

import pytest
import torch

from salcheck.methods import difference, finercam, parse_method
from salcheck.methods._rivals import rivals
from salcheck.network.labels import Labels
from tests.methods.conftest import CLASSES, LAYER
from tests.methods.peers import peer_maps
from tests.nets import make_view


def likeliest(view, b, u):
    """The other class with the highest logit, in plain Python."""
    return max((v for v in range(7) if v != u), key=lambda v: float(view.logits[b, v]))


def test_of_two_classes_each_is_the_other_s_rival(net, images):
    assert rivals(make_view(net, images), CLASSES).tolist() == [[3, 0], [6, 1], [2, 5]]


def test_of_any_other_number_the_rival_is_the_likeliest_other_class(net, images):
    view = make_view(net, images + 3 * torch.tensor([-1.0, 0, 1])[:, None, None, None])
    for count in (1, 3, 7):
        classes = torch.stack([torch.arange(7).roll(b)[:count] for b in range(3)])
        expected = [[likeliest(view, b, u) for u in row] for b, row in enumerate(classes.tolist())]
        assert rivals(view, classes).tolist() == expected
    assert len({likeliest(view, b, u) for b in range(3) for u in range(7)}) > 1


@pytest.mark.oracle
def test_equals_the_grad_cam_package_differentiating_the_difference(net, images):
    rival = {(b, u): v for b, (u, v) in enumerate(CLASSES.tolist())}
    rival |= {(b, v): u for b, (u, v) in enumerate(CLASSES.tolist())}
    target = lambda b, u: lambda logits: logits[..., u] - logits[..., rival[b, u]]  # noqa: E731
    expected = peer_maps("GradCAM", net, LAYER, images, CLASSES, target)
    maps = difference.saliency(make_view(net, images, LAYER), CLASSES)
    assert expected.min() < 0 < expected.max()
    assert torch.allclose(maps, expected, atol=1e-4 * float(expected.max()))


def test_against_one_another_two_classes_have_opposite_maps(net, images):
    view = make_view(net, images, LAYER)
    maps = difference.saliency(view, CLASSES)
    assert torch.allclose(maps[:, 0], -maps[:, 1], atol=1e-7)
    assert torch.equal(difference.saliency(view, CLASSES.flip(1)), maps.flip(1))


def test_is_cam_of_the_difference_of_rows_at_a_pooled_linear_head(net, images):
    view = make_view(net, images)
    u, v = CLASSES.T
    rows = (net.fc.weight[u] - net.fc.weight[v]).double()
    expected = torch.einsum("bc,bchw->bhw", rows, view.acts.double()) / view.acts[0, 0].numel()
    maps = difference.saliency(view, CLASSES)[:, 0].double()
    assert expected.abs().max() > 1e-4
    assert torch.allclose(maps, expected, atol=1e-5 * float(expected.abs().max()))


def test_sums_to_the_difference_of_the_logits_but_for_the_biases(net, images):
    view = make_view(net, images)
    total = (view.logits - net.fc.bias).gather(1, CLASSES)
    assert torch.allclose(difference.saliency(view, CLASSES)[:, 0].sum((-2, -1)), total[:, 0] - total[:, 1], atol=1e-5)


def test_its_positive_part_is_case_without_projection_and_finer_cam_against_the_rival_alone(net, images):
    view, alone = make_view(net, images, LAYER), CLASSES[:, :1]
    case = parse_method("case:contrast=logits,subtract=difference")
    maps = difference.saliency(view, alone)
    assert torch.allclose(maps.clamp(min=0), case.saliency(view, alone, {}), atol=1e-7)
    finer = finercam.saliency(view, CLASSES, gamma=1, rivals="pair")
    assert torch.allclose(difference.saliency(view, CLASSES).clamp(min=0), finer, atol=1e-7)
    assert finer.max() > 0


def test_a_model_of_one_class_has_nothing_to_compare(net):
    assert "has one" in difference.unfit(SimpleNamespace(net=net, labels=Labels(["a"])))
    assert difference.unfit(SimpleNamespace(net=net, labels=Labels(["a", "b"]))) is None


@pytest.mark.parametrize(
    ("spec", "paired"),
    [
        ("difference", True),
        ("scout", True),
        ("goyal", True),
        ("finercam", False),
        ("finercam:rivals=pair", True),
        ("diffcam", False),
        ("diffcam:group=pair", True),
    ],
)
def test_a_method_says_whether_its_maps_depend_on_the_pair(spec, paired):
    method = parse_method(spec)
    assert method.module.paired(**method.parameters) == paired
