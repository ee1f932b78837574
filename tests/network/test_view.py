import pytest
import torch

from salcheck.errors import SalcheckError
from salcheck.network.view import FEATURES
from tests.nets import FAMILIES, HEADLESS, SIDES, layer_of, make_images, make_net, make_view

INNER = {
    "test_resnet": "layer3.0.conv2",  # an in-place ReLU comes after its batch norm
    "test_convnext": "stages.2",
    "test_efficientnet": "blocks.2",
    "densenet121": "features.denseblock2",
    "vgg": "features.3",
    "mobilenetv3": "blocks.1",
}
CUTS = [(name, FEATURES) for name in FAMILIES] + list(INNER.items())


def full_backward(net, module, images, classes):
    """Logits and gradients at a module's output by PyTorch's own retain_grad through the whole network."""
    kept = []

    def keep(_, __, out):
        out = out.clone().requires_grad_() if not out.requires_grad else out.clone()
        out.retain_grad()
        kept.append(out)
        return out.clone()

    handle = module.register_forward_hook(keep)
    logits = net(images.clone().requires_grad_())
    handle.remove()
    grads = []
    for column in classes.T:
        kept[0].grad = None
        logits.gather(1, column[:, None]).sum().backward(retain_graph=True)
        grads.append(kept[0].grad.clone())
    return logits.detach(), kept[0].detach(), torch.stack(grads, dim=1)


@pytest.mark.parametrize(("name", "layer"), CUTS)
def test_the_cut_changes_no_logit_and_its_head_gives_them_again(name, layer):
    net, images = make_net(name), make_images(side=SIDES.get(name, 56))
    view = make_view(net, images, layer_of(net, images, layer))
    assert torch.equal(view.logits, net(images))
    assert torch.allclose(view.head(view.acts), view.logits, atol=1e-5)
    rows = torch.tensor([2, 0, 2])
    assert torch.allclose(view.head(view.acts[rows], rows), view.logits[rows], atol=1e-5)
    assert view.acts.dim() == 4


@pytest.mark.parametrize(("name", "layer"), INNER.items())
def test_gradients_equal_a_full_backward(name, layer):
    net, images = make_net(name), make_images(side=SIDES.get(name, 56))
    classes = torch.tensor([[0, 3], [1, 6], [5, 5]])
    view = make_view(net, images, layer)
    logits, acts, grads = full_backward(net, net.get_submodule(layer), images, classes)
    assert torch.allclose(view.logits, logits, atol=1e-5)
    assert torch.allclose(view.acts, acts, atol=1e-5)
    assert grads.abs().max() > 0
    assert torch.allclose(view.grads(classes), grads, atol=1e-6)


def test_at_a_pooled_linear_head_the_gradient_is_the_classifier_row_over_the_grid():
    net = make_net("test_resnet")
    view = make_view(net, make_images(side=96))
    classes = torch.tensor([[0, 3], [1, 6], [5, 2]])
    h, w = view.acts.shape[-2:]
    expected = net.fc.weight[classes] / (h * w)
    assert torch.allclose(view.grads(classes), expected[..., None, None].expand(3, 2, -1, h, w), atol=1e-7)


@pytest.mark.parametrize("name", HEADLESS)
def test_a_model_without_classes_gives_its_features_and_refuses_scores(name):
    net, images = make_net(name, classes=0), make_images(side=SIDES.get(name, 56))
    view = make_view(net, images, layer_of(net, images))
    features = net.forward_features(images)
    tokens = features.shape[1] - view.prefix.shape[1]
    assert torch.equal(view.acts.flatten(2), (features[:, -tokens:].mT if features.dim() == 3 else features).flatten(2))
    assert view.prefix.shape == (3, getattr(net, "num_prefix_tokens", 0), net.num_features)
    for ask in (lambda: view.logits, lambda: view.grads(torch.zeros(3, 1, dtype=torch.long))):
        with pytest.raises(SalcheckError, match="no classes"):
            ask()


@pytest.mark.parametrize("name", FAMILIES)
def test_nothing_is_left_behind(name):
    net, images = make_net(name), make_images(side=SIDES.get(name, 56))
    view = make_view(net, images, layer_of(net, images))
    assert view.grads(torch.tensor([[0, 1]] * 3)).abs().max() > 0
    assert not any(module._forward_hooks for module in net.modules())
    assert not images.requires_grad
    assert all(p.grad is None and not p.requires_grad for p in net.parameters())


@pytest.mark.parametrize("name", ["test_resnet", "test_convnext", "test_vit"])
def test_an_image_does_not_depend_on_its_batch_nor_a_class_on_the_others(name):
    net, images = make_net(name), make_images(side=SIDES.get(name, 56))
    layer = layer_of(net, images)
    classes = torch.tensor([[0, 3, 6], [1, 6, 2], [5, 2, 4]])
    together = make_view(net, images, layer).grads(classes)
    alone = make_view(net, images[1:2], layer).grads(classes[1:2, 1:2])
    assert torch.allclose(together[1:2, 1:2], alone, atol=1e-6)


def test_vjp_is_linear_in_its_weights():
    view = make_view(make_net("test_convnext"), make_images(side=160))
    classes = torch.tensor([[0, 3], [1, 6], [5, 2]])
    mean = torch.nn.functional.one_hot(classes, 7).float().mean(dim=1, keepdim=True)
    assert torch.allclose(view.vjp(mean)[:, 0], view.grads(classes).mean(dim=1), atol=1e-6)


def test_the_forward_runs_once_and_only_when_asked_for():
    net, images = make_net("test_resnet"), make_images()
    runs = []
    net.conv1.register_forward_hook(lambda *_: runs.append(1))
    view = make_view(net, images)
    assert view.size == (56, 56)
    assert not runs
    view.grads(torch.zeros(3, 2, dtype=torch.long))
    view.head(view.acts)
    assert (len(view.logits), len(runs)) == (3, 1)


