import pytest
import torch

from salcheck.methods import layercam
from tests.methods.peers import peer_maps
from tests.nets import make_images, make_net, make_view

CLASSES = torch.tensor([[0, 3], [1, 6], [5, 5]])


@pytest.mark.oracle
@pytest.mark.parametrize(("layer", "signed"), [("layer3.0.conv2", False), ("layer1.0.conv2", True)])
def test_equals_the_grad_cam_package_at_an_inner_layer(layer, signed):
    net, images = make_net("test_resnet"), make_images(side=96)
    raw = peer_maps("LayerCAM", net, layer, images, CLASSES)
    assert bool((raw < -0.1 * raw.max()).any()) == signed  # only there the last ReLU does something
    expected = raw.clamp(min=0)
    maps = layercam.saliency(make_view(net, images, layer), CLASSES)
    assert torch.allclose(maps, expected, atol=1e-5 * float(expected.max()))
