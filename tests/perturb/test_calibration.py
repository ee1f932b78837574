"""Threshold calibration against cases worked out by hand, and against the plain loop over thresholds."""

import numpy as np
import pytest
import torch

from salcheck.maps.ranking import upsample
from salcheck.perturb.calibration import calibrate, masked_softmax
from tests.nets import make_images, make_net, make_view

CLASSES = torch.tensor([[0, 3], [1, 6], [5, 2]])
# floor(i * 16 / 10) of a map of 4 x 4
REMOVED = [0, 1, 3, 4, 6, 8, 9, 11, 12, 14]


def shuffled(seed=0):
    """A 4 x 4 map of the values 1 to 16."""
    return (torch.randperm(16, generator=torch.Generator().manual_seed(seed)) + 1.0).reshape(4, 4)


class Scripted:
    """Gives softmax values as prescribed, (J, 10), and keeps the masks that it was asked for."""

    def __init__(self, curves):
        self.curves = torch.tensor(curves)
        self.masks = {}

    def __call__(self, of, masks):
        for row in range(len(of)):
            self.masks[int(of[row]), row % 10] = masks(slice(row, row + 1))[0]
        return self.curves.flatten()


def by_hand(one, pixels):
    return torch.where(one > pixels, one, torch.zeros(()))


def curve(**given):
    """Ten times 0.3 but for the steps given."""
    return [given.get(f"at{i}", 0.3) for i in range(10)]


def test_each_step_takes_the_lowest_tenths_and_leaves_the_others_as_they_are():
    maps, scripted = torch.stack([shuffled(0), shuffled(1)]), Scripted([curve(), curve()])
    calibrate(maps, torch.tensor([0.3, 0.3]), scripted, "intended")
    assert len(scripted.masks) == 20
    for (job, step), mask in scripted.masks.items():
        assert torch.equal(mask, by_hand(maps[job], REMOVED[step]))


@pytest.mark.parametrize(
    ("mode", "steps", "tenths"),
    [
        ("intended", curve(at4=0.6, at7=0.9), 7),
        ("compat", curve(at4=0.6, at7=0.9), 8),
        ("unrectified", curve(at4=0.6, at7=0.9), 7),
        ("intended", curve(at9=0.9), 9),
        ("compat", curve(at9=0.9), 10),  # nothing is left
        ("intended", curve(at3=0.9, at5=0.9), 3),  # equal: the lower threshold
        ("intended", curve(at6=0.45), 0),  # 0.45 is no rise
        ("compat", curve(at6=0.45), 1),
        ("unrectified", curve(at6=0.45), 6),
        ("intended", curve(), 0),
        ("unrectified", curve(), 0),
    ],
)
def test_the_threshold_is_the_one_that_the_mode_says(mode, steps, tenths):
    one = shuffled()
    before = torch.tensor([0.5])
    calibrated, removed, found = calibrate(one[None], before, Scripted([steps]), mode)
    assert removed.tolist() == [tenths]
    assert torch.equal(calibrated[0], by_hand(one, [*REMOVED, 16][tenths]))
    assert torch.equal(found, torch.tensor([steps]))


def test_maps_are_calibrated_one_by_one():
    maps = torch.stack([shuffled(0), shuffled(1), shuffled(2)])
    scripted = Scripted([curve(at2=0.9), curve(at5=0.4), curve(at8=0.6)])
    calibrated, removed, _ = calibrate(maps, torch.tensor([0.1, 0.5, 0.35]), scripted, "intended")
    assert removed.tolist() == [2, 0, 8]
    assert torch.equal(calibrated, torch.stack([by_hand(maps[0], 3), maps[1], by_hand(maps[2], 12)]))


def test_equal_pixels_go_from_the_top_left():
    calibrated, _, _ = calibrate(torch.ones(1, 4, 4), torch.tensor([0.1]), Scripted([curve(at3=0.9)]), "intended")
    assert calibrated[0].flatten().tolist() == [0.0] * 4 + [1.0] * 12


@pytest.fixture(scope="module")
def net():
    net = make_net("test_resnet")
    net.fc.weight.mul_(20)  # else every softmax is about one seventh
    return net


def one_by_one(net, image, mask, u):
    with torch.no_grad():
        return float(net((image * mask)[None]).double().softmax(-1)[0, u])


def test_the_softmax_under_masks_equals_one_image_at_a_time(net):
    images = make_images(side=96)
    of = torch.tensor([5, 0, 3, 3, 1])
    masks = torch.rand(5, 96, 96, generator=torch.Generator().manual_seed(1))
    made = masked_softmax(make_view(net, images), CLASSES, of, lambda rows: masks[rows])
    expected = [
        one_by_one(net, images[int(j) // 2], mask, int(CLASSES.flatten()[j])) for j, mask in zip(of, masks, strict=True)
    ]
    assert made.numpy() == pytest.approx(expected, abs=1e-5)
    assert np.ptp(expected) > 0.01


def through(net, images, maps, mode):
    view = make_view(net, images)
    before = view.logits.softmax(-1).gather(1, CLASSES).flatten()
    return before, *calibrate(maps, before, lambda of, masks: masked_softmax(view, CLASSES, of, masks), mode)


def test_no_fixed_threshold_does_better(net):
    """Also for a map that knows nothing: what calibration earns is no evidence."""
    images = make_images(side=96)
    maps = upsample(torch.rand(6, 3, 3, generator=torch.Generator().manual_seed(3)), (96, 96))
    before, calibrated, removed, _ = through(net, images, maps, "intended")
    gains, fixed = [], np.zeros((6, 10))
    for j, u in enumerate(CLASSES.flatten().tolist()):
        gains.append(one_by_one(net, images[j // 2], calibrated[j], u) - float(before[j]))
        for i in range(10):
            kept = maps[j].flatten().clone()
            kept[np.argsort(maps[j].numpy().ravel(), kind="stable")[: 96 * 96 * i // 10]] = 0
            fixed[j, i] = one_by_one(net, images[j // 2], kept.reshape(96, 96), u) - float(before[j])
    rises = np.maximum(gains, 0)
    assert rises == pytest.approx(np.maximum(fixed, 0).max(axis=1), abs=1e-5)
    assert np.maximum(fixed[range(6), removed], 0) == pytest.approx(rises, abs=1e-5)
    assert rises.max() > 0.01


def test_a_mask_of_ones_changes_nothing(net):
    before, _, _, steps = through(net, make_images(side=96), torch.ones(6, 96, 96), "intended")
    assert steps[:, 0].numpy() == pytest.approx(before.numpy(), abs=1e-6)
    assert (steps[:, 5] - before).abs().max() > 1e-3


def test_no_more_masked_images_at_a_time_than_the_batch_size(net):
    sizes = []
    view = make_view(net, make_images(side=96))
    view.batch_size, plain = 4, view.forward
    view.forward = lambda images: sizes.append(len(images)) or plain(images)
    masks = torch.rand(6, 96, 96)
    calibrate(masks, torch.zeros(6), lambda of, masks: masked_softmax(view, CLASSES, of, masks), "intended")
    assert sum(sizes) == 60
    assert max(sizes) <= 4
