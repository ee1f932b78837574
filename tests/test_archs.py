import pytest
import timm
import torch

from salcheck.archs import ARCHS, paper_layers
from salcheck.view import FEATURES

REMOTE = {name: row.model for name, row in ARCHS.items() if not row.model.startswith("local-dir:")}


@pytest.mark.parametrize("model", REMOTE.values(), ids=REMOTE)
def test_every_row_names_weights_that_timm_has(model):
    assert model in timm.list_pretrained()


@pytest.mark.parametrize(("architecture", "layer"), paper_layers().items())
def test_every_paper_layer_is_a_convolution_of_its_model(architecture, layer):
    with torch.device("meta"):
        net = timm.create_model(architecture)
    assert layer != FEATURES
    assert isinstance(net.get_submodule(layer), torch.nn.Conv2d)
