"""What tests of loading share: refused requests, and weights that fit the toy model and are not its own."""

import pytest
import torch

from salcheck.errors import SalcheckError
from salcheck.network.loading import load_model
from tests.nets import make_net


def refusal(arch, **options):
    """The one line that a wrong request ends in."""
    with pytest.raises(SalcheckError) as caught:
        load_model(arch, device="cpu", **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def other_weights(seed=1, classes=7):
    """A state dict that fits test_resnet and is none of the toy's."""
    net = make_net("test_resnet", classes)
    generator = torch.Generator().manual_seed(seed)
    state = {name: value.clone() for name, value in net.state_dict().items()}
    for name in [name for name in state if name.endswith("conv2.weight")]:
        state[name] = state[name] + 0.05 * torch.randn(state[name].shape, generator=generator)
    return state


def logits_with(state, images, classes=7):
    net = make_net("test_resnet", classes)
    net.load_state_dict(state)
    return net(images)
