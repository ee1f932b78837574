import pytest
import torch

from salcheck.methods import layercam
from tests.methods.peers import peer_maps
from tests.nets import make_images, make_net, make_view

CLASSES = torch.tensor([[0, 3], [1, 6], [5, 5]])


@pytest.mark.oracle
def test_equals_the_grad_cam_package_at_an_inner_layer():
    net, images = make_net("test_resnet"), make_images(side=96)
    expected = peer_maps("LayerCAM", net, "layer3.0.conv2", images, CLASSES).clamp(min=0)
    assert expected.max() > 0
    assert torch.allclose(layercam.saliency(make_view(net, images, "layer3.0.conv2"), CLASSES), expected, atol=1e-6)
