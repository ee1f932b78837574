import pytest
import timm
import torch

from salcheck.errors import SalcheckError
from salcheck.network.grid import Layout, layout_of
from salcheck.network.view import FEATURES
from tests.nets import SIDES, layer_of, make_images, make_net, make_view


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((2, 5, 4, 6), Layout("channels first", (4, 6))),
        ((2, 4, 6, 5), Layout("channels last", (4, 6))),
        ((2, 24, 5), Layout("tokens", (4, 6))),
        ((2, 25, 5), Layout("tokens", (4, 6), 1)),
        ((2, 5, 6, 4), None),
        ((2, 23, 5), None),
        ((2, 24), None),
    ],
)
def test_a_shape_is_read_by_the_proportions_of_the_images(shape, expected):
    layout, raw = layout_of(shape, (64, 96), object()), torch.randn(shape)
    assert layout == expected
    if layout:
        acts = layout.grid(raw)
        assert acts.shape == (2, 5, 4, 6)
        assert torch.equal(layout.ungrid(acts, raw), raw)
        assert layout.ungrid(acts, raw).data_ptr() != raw.data_ptr()


def test_tokens_and_channels_last_become_the_grid_they_are():
    vit = make_net("test_vit")
    images = make_images(side=160)
    view = make_view(vit, images, layer_of(vit, images))
    assert view.acts.shape[-2:] == vit.patch_embed.grid_size
    swin = make_net("swin_tiny_patch4_window7_224")
    images = make_images()
    view = make_view(swin, images)
    assert torch.equal(view.acts, swin.forward_features(images).permute(0, 3, 1, 2))


def test_tokens_of_an_image_that_is_not_square_are_in_its_rows():
    vit, images = make_net("test_vit"), make_images(side=160)[..., :96]
    kept = []
    vit.blocks[5].norm1.register_forward_hook(lambda module, args, out: kept.append(out))
    view = make_view(vit, images, "blocks.5.norm1")
    assert view.acts.shape[-2:] == (10, 6)
    for i, j in [(0, 5), (9, 0), (3, 2)]:
        assert torch.equal(view.acts[..., i, j], kept[0][:, 1 + 6 * i + j])
    assert torch.equal(view.prefix, kept[0][:, :1])
    assert torch.allclose(view.head(view.acts), view.logits, atol=1e-5)


@pytest.mark.parametrize("name", ["test_vit", "test_vit3"])  # one has a grid there, the other tokens
def test_patches_before_other_tokens_join_them_have_no_prefix(name):
    vit, images = make_net(name), make_images(side=SIDES[name])
    view = make_view(vit, images, "patch_embed")
    patches = vit.patch_embed(images)
    assert torch.equal(view.acts.flatten(2).mT, patches.reshape(3, -1, vit.embed_dim))
    assert view.prefix.shape == (3, 0, vit.embed_dim)
    assert torch.allclose(view.head(view.acts), view.logits, atol=1e-5)


def test_registers_come_before_the_grid_too():
    vit = timm.create_model("test_vit", num_classes=7, depth=1, reg_tokens=4).eval()
    view = make_view(vit, make_images(side=160), "blocks.0.norm1")
    assert view.prefix.shape == (3, 5, 64)
    assert view.acts.shape == (3, 64, 10, 10)


def test_a_token_is_seen_that_the_model_does_not_name():
    """PiT, VOLO and CoaT have no `num_prefix_tokens`."""
    vit, images = make_net("test_vit3"), make_images(side=80)
    named = make_view(vit, images, "blocks.1.norm1")
    acts, prefix = named.acts, named.prefix
    vit.num_prefix_tokens = 0
    unnamed = make_view(vit, images, "blocks.1.norm1")
    assert prefix.shape == (3, 1, 32)
    assert torch.equal(unnamed.acts, acts)
    assert torch.equal(unnamed.prefix, prefix)


def test_channels_are_told_from_rows_layer_by_layer():
    convnext, swin = make_net("test_convnext"), make_net("swin_tiny_patch4_window7_224")
    inner = make_view(convnext, make_images(side=160), "stages.1.blocks.0.norm")  # channels last in a net that is not
    assert inner.acts.shape[1] == convnext.stages[1].blocks[0].norm.normalized_shape[0]
    patches = make_view(swin, make_images(), "patch_embed.proj")  # channels first in a net that is not
    assert patches.acts.shape[1] == swin.patch_embed.proj.out_channels
    for view in (inner, patches):
        assert torch.allclose(view.head(view.acts), view.logits, atol=1e-5)


@pytest.mark.parametrize(("name", "layer"), [("swin_tiny_patch4_window7_224", "layers.0.blocks.0.attn")])
def test_windows_are_no_images(name, layer):
    with pytest.raises(SalcheckError, match=r"gives .12, 49, 24., no feature maps: .* a module of patch_embed, layers"):
        make_view(make_net(name), make_images(side=56)[:, :, :56, :56], layer).acts  # noqa: B018


@pytest.mark.parametrize(
    ("features", "says"),
    [
        (lambda maps: [maps, maps], "gives a list, no feature maps"),
        (lambda maps: maps.flatten(2).mT[:, :1], r"gives \(3, 1, 96\), no feature maps"),
        (lambda maps: maps.flatten(2).mT[:, :3], r"gives \(3, 3, 96\), no feature maps"),
        (lambda maps: maps.mean(dim=(-2, -1)), r"gives \(3, 96\), no feature maps"),
    ],
    ids=["several scales", "class token alone", "no rectangle", "pooled"],
)
def test_features_that_are_no_maps_are_told_the_models_modules(features, says):
    net = make_net("test_resnet")
    whole = net.forward_features
    net.forward_features = lambda images: features(whole(images))
    with pytest.raises(SalcheckError, match=f"{says}.*a module of conv1, "):
        make_view(net, make_images(), FEATURES).acts  # noqa: B018
