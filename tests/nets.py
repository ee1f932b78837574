"""Tiny timm models with random weights, and views of random images, for tests that need no trained model."""

import copy

import timm
import torch
from timm.models._efficientnet_builder import decode_arch_def
from timm.models.mobilenetv3 import MobileNetV3
from timm.models.vgg import VGG

from salcheck.network.labels import Labels
from salcheck.network.layers import resolve_layer
from salcheck.network.view import FEATURES, View

# One of each kind of head and feature map: pooled + linear, pooled + norm, convolution after the features or after
# the pooling, two hidden layers, a bottleneck before the classifier, channels last, and tokens of which a head reads
# the class token, the mean of all patches, or what an attention of its own makes of them.
FAMILIES = {
    "test_resnet": {"zero_init_last": False},
    "test_convnext": {},
    "test_efficientnet": {},
    "test_vit": {},
    "test_vit2": {"depth": 2, "embed_dim": 32, "init_values": None, "img_size": 80},
    "test_vit3": {"depth": 2, "embed_dim": 32, "num_heads": 2, "init_values": None, "img_size": 80},
    "densenet121": {"growth_rate": 4, "block_config": (1, 1, 1, 1)},
    "swin_tiny_patch4_window7_224": {"embed_dim": 24, "depths": (1, 1), "num_heads": (2, 2), "img_size": 56},
    "vgg": {"cfg": [8, "M", 16, "M", 16, "M"], "norm_layer": torch.nn.BatchNorm2d, "mlp_ratio": 1 / 256},
    "mobilenetv3": {
        "block_args": decode_arch_def([["ds_r1_k3_s2_e1_c16_se0.25"], ["ir_r2_k3_s2_e3_c24"], ["cn_r1_k1_s1_c32"]]),
        "num_features": 24,
        "act_layer": torch.nn.Hardswish,
    },
}
UNREGISTERED = {"vgg": VGG, "mobilenetv3": MobileNetV3}  # the smallest that timm has a name for are far too large
SIDES = {"test_vit": 160, "test_vit2": 80, "test_vit3": 80, "test_efficientnet": 160, "test_convnext": 160}
HEADLESS = ("test_resnet", "test_convnext", "test_vit", "test_vit2")  # to be made with no classes: make_net(name, 0)


def make_net(name: str, classes: int = 7):
    torch.manual_seed(0)
    options = {"num_classes": classes, **copy.deepcopy(FAMILIES.get(name, {}))}  # timm takes block_args to pieces
    net = UNREGISTERED[name](**options) if name in UNREGISTERED else timm.create_model(name, **options)
    for module in net.modules():  # running statistics of zero mean and unit variance would hide mistakes
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 1.5)
    return net.eval().requires_grad_(False)


def make_images(count: int = 3, side: int = 56, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(seed))


def make_view(net, images: torch.Tensor, layer: str = FEATURES, seeds=None) -> View:
    labels = Labels([f"class {i}" for i in range(net.num_classes)])
    return View(net, layer, lambda: images, tuple(images.shape[-2:]), seeds or range(len(images)), labels)


def layer_of(net, images: torch.Tensor, layer: str = FEATURES) -> str:
    return resolve_layer(net, layer, tuple(images.shape[1:]))
