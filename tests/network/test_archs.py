import pytest
import timm
import torch

from salcheck.naming import registry
from salcheck.network.archs import ARCHS, paper_layers
from salcheck.network.layers import resolve_layer
from salcheck.network.view import FEATURES
from tests.nets import make_images, make_net, make_view

BUILT_IN = {name: row.model for name, row in ARCHS.items() if row.model.startswith("local-dir:")}
REMOTE = {name: row.model for name, row in ARCHS.items() if not row.model.startswith("local-dir:")}
# The shapes that the papers or their code give for one image; dino's 196 patches come after a class token.
PAPER = {
    "convnext": (1536, 7, 7),
    "densenet": (32, 7, 7),
    "dino": (197, 384),
    "inception": (2048, 8, 8),
    "mocov3": (2048, 7, 7),
    "resnet": (2048, 7, 7),
    "vgg": (512, 14, 14),
    "vgg16_bn": (512, 7, 7),
}
READ_BY_THE_HEAD = ("dino", "inception", "mocov3", "vgg16_bn")  # the others are convolutions further inside


@pytest.mark.parametrize("model", REMOTE.values(), ids=REMOTE)
def test_every_row_names_weights_that_timm_has(model):
    assert model in timm.list_pretrained()


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_built_in_model_knows_the_classes_of_the_dataset_of_its_name(name):
    model = timm.create_model(BUILT_IN[name], pretrained=True)
    assert tuple(model.pretrained_cfg["label_names"]) == registry.load("datasets", name).CLASSES
    assert model.pretrained_cfg["input_size"][1] == registry.load("datasets", name).SIZE


@pytest.mark.parametrize("name", [name for name in ARCHS if timm.is_model(name)])
def test_a_short_name_that_timm_has_too_is_that_architecture(name):
    assert ARCHS[name].model.split(".")[0] == name


@pytest.mark.parametrize("name", [name for name, row in ARCHS.items() if row.paper])
def test_the_paper_layer_has_the_papers_shape(name):
    row = ARCHS[name]
    kept = []
    with torch.device("meta"):
        net = timm.create_model(row.model, num_classes=0 if row.backbone else 1000).eval()
        layer = resolve_layer(net, "paper", (3, 224, 224), row.paper)
        net.get_submodule(layer).register_forward_hook(lambda module, args, out: kept.append(out))
        features = net.forward_features(torch.empty(1, *net.pretrained_cfg["input_size"]))
    assert [out.shape for out in kept] == [(1, *PAPER[name])]
    assert (kept[0] is features) == (name in READ_BY_THE_HEAD)


def test_classifiers_of_an_architecture_have_one_paper_layer_and_not_a_backbones():
    layers = paper_layers()
    for row in ARCHS.values():
        if row.paper:
            assert (layers.get(row.model.split(".")[0]) == row.paper) != row.backbone


@pytest.mark.parametrize(("name", "row"), [("test_resnet", "mocov3"), ("test_vit", "dino")])
def test_a_backbones_paper_layer_is_its_features(name, row):
    net, images = make_net(name, classes=0), make_images(side=160)
    features, paper = (make_view(net, images, layer) for layer in (FEATURES, ARCHS[row].paper))
    assert torch.equal(features.acts, paper.acts)
    assert torch.equal(features.prefix, paper.prefix)
