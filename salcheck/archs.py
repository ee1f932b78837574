"""Table of models with a short name. Any timm name, `hf-hub:org/name` and `local-dir:PATH` work in its place."""

from dataclasses import dataclass
from pathlib import Path

ASSETS = Path(__file__).parent / "assets"


@dataclass(frozen=True)
class Arch:
    """A timm model name with its weight tag, and the layer that the CASE authors cut (spec: 1.6).

    The `features` layer needs no row: it is found on the model itself.
    """

    model: str
    paper: str | None = None


ARCHS = {
    "convnext": Arch("convnext_large.fb_in1k", paper="stages.3.blocks.2.conv_dw"),
    "densenet": Arch("densenet201.tv_in1k", paper="features.denseblock4.denselayer32.conv2"),
    "inception": Arch("inception_v3.tv_in1k"),
    "mobilenet": Arch("mobilenetv2_100.ra_in1k"),
    "resnet": Arch("resnet50.tv_in1k", paper="layer4.2.conv3"),
    "scenes": Arch(f"local-dir:{ASSETS / 'scenes'}"),
    "vgg": Arch("vgg19_bn.tv_in1k", paper="features.49"),
    "vit": Arch("vit_base_patch16_224.augreg_in21k_ft_in1k"),
}


def paper_layers() -> dict[str, str]:
    """timm architecture (without its weight tag) to the layer its authors used."""
    return {row.model.split(".")[0]: row.paper for row in ARCHS.values() if row.paper}
