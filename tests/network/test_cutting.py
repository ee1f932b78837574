"""The measure of cuts itself: it sees a grid in another order, logits that differ, cells that no head reads."""

import pytest
import torch

from tests.nets import make_net
from tests.network.cutting import Cut, enliven, following, measure, view_of

SIZE = (160, 160)


def windows(acts, side=5):
    """Cells window by window, as they stand within attention, read row by row."""
    B, C, h, w = acts.shape
    parts = acts.view(B, C, h // side, side, w // side, side).permute(0, 1, 2, 4, 3, 5)
    return parts.reshape(B, C, h, w)


ORDERS = {
    "as it is": (lambda acts: acts, True),
    "shifted by a corner": (lambda acts: torch.nn.functional.avg_pool2d(acts, 2, 1), True),
    "transposed": (lambda acts: acts.mT, False),
    "upside down": (lambda acts: acts.flip(-2), False),
    "in windows": (windows, False),
    "shuffled": (lambda acts: acts.flatten(2)[..., torch.arange(100) * 37 % 100].unflatten(2, (10, 10)), False),
}


@pytest.mark.parametrize(
    ("name", "order"),
    [*(("test_vit", order) for order in ORDERS), ("test_resnet", "as it is"), ("test_resnet", "transposed")],
)
def test_a_grid_in_another_order_is_seen(name, order):
    net = enliven(make_net(name), SIZE)
    layer = {"test_vit": "blocks.5.norm1", "test_resnet": "layer3"}[name]
    change, follows = ORDERS[order]
    near, rank = following(lambda images: change(view_of(net, layer, images).acts), SIZE)
    assert Cut((1, 1, 1), 0, 0, 1, near, rank).aligned == follows


def test_a_layer_that_the_head_does_not_read_and_other_logits_are_seen():
    net = enliven(make_net("test_vit"), SIZE)
    cut = measure(net, "blocks.5.norm2", SIZE)
    assert cut.read == 0
    assert not cut.whole
    assert measure(net, "blocks.5.norm1", SIZE).whole
    whole = net.forward_head
    net.forward_head = lambda features: whole(features) + features.mean()
    assert measure(net, "blocks.5.norm1", SIZE).exact
    net.norm.register_forward_hook(lambda module, args, out: out + torch.rand(()))
    assert not measure(net, "blocks.5.norm1", SIZE).exact
