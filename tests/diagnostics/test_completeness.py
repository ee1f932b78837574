import pytest
import torch
from torch import nn

from salcheck.diagnostics import completeness
from salcheck.diagnostics.completeness import score
from salcheck.maps.notes import Kind, Note
from salcheck.methods import parse_method
from salcheck.naming import registry
from tests.held_out import held_out
from tests.linear import LinearNet, linear_view
from tests.nets import make_images, make_net, make_view

CLASSES = torch.tensor([[2], [5], [0]])
CLAIM = {"cam", "diffcam", "gradxinput", "hirescam", "integratedgradients"}


class Rectifiers(nn.Module):
    """A small network of ReLU layers, convolution and pooling, in double precision."""

    def __init__(self, biases: bool):
        super().__init__()
        torch.manual_seed(0)
        self.num_classes = 7
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, 2, bias=biases), nn.ReLU(), nn.MaxPool2d(2))
        self.head = nn.Sequential(
            nn.Flatten(), nn.Linear(72, 20, bias=biases), nn.ReLU(), nn.Linear(20, 7, bias=biases)
        )
        self.eval().requires_grad_(False)

    def forward_features(self, images):
        return self.body(images)

    def forward_head(self, features):
        return self.head(features)

    def forward(self, images):
        return self.forward_head(self.forward_features(images))


def asked(spec, view, references=None):
    """The diagnostic's scores of a method, as the engine calls it."""
    method = parse_method(spec)
    maps = method.saliency(view, CLASSES, references)
    told = lambda name, view, classes: method.told(name, view, classes, references)  # noqa: E731
    return score(view, CLASSES, maps, told=told)


def errors(spec, view, references=None):
    scores = asked(spec, view, references)
    assert scores.notes == [None] * len(view)
    return scores.values["error"]


@pytest.fixture(scope="module")
def pooled():
    net = make_net("test_resnet")
    net.get_classifier().bias.copy_(torch.linspace(-3, 4, 7))
    return net


@pytest.mark.parametrize("family", ["test_resnet", "densenet121", "swin_tiny_patch4_window7_224"])
@pytest.mark.parametrize("spec", ["cam", "hirescam"])
def test_class_activation_maps_are_complete_at_a_pooled_linear_head(family, spec):
    net = make_net(family)
    net.get_classifier().bias.copy_(torch.linspace(-3, 4, 7))
    view = make_view(net, make_images(3, 56 if family.startswith("swin") else 96))
    assert (errors(spec, view) < 1e-5).all()


