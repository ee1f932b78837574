"""The gallery against Grad-CAM asked for image by image."""

from types import SimpleNamespace

import numpy as np
import torch

from salcheck.datasets import Item
from salcheck.methods import gradcam
from salcheck.references import gallery
from tests.nets import make_images, make_net, make_view

LAYER = "layer3.0.conv2"


def collected(net, images, tmp_path, batch):
    collector = gallery.collect(SimpleNamespace(net=net), len(images), tmp_path)
    for start in range(0, len(images), batch):
        part = images[start : start + batch]
        collector.add(make_view(net, part, LAYER), [Item(str(start + row)) for row in range(len(part))])
    return gallery.restore(collector.arrays())


def test_each_map_is_grad_cam_for_the_image_s_own_prediction(tmp_path):
    net, images = make_net("test_resnet"), make_images(9, 96, seed=3)
    images += 3 * torch.randn(9, 3, 1, 1, generator=torch.Generator().manual_seed(1))
    maps = collected(net, images, tmp_path, 4)
    predicted = net(images).argmax(-1)
    assert len(predicted.unique()) > 1
    for image, u, one in zip(images, predicted, maps, strict=True):
        expected = gradcam.saliency(make_view(net, image[None], LAYER), u[None, None])[0, 0]
        assert torch.allclose(one, expected, atol=1e-5)
    assert maps.max() > 0


def test_it_holds_64_whatever_the_batch_and_no_map_of_scores_that_are_not_finite(tmp_path):
    net, images = make_net("test_resnet"), make_images(68, 32, seed=3)
    images[5] = torch.nan
    maps = collected(net, images, tmp_path, 17)
    assert len(maps) == gallery.IMAGES == 64
    assert maps.isfinite().all()
    assert torch.allclose(maps, collected(net, images, tmp_path, 10), atol=1e-5)
    assert torch.allclose(maps[5], collected(net, images[6:7], tmp_path, 1)[0], atol=1e-5)


def test_without_images_it_is_empty(tmp_path):
    assert len(gallery.restore(gallery.collect(SimpleNamespace(), 0, tmp_path).arrays())) == 0
    assert (
        np.zeros((0, 1, 1), np.float32).shape == gallery.collect(SimpleNamespace(), 0, tmp_path).arrays()["maps"].shape
    )
