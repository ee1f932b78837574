import pytest
import torch

from salcheck.errors import SalcheckError
from salcheck.network.layers import resolve_layer
from salcheck.network.loading import load_model
from salcheck.network.view import FEATURES
from tests.nets import SIDES, layer_of, make_images, make_net


@pytest.mark.parametrize(
    ("layer", "says"),
    [
        ("layr4", "did you mean layer4"),
        ("Features", "did you mean features"),
        ("", "unknown layer"),
        ("paper", "no paper layer for 'test_resnet': there is one for .*resnet50"),
    ],
)
def test_an_unknown_layer_is_told_the_nearest(toy, layer, says):
    with pytest.raises(SalcheckError, match=says):
        load_model(toy, layer=layer, device="cpu")


def test_the_papers_layer_is_known_to_weights_from_elsewhere(resnet50):
    model = load_model(resnet50.arch, layer="paper", device="cpu")
    assert model.layer == "layer4.2.conv3"


@pytest.mark.parametrize(
    ("name", "layer"), [("test_vit", "blocks.5.norm1"), ("test_vit2", FEATURES), ("test_vit3", FEATURES)]
)
def test_the_features_of_tokens_are_what_the_head_reads_patches_from(name, layer):
    images = make_images(1, SIDES[name])
    assert layer_of(make_net(name), images) == layer
    assert layer_of(make_net(name, 0), images) == FEATURES


def test_a_model_whose_head_is_not_found_is_told_its_modules():
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Flatten())
    net.num_classes = 4
    with pytest.raises(SalcheckError, match=r"head begins: name a --layer below 0, 1$"):
        resolve_layer(net, FEATURES, (3, 8, 8))


def test_features_that_are_no_grid_are_told_a_layer_that_is():
    net = make_net("test_resnet")
    features, head = net.forward_features, net.forward_head
    net.forward_features = lambda images: [features(images)]
    net.forward_head = lambda maps: head(maps[0])
    with pytest.raises(SalcheckError, match=r"'features' of this model gives no feature maps: .* --layer layer4$"):
        layer_of(net, make_images(1))


def test_a_head_that_reads_a_class_token_is_seen_without_being_told():
    net = make_net("test_vit")
    net.global_pool = "its own"
    net.forward_head = lambda tokens: net.head(tokens[:, 0])
    assert layer_of(net, make_images(1, SIDES["test_vit"])) == "blocks.5.norm1"


def test_a_layer_of_a_usual_name_that_is_not_read_is_passed_over():
    net = make_net("test_vit")
    net.blocks[5].attn.proj.weight.zero_()  # no patch reaches the class token there
    assert layer_of(net, make_images(1, SIDES["test_vit"])) == "blocks.4.norm1"


def test_images_that_a_model_cannot_read_are_one_line():
    with pytest.raises(SalcheckError, match="cannot read images of 3x50x50: "):
        layer_of(make_net("test_vit"), make_images(1, 50))
