"""How well a network can be cut: are the logits the plain forward's, which cells are read, do they follow the image?"""

from collections.abc import Callable
from dataclasses import dataclass
from math import nan
from typing import Any

import torch
from torch import Tensor, nn

from salcheck.network.labels import Labels
from salcheck.network.view import View

PLACES = 12  # cells that get a patch, one after another
DRAWS = (2, 8)  # images, and patches on each of these cells: the least, and the most where few are not clear
AT_ONCE = 4  # changed images in a forward
Place = tuple[int, int]


@dataclass(frozen=True)
class Cut:
    """What was measured at a layer, with all errors as shares of the largest logit; nan for a network without classes.

    grid: (C, h, w). logits: of the cut's forward against the plain one. head: of the part after the layer alone.
    read: share of cells on which a logit depends. near: share of places in the image whose change is largest in their
    own cell. rank: share of cells that change less than the place's own, one half for a grid in any other order, and 0
    where it is mirrored or turned.
    """

    grid: tuple[int, int, int]
    logits: float
    head: float
    read: float
    near: float
    rank: float

    @property
    def exact(self) -> bool:
        """Whether the logits are the same but for rounding."""
        return not (self.logits > 1e-5 or self.head > 1e-4)

    @property
    def whole(self) -> bool:
        """Whether the logits depend on most of the grid; where the head takes a maximum, not on all of it."""
        return not self.read <= 0.5

    @property
    def aligned(self) -> bool:
        """Whether changes stay where they are made."""
        return _aligned(self.near, self.rank)


@torch.no_grad()
def enliven(net: Any, size: tuple[int, int]) -> Any:
    """The untrained network with no part switched off, in eval mode.

    Residual branches that end in a zero, layer scales near it and empty biases would hide what they do to the grid.
    Batch norms get the statistics of what they meet: else signals fade or grow from one to the next.
    """
    for value in net.parameters():
        if bool((value == value.flatten()[0]).all()):
            _draw(value)
    net.eval().requires_grad_(False)
    norms = [module for module in net.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.train()
        norm.momentum = 1.0
    if norms:
        net(_image(0, size, count=4))
    return net.eval()


def _draw(value: Tensor) -> None:
    """Ones are gains, small positive numbers are layer scales, zeros are biases, tokens or last gains."""
    constant = float(value.flatten()[0])
    if constant:
        value.uniform_(0.5, 1.5).mul_(max(abs(constant), 0.2))
    elif value.dim() > 1:
        value.normal_(0, 0.02)
    else:
        value.uniform_(0.05, 0.2)


def measure(net: Any, layer: str, size: tuple[int, int]) -> Cut:
    """The network cut at a layer for random images of a size (H, W); raises SalcheckError where it cannot be cut."""
    images = _image(1, size, count=2)
    view = view_of(net, layer, images)
    near, rank = following(lambda rows: view_of(net, layer, rows).acts, size)
    if not net.num_classes:
        return Cut(tuple(view.acts.shape[1:]), nan, nan, nan, near, rank)
    plain = net(images)
    largest = plain.abs().max()
    grads = view.grads(plain.topk(2, dim=1).indices)
    return Cut(
        tuple(view.acts.shape[1:]),
        float((view.logits - plain).abs().max() / largest),
        float((view.head(view.acts) - plain).abs().max() / largest),
        float((grads != 0).any(dim=2).float().mean()),
        near,
        rank,
    )


def following(acts_of: Callable[[Tensor], Tensor], size: tuple[int, int]) -> tuple[float, float]:
    """`near` and `rank` of a function from images (J, 3, H, W) to acts (J, C, h, w)."""
    total = torch.zeros(())
    for draw in range(DRAWS[1]):
        image = _image(2 + draw, size)
        before = acts_of(image)
        h, w = before.shape[-2:]
        cells = torch.randperm(h * w, generator=torch.Generator().manual_seed(0))[:PLACES]
        rows = torch.cat([_patched(image, divmod(cell, w), (h, w), seed=draw) for cell in cells.tolist()])
        change = torch.cat([acts_of(part) for part in rows.split(AT_ONCE)]) - before
        change = (change - change.mean(dim=(-2, -1), keepdim=True)).abs()  # attention tells every cell of every patch
        total = total + change.mean(dim=1).flatten(1)  # (places, h * w)
        share = total / total.mean(dim=0).clamp(min=1e-12)  # some cells answer every change more than others do
        near, rank = _near(cells, share.argmax(dim=1), w), _rank(share, cells, (h, w))
        if draw + 1 >= DRAWS[0] and _aligned(near, rank):
            break
    return near, rank


def _aligned(near: float, rank: float) -> bool:
    """In a grid of another order few are near, and `rank` is 0.50 with a deviation of 0.08."""
    return near >= 0.75 or rank >= 0.75


def _rank(share: Tensor, cells: Tensor, grid: tuple[int, int]) -> float:
    """Mean rank of the places' own cells; 0 where a mirrored or turned grid clearly has a higher one."""
    numbers = torch.arange(grid[0] * grid[1]).view(grid)
    flips = [numbers, numbers.flip(0), numbers.flip(1), numbers.flip(0, 1)]
    orders = flips + [flipped.T for flipped in flips if grid[0] == grid[1]]
    ranks = []
    for order in orders:
        own = share.gather(1, order.flatten()[cells][:, None])
        ranks.append(float((share < own).sum(dim=1).float().mean()) / (numbers.numel() - 1))
    return ranks[0] if ranks[0] > max(ranks) - 0.1 else 0.0


def _near(cells: Tensor, peaks: Tensor, w: int) -> float:
    """Share of peaks in their own cell, or in its neighbour on the side on which most are: a strided convolution with
    padding sees a cell from its corner, so a patch changes it and its neighbour alike.
    """
    shifts = torch.stack([peaks // w - cells // w, peaks % w - cells % w])
    sides = [(shifts == 0) | (shifts == side) for side in (-1, 1)]
    return max(float((rows[0] & columns[1]).float().mean()) for rows in sides for columns in sides)


def _patched(image: Tensor, place: Place, grid: tuple[int, int], seed: int) -> Tensor:
    """The image with noise in one cell of a grid (h, w)."""
    (i, j), (h, w), (H, W) = place, grid, image.shape[-2:]
    changed = image.clone()
    area = changed[..., i * H // h : (i + 1) * H // h, j * W // w : (j + 1) * W // w]
    area.copy_(2 * torch.randn(area.shape, generator=torch.Generator().manual_seed(1000 * i + j + 10**6 * seed)))
    return changed


def _image(seed: int, size: tuple[int, int], count: int = 1) -> Tensor:
    """Smooth images (count, 3, H, W)."""
    coarse = torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
    return nn.functional.interpolate(coarse, tuple(size), mode="bilinear")


def view_of(net: Any, layer: str, images: Tensor) -> View:
    """The images through the network, cut at a layer."""
    labels = Labels([f"class {index}" for index in range(net.num_classes)])
    return View(net, layer, lambda: images, tuple(images.shape[-2:]), range(len(images)), labels)
