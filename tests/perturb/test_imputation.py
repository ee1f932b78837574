"""Linear imputation beside a sparse direct solver in double precision, by hand, and by what must hold for any mask."""

import numpy as np
import pytest
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.linalg import spsolve
from torch import Tensor

from salcheck.maps.ranking import top_set, upsample
from salcheck.perturb import imputation
from salcheck.perturb.imputation import impute

SIZES = [(56, 56), (45, 61), (97, 8)]


def directly(image: Tensor, removed: Tensor) -> Tensor:
    """The system of the paper, written out neighbour by neighbour, solved in double precision: (3, H, W)."""
    known, holes = image.double().numpy(), removed.numpy()
    number = np.where(holes, np.cumsum(holes).reshape(holes.shape) - 1, -1)
    y, x = np.nonzero(holes)
    diagonal, right, entries = np.zeros(len(y)), np.zeros((len(y), len(known))), []
    for dy, dx in ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)):
        v, u, weight = y + dy, x + dx, 1 / 6 if 0 in (dy, dx) else 1 / 12
        (inside,) = np.nonzero((v >= 0) & (u >= 0) & (v < holes.shape[0]) & (u < holes.shape[1]))
        neighbour = number[v[inside], u[inside]]
        diagonal[inside] += weight
        given, unknown = inside[neighbour < 0], inside[neighbour >= 0]
        right[given] += weight * known[:, v[given], u[given]].T
        entries += list(zip(unknown, neighbour[neighbour >= 0], np.full(len(unknown), -weight), strict=True))
    entries += list(zip(range(len(y)), range(len(y)), diagonal, strict=True))
    rows, columns, values = zip(*entries, strict=True)
    matrix = coo_matrix((values, (rows, columns)), shape=(len(y), len(y))).tocsc()
    filled = known.copy()
    filled[:, holes] = spsolve(matrix, right).reshape(len(y), -1).T
    return torch.from_numpy(filled)


def photograph_like(size: tuple[int, int], seed: int = 0) -> Tensor:
    """One image (3, H, W): blobs and some noise, its mean away from 0."""
    generator = torch.Generator().manual_seed(seed)
    blobs = upsample(torch.randn(3, 9, 9, generator=generator), size)
    return blobs + 0.3 * torch.randn(3, *size, generator=generator) + 0.5


def saliency_like(size: tuple[int, int]) -> Tensor:
    """Maps (8, H, W): upsampled, its negative, with ties, their negative, scattered, centre, rim, corner."""
    generator = torch.Generator().manual_seed(1)
    smooth = upsample(torch.rand(7, 7, generator=generator)[None], size)[0]
    rectified = upsample((torch.rand(7, 7, generator=generator) - 0.6).clamp(min=0)[None], size)[0]
    y, x = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in size), indexing="ij")
    rim = y.square() + x.square()
    scattered = torch.rand(size, generator=generator)
    return torch.stack([smooth, -smooth, rectified, -rectified, scattered, -rim, rim, -x - y])


def masks(size: tuple[int, int], percents: tuple[float, ...] = (5, 25, 50, 75, 90, 96)) -> Tensor:
    return torch.cat([top_set(saliency_like(size), percent)[0] for percent in percents])