@pytest.mark.oracle
def test_the_claims_of_cam_and_hirescam_in_plain_numpy(pooled):
    """cam: h w W z; hirescam: W z, with z the means and W the classifier's weights: scores without the bias."""
    view = make_view(pooled, make_images(3, 96))
    z = view.acts.double().mean((-2, -1))
    weights = pooled.get_classifier().weight.double()
    score_of = (z @ weights.T).gather(1, CLASSES)[:, 0]
    h, w = view.acts.shape[-2:]
    torch.testing.assert_close(asked("cam", view).values["total"], h * w * score_of, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(asked("hirescam", view).values["total"], score_of, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", ["vgg", "mobilenetv3", "test_convnext"])
def test_hirescam_promises_nothing_where_the_head_is_not_linear(family):
    scores = asked("hirescam", make_view(make_net(family), make_images(3, 160 if "conv" in family else 56)))
    assert scores.notes == [completeness.NO_CLAIM] * 3
    assert all(values.isnan().all() for values in scores.values.values())


def test_integrated_gradients_come_nearer_with_every_step():
    view = linear_view(Rectifiers(biases=True), 3 * make_images(3, 16))
    found = [errors(f"integratedgradients:steps={steps}", view).mean() for steps in (1, 8, 64, 512)]
    assert found[0] > 0.02
    assert found[3] < 0.002
    assert found == sorted(found, reverse=True)


@pytest.mark.parametrize("baseline", ["mean", "zero", "blur"])
def test_integrated_gradients_claim_the_change_from_their_own_baseline(baseline):
    """On a linear model one step is exact, for the claimed baseline and for no other."""
    net = LinearNet(torch.randn(7, 3, 32, 32, generator=torch.Generator().manual_seed(1)))
    view = linear_view(net, make_images(3, 32), normalisation=((0.5,) * 3, (0.25,) * 3))
    assert (errors(f"integratedgradients:steps=1,baseline={baseline}", view) < 1e-4).all()
    method = parse_method(f"integratedgradients:steps=1,baseline={baseline}")
    maps = method.saliency(view, CLASSES)
    for other in {"mean", "zero", "blur"} - {baseline}:
        told = parse_method(f"integratedgradients:baseline={other}").told
        assert score(view, CLASSES, maps, told=told).values["error"].min() > 1e-3


def test_gradient_times_input_is_complete_until_there_are_biases():
    images = make_images(3, 16)
    assert (errors("gradxinput", linear_view(Rectifiers(biases=False), images)) < 1e-4).all()
    assert errors("gradxinput", linear_view(Rectifiers(biases=True), images)).median() > 0.05


@pytest.mark.parametrize("group", ["knn", "others", "same"])
def test_centred_diffcam_sums_to_the_distance(pooled, tmp_path, group):
    view = make_view(pooled, make_images(3, 96))
    spec = f"diffcam:group={group},centred=true"
    references = held_out(pooled, parse_method(spec), tmp_path, 96)
    scores = asked(spec, view, references)
    assert (scores.values["error"] < 1e-4).all()
    assert (scores.values["total"] > 0).all()
    for other in (f"diffcam:group={group}", f"{spec},relu=true"):
        assert asked(other, view, references).notes == [completeness.NO_CLAIM] * 3


@pytest.mark.parametrize("name", sorted(CLAIM))
def test_several_classes_have_a_total_each(pooled, tmp_path, name):
    view, several = make_view(pooled, make_images(3, 96)), torch.tensor([[0, 3, 6], [1, 6, 2], [5, 2, 4]])
    method = parse_method({"diffcam": "diffcam:group=same,centred=true"}.get(name, name))
    references = held_out(pooled, method, tmp_path, 96)
    together = method.told("total", view, several, references)
    alone = [method.told("total", view, column[:, None], references) for column in several.T]
    torch.testing.assert_close(together, torch.cat(alone, dim=1), rtol=1e-4, atol=1e-4)


def test_who_claims_a_sum():
    """A ReLU or a min-max at the end undoes any sum: those methods claim none."""
    assert {name for name in registry.names("methods") if hasattr(parse_method(name).module, "total")} == CLAIM


@pytest.mark.oracle
def test_by_hand_on_2x2(pooled):
    """The map sums to 6: of 8 a quarter is missing, of -8 more than all; a total of 0 has no relative error."""
    view = make_view(pooled, make_images(4, 96))
    classes = torch.zeros(4, 1, dtype=torch.long)
    maps = torch.tensor([[3.0, 4.0], [-1.0, 0.0]]).expand(4, 1, 2, 2).clone()
    maps[3, 0, 0, 0] = torch.inf
    scores = score(view, classes, maps, told=lambda name, view, classes: torch.tensor([[8.0], [-8.0], [0.0], [1.0]]))
    assert scores.notes == [None, None, None, Note(Kind.BLANK, "not finite")]
    assert scores.values["error"][:2].tolist() == [0.25, 1.75]
    assert scores.values["error"][2:].isnan().all()
    assert scores.values["sum"][:3].tolist() == [6, 6, 6]
    assert scores.values["total"][:3].tolist() == [8, -8, 0]


def test_a_map_of_zeros_has_a_sum(pooled):
    view = make_view(pooled, make_images(3, 96))
    zeros = torch.zeros(3, 1, 2, 2)
    scores = score(view, CLASSES, zeros, told=lambda name, view, classes: torch.ones(3, 1))
    assert scores.notes == [None] * 3
    assert scores.values["error"].tolist() == [1, 1, 1]