def test_noise_belongs_to_image_and_class():
    net, images = make_net("test_resnet"), make_images()
    noise = make_view(net, images, seeds=[11, 12, 13]).uniform(torch.tensor([[0, 1], [0, 1], [1, 0]]), (4, 4))
    again = make_view(net, images[2:], seeds=[13]).uniform(torch.tensor([[0]]), (4, 4))
    assert torch.equal(noise[2, 1], again[0, 0])
    assert len({tuple(one.flatten().tolist()) for one in noise.flatten(0, 1)}) == 6


@pytest.mark.parametrize(
    ("layer", "says"),
    [("fc", "no feature maps"), ("head_that_is_not_run", "does not run"), ("shared", "more than once")],
)
def test_a_layer_that_cannot_be_cut_is_one_line(layer, says):
    net = make_net("test_resnet")
    net.head_that_is_not_run = torch.nn.Identity()
    net.shared = net.layer1[0].act2
    net.layer2[0].act2 = net.shared
    with pytest.raises(SalcheckError, match=says):
        make_view(net, make_images(), layer).logits  # noqa: B018


def test_a_layer_that_no_logit_depends_on_is_one_line():
    net = make_net("test_resnet")
    net.aside = torch.nn.Conv2d(3, 4, 1)

    def run_aside(module, args):
        module.aside(args[0])

    net.register_forward_pre_hook(run_aside)
    with pytest.raises(SalcheckError, match="no logit depends"):
        make_view(net, make_images(), "aside").grads(torch.zeros(3, 1, dtype=torch.long))


# The smallest of many families that have no tiny one, made as timm makes them. Multi-scale models (CoaT, CrossViT)
# are cut in one of their branches.
OTHERS = [
    ("cait_xxs24_224", "blocks_token_only.1.norm1", (192, 14, 14)),
    ("coat_tiny", "serial_blocks4.1.norm1", (152, 7, 7)),
    ("crossvit_tiny_240", "blocks.2.fusion.1.norm1", (96, 20, 20)),
    ("convit_tiny", "blocks.11.norm1", (192, 14, 14)),
    ("deit_tiny_distilled_patch16_224", "blocks.11.norm1", (192, 14, 14)),
    ("edgenext_xx_small", FEATURES, (168, 8, 8)),
    ("efficientformer_l1", FEATURES, (448, 7, 7)),
    ("gmlp_ti16_224", FEATURES, (128, 14, 14)),
    ("inception_v3", FEATURES, (2048, 8, 8)),
    ("levit_128s", FEATURES, (384, 4, 4)),
    ("mobilevit_xxs", FEATURES, (320, 8, 8)),
    ("pit_ti_224", "transformers.2.blocks.3.norm1", (256, 7, 7)),
    ("pvt_v2_b0", FEATURES, (256, 7, 7)),
    ("starnet_s050", FEATURES, (128, 7, 7)),
    ("vit_tiny_patch16_dinov3_qkvb", FEATURES, (192, 16, 16)),
    ("xcit_nano_12_p16_224", "cls_attn_blocks.1.norm1", (128, 14, 14)),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "layer", "shape"), OTHERS)
def test_other_families_are_cut_where_their_head_reads(name, layer, shape):
    net = make_net(name)
    generator = torch.Generator().manual_seed(0)
    for weight in net.parameters():  # residual branches that start at zero would hide what they read
        weight.add_(0.02 * torch.randn(weight.shape, generator=generator))
    images = make_images(2, net.pretrained_cfg["input_size"][-1])
    view = make_view(net, images, layer_of(net, images))
    assert layer_of(net, images) == layer
    assert view.acts.shape == (2, *shape)
    assert torch.equal(view.logits, net(images))
    assert torch.allclose(view.head(view.acts), view.logits, atol=1e-4 * view.logits.abs().max())
    grads = view.grads(torch.tensor([[0, 3], [1, 6]]))
    assert grads.isfinite().all()
    assert (grads.abs().amax(dim=2) > 0).all()  # every position is read


@pytest.mark.parametrize(
    ("name", "layer", "once"),
    [
        ("test_resnet", "layer3.0.conv2", True),
        ("test_vit", "blocks.5.norm1", True),
        ("test_convnext", "stages.2.blocks.0.conv_dw", True),
        ("densenet121", "features.denseblock2.denselayer1.conv2", False),  # it is concatenated with what goes around
    ],
)
def test_many_changed_acts_of_one_image_run_the_part_before_the_layer_once(name, layer, once):
    net, images = make_net(name), make_images(side=SIDES.get(name, 96))
    layer = layer if layer in dict(net.named_modules()) else layer_of(net, images)
    view = make_view(net, images, layer)
    acts = view.acts[[1]] * torch.linspace(0, 2, 6)[:, None, None, None]
    one_by_one = torch.cat([view.head(row[None], torch.tensor([1])) for row in acts])
    view.head(acts, torch.ones(6, dtype=torch.long))  # finds out whether it can
    sizes = []
    first = next(module for module in net.modules() if isinstance(module, torch.nn.Conv2d))
    handle = first.register_forward_hook(lambda module, args, out: sizes.append(len(out)))
    together = view.head(acts, torch.ones(6, dtype=torch.long))
    mixed = view.head(acts[:2], torch.tensor([1, 1]))
    handle.remove()
    assert torch.allclose(together, one_by_one, atol=1e-5)
    assert torch.allclose(mixed, one_by_one[:2], atol=1e-5)
    assert together.std(0).max() > 0
    assert sizes == ([1, 1] if once else [6, 2])
