"""Table of models with a short name. Any timm name, `hf-hub:org/name` and `local-dir:PATH` work in its place."""

from dataclasses import dataclass
from pathlib import Path

ASSETS = Path(__file__).parents[1] / "assets"


@dataclass(frozen=True)
class Arch:
    """A timm model name with its weight tag, and the layer that a method's authors cut on it.

    The `features` layer needs no row: it is found on the model itself. `backbone`: self-supervised, made without
    classes. `published`: the file to give as --checkpoint, for weights that timm does not have.
    """

    model: str
    paper: str | None = None
    backbone: bool = False
    published: str | None = None


# Paper layers: of CASE for convnext, densenet, resnet and vgg, of DiffCAM for dino, inception and mocov3, of
# Libra-CAM for vgg16_bn.
ARCHS = {
    "convnext": Arch("convnext_large.fb_in1k", paper="stages.3.blocks.2.conv_dw"),
    "densenet": Arch("densenet201.tv_in1k", paper="features.denseblock4.denselayer32.conv2"),
    "densenet121": Arch("densenet121.tv_in1k"),
    "dino": Arch("vit_small_patch16_224.dino", paper="norm", backbone=True),
    "efficientnet": Arch("efficientnet_b0.ra_in1k"),
    "inception": Arch("inception_v3.tv_in1k", paper="Mixed_7c"),
    "mobilenet": Arch("mobilenetv2_100.ra_in1k"),
    "mocov3": Arch(
        "resnet50.tv_in1k",  # for its preprocessing, which is MoCo's
        paper="layer4",
        backbone=True,
        published="r-50-1000ep.pth.tar of github.com/facebookresearch/moco-v3",
    ),
    "puppets": Arch(f"local-dir:{ASSETS / 'puppets'}"),
    "resnet": Arch("resnet50.tv_in1k", paper="layer4.2.conv3"),
    "scenes": Arch(f"local-dir:{ASSETS / 'scenes'}"),
    "swin": Arch("swin_tiny_patch4_window7_224.ms_in1k"),
    "vgg": Arch("vgg19_bn.tv_in1k", paper="features.49"),
    "vgg16_bn": Arch("vgg16_bn.tv_in1k", paper="features.43"),
    "vit": Arch("vit_base_patch16_224.augreg_in21k_ft_in1k"),
    "vit_tiny": Arch("vit_tiny_patch16_224.augreg_in21k_ft_in1k"),
}


def paper_layers() -> dict[str, str]:
    """timm architecture (without its weight tag) to the layer that authors cut on its classifiers."""
    return {row.model.split(".")[0]: row.paper for row in ARCHS.values() if row.paper and not row.backbone}
