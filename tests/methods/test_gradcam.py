import pytest
import torch

from salcheck.methods import gradcam
from tests.methods.peers import peer_maps
from tests.nets import make_images, make_net, make_view

CLASSES = torch.tensor([[0, 3], [1, 6], [5, 5]])


@pytest.mark.oracle
def test_equals_the_grad_cam_package_at_an_inner_layer():
    net, images = make_net("test_resnet"), make_images(side=96)
    expected = peer_maps("GradCAM", net, "layer3.0.conv2", images, CLASSES).clamp(min=0)
    assert expected.max() > 0
    assert torch.allclose(gradcam.saliency(make_view(net, images, "layer3.0.conv2"), CLASSES), expected, atol=1e-6)


def test_equals_the_class_activation_map_at_a_pooled_linear_head(scenes_model):
    images = make_images(side=scenes_model.size[0])
    view = make_view(scenes_model.net, images)
    h, w = view.acts.shape[-2:]
    cam = torch.einsum("bmc,bchw->bmhw", scenes_model.net.get_classifier().weight[CLASSES], view.acts) / (h * w)
    assert torch.allclose(gradcam.saliency(view, CLASSES), cam.clamp(min=0), atol=1e-6)
