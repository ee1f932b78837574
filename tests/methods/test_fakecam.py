import pytest
import torch

from salcheck.diagnostics import averagedrop
from salcheck.methods import fakecam, gradcam
from tests.nets import make_images, make_net, make_view


@pytest.mark.oracle
def test_one_pixel_is_zero_and_all_others_are_one():
    view = make_view(make_net("test_resnet"), make_images(2, 64))
    maps = fakecam.saliency(view, torch.tensor([[0, 3, 1], [1, 6, 2]]))
    assert maps.shape == (2, 3, 64, 64)
    assert (maps[..., 0, 0] == 0).all()
    assert (maps.sum((-2, -1)) == 64**2 - 1).all()


def test_it_wins_the_average_drop_and_says_nothing():
    """Why it is a control: a measure of it alone cannot tell a good map from a bright one."""
    net = make_net("test_resnet")
    logits = net(make_images(16, 64))
    net.fc.weight.div_(logits.std(0)[:, None])
    net.fc.bias.sub_(logits.mean(0)).div_(logits.std(0))  # else every image has the same class, and as surely
    view = make_view(net, make_images(16, 64))
    classes = view.logits.argmax(-1)[:, None]

    def measured(method):
        return averagedrop.score(view, classes, method.saliency(view, classes), explain=method.saliency).values

    fake, real = measured(fakecam), measured(gradcam)
    assert fake["drop"].mean() < 0.01
    assert fake["drop"].mean() < 0.1 * real["drop"].nanmean()
    assert 0 < fake["increase"].mean() < 1
