"""Changes of a picture that leave what it shows as it is, each with the way back for a map.

flip         left and right swapped; no such change where that matters, as in digits
shift        right and down by 1/28 of the shorter side, an even number of pixels (8 of 224), the edges repeated
odd-shift    left and up by a pixel less than that (7 of 224): no multiple of any layer's stride
zoom         the middle nine tenths of each side, at full size
brightness   lighter by a tenth of the way from black to white
contrast     a fifth nearer to the picture's mean grey
noise        Gaussian, its standard deviation 0.02 of the way from black to white
blur         Gaussian, its standard deviation 1/224 of the shorter side, at least half a pixel
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from salcheck.errors import SalcheckError
from salcheck.maps.ranking import upsample
from salcheck.naming.words import unknown
from salcheck.network.view import View

OWN = 0xA06  # turns an image's seed into another: noise must not be that which a method adds itself
ZOOM = 0.9


@dataclass(frozen=True)
class Change:
    """`forth(pictures, seeds)` changes pictures (J, 3, H, W) in 0...1, each by its own seed where it is random.
    `back(maps)` takes maps (J, H, W) of changed pictures to the frame of the pictures as they were, 0 where the changed
    one shows nothing.
    """

    forth: Callable[[Tensor, Sequence[int]], Tensor]
    back: Callable[[Tensor], Tensor] = lambda maps: maps


def check_changes(names: Sequence[str]) -> None:
    """Raises SalcheckError for changes that are not there, none at all, or one named twice."""
    for name in names:
        if name not in CHANGES:
            raise SalcheckError(unknown("change", name, list(CHANGES)))
    if not names or len(set(names)) < len(names):
        raise SalcheckError(f"changes={'+'.join(names)}: name one or more of {', '.join(CHANGES)}, each once")


def changed(view: View, rows: slice, name: str) -> Tensor:
    """The view's images under a change as the model is fed them, (J, 3, H, W); they end at black and at white."""
    black, white = view.grey(0), view.grey(1)
    pictures = (view.images[rows] - black) / (white - black)
    return black + CHANGES[name].forth(pictures, view.seeds[rows]).clamp(0, 1) * (white - black)


def taken_back(maps: Tensor, name: str) -> tuple[Tensor, Tensor]:
    """Maps (J, H, W) of changed images in the frame of the images as they were, and which pixels (H, W) both show."""
    back = CHANGES[name].back
    return back(maps), back(torch.ones_like(maps[:1]))[0] > 0.5


def _step(size: Sequence[int]) -> int:
    return 2 * max(1, round(min(size) / 56))


def _odd_step(size: Sequence[int]) -> int:
    return _step(size) - 1


def _moved(pictures: Tensor, by: int) -> Tensor:
    """Right and down by so many pixels (left and up, if negative), the edges repeated."""
    y, x = ((torch.arange(n, device=pictures.device) - by).clamp(0, n - 1) for n in pictures.shape[-2:])
    return pictures[..., y, :][..., x]


def _moved_back(maps: Tensor, by: int) -> Tensor:
    return torch.nn.functional.pad(maps, (-by, by, -by, by))


def _middle(size: Sequence[int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Height and width of the part that is zoomed to, and its top left corner."""
    H, W = size
    h, w = round(ZOOM * H), round(ZOOM * W)
    return (h, w), ((H - h) // 2, (W - w) // 2)


def _zoomed(pictures: Tensor) -> Tensor:
    H, W = pictures.shape[-2:]
    (h, w), (top, left) = _middle((H, W))
    return upsample(pictures[..., top : top + h, left : left + w], (H, W))


def _zoomed_back(maps: Tensor) -> Tensor:
    H, W = maps.shape[-2:]
    (h, w), (top, left) = _middle((H, W))
    return torch.nn.functional.pad(upsample(maps, (h, w)), (left, W - w - left, top, H - h - top))


def _greyer(pictures: Tensor) -> Tensor:
    return 0.8 * pictures + 0.2 * pictures.mean(dim=(1, 2, 3), keepdim=True)


def _noisy(pictures: Tensor, seeds: Sequence[int]) -> Tensor:
    draws = [torch.randn(pictures.shape[1:], generator=torch.Generator().manual_seed(seed ^ OWN)) for seed in seeds]
    return pictures + 0.02 * torch.stack(draws).to(pictures)


def _blurred(pictures: Tensor) -> Tensor:
    sigma = max(0.5, min(pictures.shape[-2:]) / 224)
    width = 2 * math.ceil(3 * sigma) + 1
    return gaussian_blur(pictures, [width, width], [sigma, sigma])


CHANGES: Mapping[str, Change] = {
    "flip": Change(lambda pictures, seeds: pictures.flip(-1), lambda maps: maps.flip(-1)),
    "shift": Change(
        lambda pictures, seeds: _moved(pictures, _step(pictures.shape[-2:])),
        lambda maps: _moved_back(maps, _step(maps.shape[-2:])),
    ),
    "odd-shift": Change(
        lambda pictures, seeds: _moved(pictures, -_odd_step(pictures.shape[-2:])),
        lambda maps: _moved_back(maps, -_odd_step(maps.shape[-2:])),
    ),
    "zoom": Change(lambda pictures, seeds: _zoomed(pictures), _zoomed_back),
    "brightness": Change(lambda pictures, seeds: pictures + 0.1),
    "contrast": Change(lambda pictures, seeds: _greyer(pictures)),
    "noise": Change(_noisy),
    "blur": Change(lambda pictures, seeds: _blurred(pictures)),
}
