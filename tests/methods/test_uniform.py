import pytest
import torch

from salcheck.maps.notes import Kind, Note
from salcheck.maps.ranking import blank, mass, upsample
from salcheck.methods import uniform
from tests.nets import make_images, make_net, make_view


@pytest.mark.oracle
def test_no_place_has_more_than_another():
    net = make_net("test_resnet")
    maps = uniform.saliency(make_view(net, make_images(2, 64), "layer1"), torch.tensor([[0, 3, 1], [1, 6, 2]]))
    assert torch.equal(maps, torch.ones(2, 3, *make_view(net, make_images(2, 64), "layer1").acts.shape[2:]))
    pixels = upsample(maps[0], (64, 64))
    assert blank(pixels, 5.0) == [Note(Kind.BLANK, "constant")] * 3
    # What lies on a region is its share of the picture.
    assert torch.allclose(mass(pixels)[0, :16, 8:40].sum(), torch.tensor(16 * 32 / 64**2))
