import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from salcheck.errors import SalcheckError
from salcheck.perturb.canvas import canvas, remover, veiler
from tests.linear import LinearNet, linear_view

FILLS = ["mean", "zero", "grey", "blur"]
H, W = 20, 31  # not square: a row is no column
# As the model is fed them: mean colour, black, and half way from black to white, with this normalisation.
NORMALISATION = ((0.5, 0.4, 0.3), (0.2, 0.25, 0.5))
COLOURS = {"mean": (0.0, 0.0, 0.0), "zero": (-2.5, -1.6, -0.6), "grey": (0.0, 0.4, 0.4)}


@pytest.fixture(scope="module")
def view():
    """Three images of noise on a slope that differs along rows and columns."""
    rows, columns = torch.meshgrid(torch.arange(H) / H, torch.arange(W) / W, indexing="ij")
    images = torch.rand(3, 3, H, W, generator=torch.Generator().manual_seed(0)) + rows + 3 * columns
    return linear_view(LinearNet(torch.rand(2, 3, H, W)), images, normalisation=NORMALISATION)


@pytest.mark.parametrize("fill", list(COLOURS))
def test_plain_canvases_have_their_colour_as_the_model_is_fed_it(view, fill):
    expected = torch.tensor(COLOURS[fill]).view(1, 3, 1, 1).expand(3, 3, H, W)
    assert canvas(view, fill).shape == expected.shape
    assert canvas(view, fill).numpy() == pytest.approx(expected.numpy(), abs=1e-6)


def test_the_blurred_canvas_is_a_gaussian_filter_of_each_colour(view):
    """Standard deviation 5 % of the shorter side, here 1 pixel, cut off at 3; borders as in a mirror."""
    expected = gaussian_filter(view.images.double().numpy(), sigma=(0, 0, 1, 1), mode="mirror", truncate=3)
    assert canvas(view, "blur").numpy() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("fill", [*FILLS, "inpaint"])
def test_pixels_are_removed_where_the_mask_says_and_all_others_stay_as_they_are(view, fill):
    """CASE's released code removed pixels of the transposed map."""
    removed = torch.zeros(2, H, W, dtype=torch.bool)
    removed[0, 2, 25] = removed[1, 17, 4] = removed[1, 17, 5] = True
    of = torch.tensor([2, 0])
    found = remover(view, fill)(of, removed)
    changed = (found != view.images[of]).any(1)
    assert torch.equal(changed, removed)
    if fill != "inpaint":
        behind = canvas(view, fill)
        assert torch.equal(found[0, :, 2, 25], behind[2, :, 2, 25])
        assert torch.equal(found[1, :, 17, 4:6], behind[0, :, 17, 4:6])


@pytest.mark.parametrize("fill", FILLS)
def test_with_all_pixels_removed_the_canvas_is_left(view, fill):
    found = remover(view, fill)(torch.tensor([1]), torch.ones(1, H, W, dtype=torch.bool))
    assert torch.equal(found[0], canvas(view, fill)[1])


def test_inpainted_pixels_lie_between_their_neighbours(view):
    removed = torch.zeros(1, H, W, dtype=torch.bool)
    removed[0, 8:12, 10:14] = True
    found = remover(view, "inpaint")(torch.tensor([1]), removed)[0, :, 8:12, 10:14]
    around = view.images[1, :, 7:13, 9:15]
    assert (found > around.amin((1, 2))[:, None, None]).all()
    assert (found < around.amax((1, 2))[:, None, None]).all()


@pytest.mark.parametrize("fill", FILLS)
def test_soft_masks_show_all_nothing_and_half_of_both(view, fill):
    of = torch.tensor([2, 0, 0])
    masks = torch.tensor([1, 0, 0.5])[:, None, None].expand(3, H, W)
    found = veiler(view, fill)(of, masks).numpy()
    behind = canvas(view, fill)
    assert found[0] == pytest.approx(view.images[2].numpy(), abs=1e-6)
    assert (found[1] == behind[0].numpy()).all()
    assert found[2] == pytest.approx(((view.images[0] + behind[0]) / 2).numpy(), abs=1e-6)


def test_soft_masks_lie_where_they_say(view):
    mask = torch.zeros(1, H, W)
    mask[0, 2, 25] = 1
    found = veiler(view, "mean")(torch.tensor([1]), mask)
    assert np.argwhere((found[0] != 0).all(0).numpy()).tolist() == [[2, 25]]


def test_soft_masks_cannot_be_inpainted(view):
    with pytest.raises(SalcheckError, match="inpaint"):
        veiler(view, "inpaint")