def patterns(size: tuple[int, int]) -> Tensor:
    """Masks (6, H, W) that no map makes: regular, thin, and almost without a known pixel."""
    y, x = torch.meshgrid(*(torch.arange(n) for n in size), indexing="ij")
    lonely = torch.ones(size, dtype=torch.bool)
    lonely[size[0] // 3, size[1] // 4] = lonely[-1, -1] = False
    stripes, grid, wall = x % 2 == 0, (x % 9 != 4) | (y % 9 != 4), x != size[1] // 2
    return torch.stack([(x + y) % 2 == 0, stripes, grid, wall, ~wall, lonely])


def together(images: Tensor, removed: Tensor) -> Tensor:
    """What a GPU does: the whole batch at once."""
    return imputation._fill(images, removed[:, None])


def errors(images: Tensor, removed: Tensor) -> list[float]:
    """The largest error of each filled image in standard deviations of the image."""
    triples = zip(images, removed, impute(images, removed), strict=True)
    return [float((filled - directly(image, mask)).abs().max() / image.std()) for image, mask, filled in triples]


@pytest.mark.parametrize("size", SIZES)
def test_filled_pixels_are_those_of_a_direct_solver(size, monkeypatch):
    monkeypatch.setattr(imputation, "MOST_STEPS", 9)  # what was filled in more is NaN, and no error is above NaN
    removed = torch.cat([masks(size), patterns(size)])
    found = errors(photograph_like(size).expand(len(removed), -1, -1, -1), removed)
    assert len(found) == 54
    assert max(found) < 3e-4
    assert not np.isnan(found).any()


@pytest.mark.parametrize("percents", [(50,), pytest.param((25, 75, 97), marks=pytest.mark.slow)])
def test_photograph_sized_regions_are_those_of_a_direct_solver(percents):
    size = (224, 224)
    removed = masks(size, percents)[slice(0, 3, 2) if percents == (50,) else slice(None)]
    assert max(errors(photograph_like(size).expand(len(removed), -1, -1, -1), removed)) < 3e-4


def test_a_few_known_pixels_in_a_corner_decide_a_whole_photograph():
    """The worst case for float32: what lies 300 pixels away hangs on 50 pixels."""
    removed = top_set(-saliency_like((224, 224))[7:], 99.9)[0].expand(2, -1, -1)
    images = torch.stack([photograph_like((224, 224), seed) for seed in (1, 2)])
    assert max(errors(images, removed)) < 6e-5


def test_one_removed_pixel_is_the_weighted_mean_of_its_neighbours():
    image = torch.arange(16.0).square().reshape(1, 1, 4, 4).expand(1, 3, 4, 4)
    for y, x, expected in (
        (1, 2, (2 * (4 + 25 + 49 + 100) + 1 + 9 + 81 + 121) / 12),
        (0, 0, (2 * (1 + 16) + 25) / 5),
        (3, 3, (2 * (121 + 196) + 100) / 5),
        (0, 1, (2 * (0 + 4 + 25) + 16 + 36) / 8),
        (2, 0, (2 * (16 + 144 + 81) + 25 + 169) / 8),
    ):
        removed = torch.zeros(1, 4, 4, dtype=torch.bool)
        removed[0, y, x] = True
        assert impute(image, removed)[0, :, y, x].tolist() == pytest.approx([expected] * 3, rel=1e-5)


def test_two_removed_pixels_by_hand():
    row = torch.tensor([[3.0, 0.0, 0.0, 9.0]]).expand(1, 3, 1, 4)
    filled = impute(row, torch.tensor([[[False, True, True, False]]]))
    assert torch.allclose(filled[0, 0, 0], torch.tensor([3.0, 5.0, 7.0, 9.0]), atol=1e-3)
    # Under a row of known a and b: 5 u = 2 a + b + 2 v and 5 v = a + 2 b + 2 u, so u = (12 a + 9 b) / 21.
    square = torch.tensor([[21.0, 0.0], [0.0, 0.0]]).expand(1, 3, 2, 2)
    filled = impute(square, torch.tensor([[[False, False], [True, True]]]))
    assert torch.allclose(filled[0, 2, 1], torch.tensor([12.0, 9.0]), atol=1e-3)


def test_known_pixels_stay_bit_for_bit_and_removed_values_do_not_matter():
    image = photograph_like((45, 61)).expand(48, -1, -1, -1)
    removed = masks((45, 61))
    filled = impute(image, removed)
    for junk in (torch.nan, torch.inf, 1e30):
        assert torch.equal(impute(image.masked_fill(removed[:, None], junk), removed), filled)
    assert torch.equal(filled.masked_fill(removed[:, None], 0), image.masked_fill(removed[:, None], 0))
    assert filled.dtype == torch.float32


def test_nothing_removed_and_everything_removed():
    images = torch.stack([photograph_like((30, 20)), photograph_like((30, 20), 1)])
    removed = torch.tensor([False, True])[:, None, None].expand(2, 30, 20)
    filled = impute(images, removed)
    assert torch.equal(filled[0], images[0])
    assert torch.equal(filled[1], torch.zeros(3, 30, 20))
    for size in ((1, 1), (2, 2), (8, 8), (1, 9)):
        everything = torch.ones(1, *size, dtype=torch.bool)
        assert torch.equal(impute(torch.ones(1, 3, *size), everything), torch.zeros(1, 3, *size))


def test_a_constant_image_stays():
    colours = torch.tensor([0.0, 1 / 3, -117.3])[:, None, None].expand(3, 45, 61)
    filled = impute(colours.expand(54, -1, -1, -1), torch.cat([masks((45, 61)), patterns((45, 61))]))
    assert torch.allclose(filled, colours, rtol=1e-5, atol=0)


def test_a_ramp_is_filled_by_the_same_ramp_away_from_the_borders():
    y, x = torch.meshgrid(torch.arange(45.0), torch.arange(61.0), indexing="ij")
    ramps = torch.stack([x, y, 2 * x - y])
    removed = torch.zeros(1, 45, 61, dtype=torch.bool)
    removed[0, 1:-1, 1:-1] = True
    removed[0, 20:22, 30] = False
    assert float((impute(ramps[None], removed) - ramps).abs().max()) < 5e-4 * float(ramps.std())


def test_filled_pixels_lie_between_the_known_ones():
    image, removed = photograph_like((45, 61)), torch.cat([masks((45, 61)), patterns((45, 61))])
    for filled, mask in zip(impute(image.expand(54, -1, -1, -1), removed), removed, strict=True):
        low, high = (image[:, ~mask].amin(1, keepdim=True), image[:, ~mask].amax(1, keepdim=True))
        slack = 3e-4 * image.std()
        assert ((filled[:, mask] >= low - slack) & (filled[:, mask] <= high + slack)).all()


def test_an_image_does_not_depend_on_the_others():
    removed = torch.cat([masks((45, 61)), patterns((45, 61))])
    images = torch.stack([photograph_like((45, 61), seed) for seed in range(len(removed))])
    alone = torch.cat([together(images[i : i + 1], removed[i : i + 1]) for i in range(len(removed))])
    order = torch.randperm(len(removed), generator=torch.Generator().manual_seed(0))
    assert torch.allclose(together(images[order], removed[order]), alone[order], atol=5e-6)


def test_a_batch_is_filled_as_are_images_one_by_one():
    removed = torch.cat([masks((45, 61)), patterns((45, 61))])
    images = torch.stack([photograph_like((45, 61), seed) for seed in range(len(removed))])
    removed[3], removed[4] = False, True
    assert torch.allclose(together(images, removed), impute(images, removed), atol=4e-4)


@pytest.mark.parametrize("box", [(0, 1, 0, 1), (44, 45, 60, 61), (0, 9, 20, 40), (1, 44, 1, 60), (30, 31, 0, 61)])
def test_a_window_around_the_removed_pixels_is_enough(box):
    top, bottom, left, right = box
    removed = torch.zeros(1, 45, 61, dtype=torch.bool)
    removed[0, top:bottom, left:right] = True
    image = photograph_like((45, 61))
    expected = directly(image, removed[0])
    assert float((impute(image[None], removed)[0] - expected).abs().max()) < 3e-4 * float(image.std())


def test_turning_image_and_mask_turns_what_is_filled():
    image, removed = photograph_like((45, 61)).expand(48, -1, -1, -1), masks((45, 61))
    filled = impute(image, removed)
    assert torch.allclose(impute(image.mT, removed.mT), filled.mT, atol=1e-5)
    # The grids are paired off from the top left: odd sizes mirrored go another way to the same end.
    assert torch.allclose(impute(image.flip(-1), removed.flip(-1)), filled.flip(-1), atol=6e-4)


def test_shifted_and_scaled_images_are_filled_alike():
    image, removed = photograph_like((45, 61)).expand(48, -1, -1, -1), masks((45, 61))
    filled = impute(image, removed)
    assert torch.allclose(impute(image + 100, removed), filled + 100, atol=1e-3)
    assert torch.allclose(impute(image * 1e-6, removed), filled * 1e-6, atol=1e-11)


def test_what_has_not_converged_is_nan_where_removed(monkeypatch):
    monkeypatch.setattr(imputation, "MOST_STEPS", 2)
    image, removed = photograph_like((45, 61))[None], masks((45, 61), (50,))[:1]
    filled = impute(image, removed)
    assert torch.equal(filled.isnan(), removed[:, None].expand_as(filled))


def test_a_known_pixel_that_is_not_finite_shows_wherever_it_is():
    removed = torch.zeros(1, 45, 61, dtype=torch.bool)
    removed[0, 2:8, 2:8] = True
    image = photograph_like((45, 61))[None].clone()
    image[0, 1, -1, -1] = torch.inf
    assert torch.equal(impute(image, removed).isnan(), removed[:, None].expand_as(image))


def test_a_known_pixel_that_is_not_finite_shows_in_its_own_image_alone():
    image, removed = photograph_like((45, 61)).repeat(2, 1, 1, 1), masks((45, 61), (50,))[:2]
    expected = together(image, removed)[1]
    y, x = (~removed[0]).nonzero()[0]
    image[0, 0, y, x] = torch.nan
    filled = together(image, removed)
    assert filled[0, 0, removed[0]].isnan().all()
    assert torch.allclose(filled[1], expected, atol=1e-6)


def test_the_number_of_threads_is_left_as_it_was():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        impute(photograph_like((9, 9))[None], torch.ones(1, 9, 9, dtype=torch.bool))
        assert torch.get_num_threads() == 2
        with pytest.raises(RuntimeError):
            impute(photograph_like((9, 9))[None], torch.ones(1, 9, 8, dtype=torch.bool))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_fills_alike():
    image, removed = photograph_like((45, 61)).expand(48, -1, -1, -1), masks((45, 61))
    on_gpu = impute(image.cuda(), removed.cuda())
    assert on_gpu.is_cuda
    assert torch.allclose(on_gpu.cpu(), impute(image, removed), atol=6e-4)
