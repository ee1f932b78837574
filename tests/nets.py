"""Tiny timm models with random weights, and views of random images, for tests that need no trained model."""

import timm
import torch

from salcheck.labels import Labels
from salcheck.view import FEATURES, View

# One of each kind of head and feature map: pooled + linear, pooled + norm, convolution after the features,
# two hidden layers, a bottleneck before the classifier, channels last, tokens with and without a class token.
FAMILIES = {
    "test_resnet": {"zero_init_last": False},
    "test_convnext": {},
    "test_efficientnet": {},
    "test_vit": {},
    "densenet121": {"growth_rate": 4, "block_config": (1, 1, 1, 1)},
    "swin_tiny_patch4_window7_224": {"embed_dim": 24, "depths": (1, 1), "num_heads": (2, 2), "img_size": 56},
}
SIDES = {"test_vit": 160, "test_efficientnet": 160, "test_convnext": 160}


def make_net(name: str, classes: int = 7):
    torch.manual_seed(0)
    net = timm.create_model(name, num_classes=classes, **FAMILIES.get(name, {}))
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
