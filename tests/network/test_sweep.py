"""The short form of `make sweep`: small networks of each kind of head and grid, and the sweep's own lists."""

import tomllib

import pytest
import timm
from timm.models import _registry

from tests.network.sweep import FAMILIES, chosen, swept, tried

LINES = tomllib.loads(FAMILIES.read_text())

# Tokens with one and two class tokens, registers, attention that pools, blocks in parallel or in each other, channels
# last, tokens that are pooled on the way, images of any size, encoders without a head, several scales.
KINDS = {
    "deit_tiny_distilled_patch16_224 depth=2": "blocks.1.norm1",
    "efficientvim_m1 side=128": "norm.3",
    "qwen3_vit_88m_enc depth=1 side=96": "features",
    "levit_128s": "features",
    "mobilenetv3_small_050 side=128": "features",
    "naflexvit_base_patch16_map depth=1 side=96": "features",
    "pit_ti_distilled_224": "transformers.2.blocks.3.norm1",
    "resnet50_clip side=96": "features",
    "test_vit": "blocks.5.norm1",
    "test_vit2": "features",
    "tnt_s_patch16_224 depth=2": "blocks.1.norm_out",
    "vit_small_patch16_18x2_224 depth=2 img_size=96": "blocks.1.attns.1.norm",
}


@pytest.mark.parametrize("model", KINDS)
def test_every_kind_of_network_is_cut_well(model):
    row = tried("", model)
    assert row.good, row
    assert row.layer == KINDS[model]
    assert bool(row.said) == model.startswith("efficientvim")


def test_every_family_of_timm_is_in_the_list_or_gets_a_model():
    there = {_registry._model_to_module[name] for name in timm.list_models()}
    assert {family for family, _ in chosen(dict(LINES), [])} >= there
    assert "newer" in chosen({**LINES, "newer": ["test_vit"]}, ["newer"])[0]
    some = chosen(dict(LINES), ["levit resnet18"])
    assert some == [("levit", "levit_128s"), ("levit", "levit_256d"), ("resnet", "resnet18")]
    with pytest.raises(SystemExit, match="no family or model 'levitt'"):
        chosen(dict(LINES), ["levitt"])


def test_a_network_that_raises_is_a_row():
    (row,) = swept([("vision_transformer", "test_vit depth=-1")])
    assert row.said.startswith("cannot be made: ")
    assert not row.good
