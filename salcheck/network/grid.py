"""How a layer's output is laid out, and the same output as a grid (B, C, h, w)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor


@dataclass(frozen=True)
class Layout:
    """Feature maps (B, C, h, w), feature maps with channels last (B, h, w, C), or tokens (B, P + h * w, C).

    prefix: P, how many tokens come before those of the grid; 0 for feature maps.
    """

    kind: Literal["channels first", "channels last", "tokens"]
    size: tuple[int, int]
    prefix: int = 0

    def grid(self, raw: Tensor) -> Tensor:
        """The layer's output as (B, C, h, w), without its prefix tokens, in the memory of the output."""
        if self.kind == "tokens":
            return raw[:, self.prefix :].transpose(1, 2).unflatten(2, self.size)
        return raw.permute(0, 3, 1, 2) if self.kind == "channels last" else raw.view_as(raw)

    def ungrid(self, acts: Tensor, raw: Tensor) -> Tensor:
        """The inverse of `grid` for acts (B, C, h, w), always in new memory, with the prefix tokens of `raw`."""
        acts = acts.to(raw.dtype)
        if self.kind == "tokens":
            return torch.cat([raw[:, : self.prefix], acts.flatten(2).transpose(1, 2)], dim=1)
        return (acts.permute(0, 2, 3, 1) if self.kind == "channels last" else acts).clone()


def layout_of(shape: Sequence[int], size: tuple[int, int], net: Any) -> Layout | None:
    """The layout of a layer's output by its shape, for images of a size (H, W); None where there is no grid in it.

    A grid has the proportions of the images. Where two readings of a shape have them, the network decides:
    `output_fmt` says where its channels are, `num_prefix_tokens` how many tokens come before the grid.
    """
    if len(shape) == 4:
        return _of_maps(shape, size, net)
    return _of_tokens(shape[1], size, net) if len(shape) == 3 else None


def _of_maps(shape: Sequence[int], size: tuple[int, int], net: Any) -> Layout | None:
    _, rows, middle, columns = shape
    first, last = _like_images(middle, columns, size), _like_images(rows, middle, size)
    if last and (not first or str(getattr(net, "output_fmt", "NCHW")).endswith("NHWC")):
        return Layout("channels last", (rows, middle))
    return Layout("channels first", (middle, columns)) if first else None


def _of_tokens(count: int, size: tuple[int, int], net: Any) -> Layout | None:
    """The network's own number of prefix tokens is tried first, then none, one and two: some layers have no class token
    yet, and some networks name neither it nor the one beside it that was distilled.
    """
    H, W = size
    for prefix in (getattr(net, "num_prefix_tokens", 0), 0, 1, 2):
        cells = count - prefix
        h = max(round((max(cells, 0) * H / W) ** 0.5), 1)
        if cells > 1 and cells % h == 0 and _like_images(h, cells // h, size):
            return Layout("tokens", (h, cells // h), prefix)
    return None


def _like_images(h: int, w: int, size: tuple[int, int]) -> bool:
    """Whether a grid has the proportions of the images, to less than a cell."""
    H, W = size
    return abs(h * W / H - w) < 1
