"""Pictures put together of photographs, in a grid, such that a model is fed exactly the grid."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from salcheck.datasets import Dataset, Item, Region
from salcheck.errors import SalcheckError
from salcheck.inputs.truth import frame_of
from salcheck.network.model import Model

EDITION = 1  # raise it when any pixel changes: maps cached for the older pictures then no longer count

Box = tuple[int, int, int, int]  # x0, y0, x1, y1


@dataclass(frozen=True)
class Tile:
    """A photograph and the class that it stands for."""

    item: Item
    label: int


def mosaics(base: Dataset, drawn: Sequence[Sequence[Tile]], model: Model, grid: int, draw: str = "") -> Dataset:
    """Pictures of photographs of `base`, `grid` in a row, row by row: labels are their classes, regions their cells.

    A photograph is scaled to one `grid`-th of the picture's sides as the model sees it when it is fed that alone. With
    fewer than `grid` rows the cells are higher than that: a photograph is then in the middle of its cell, and above and
    below it is the mean colour that the model knows. Nothing is read before it is
    asked for. draw: how they were drawn, where more of the same draw may follow: they are then the same dataset. Raises
    SalcheckError for a model whose transform shows no picture as it is.
    """
    rows = len(drawn[0]) // grid
    size, cells = _layout(model, rows, grid)
    mean = [round(255 * value) for value in model.config["mean"]]
    colour = (mean[0], mean[len(mean) // 2], mean[-1])
    tiles = {" + ".join(tile.item.key for tile in mosaic): mosaic for mosaic in drawn}
    seen_by = hashlib.sha256(str(model.transform).encode()).hexdigest()[:16]
    made = f"mosaic-{EDITION} {rows}x{grid} {seen_by}"
    items = [
        Item(key, tuple(tile.label for tile in mosaic), " ".join([made, *(t.item.fingerprint for t in mosaic)]))
        for key, mosaic in tiles.items()
    ]

    def read(item: Item) -> Image.Image:
        picture = Image.new("RGB", size)
        for tile, (x0, y0, x1, y1) in zip(tiles[item.key], cells, strict=True):
            photograph = _as_seen(model, base.read(tile.item))
            height = y1 - y0 if rows == grid else round(model.size[0] / grid)
            picture.paste(colour, (x0, y0, x1, y1))
            scaled = photograph.resize((x1 - x0, height), Image.Resampling.BICUBIC)
            picture.paste(scaled, (x0, y0 + (y1 - y0 - height) // 2))
        return picture

    def regions(item: Item) -> list[Region]:
        return [Region(label, box=cell) for label, cell in zip(item.labels, cells, strict=True)]

    return Dataset(
        f"mosaics of {base.name}", base.root, items, read, regions=regions, code=base.code, **_whole(base, draw, made)
    )


def _whole(base: Dataset, draw: str, made: str) -> dict[str, Any]:
    """What a dataset of mosaics says of the whole draw that it is the beginning of."""
    return {"origin": f"{base.digest} {made} {draw}", "most": len(base)} if draw else {}


def _as_seen(model: Model, image: Image.Image) -> Image.Image:
    """What the model is fed of an image, as a picture again."""
    pixels = model.picture(model.transform(image)) * 255
    return Image.fromarray(pixels.round().byte().numpy())


def _layout(model: Model, rows: int, columns: int) -> tuple[tuple[int, int], list[Box]]:
    """The (width, height) of a picture that the model's transform only crops, and the cells of what is left of it.

    A crop after a resize cuts the outer cells of a picture of the model's own size; so the picture has a border that
    is exactly what is cropped away.
    """
    H, W = model.size
    scale = frame_of(model.transform, (W, H)).scale
    size = round(W * scale[0]), round(H * scale[1])
    frame = frame_of(model.transform, size)
    left, top = np.round(-frame.shift).astype(int).tolist()
    if not np.allclose(np.r_[frame.scale, frame.shift], [1, 1, -left, -top], atol=1e-3) or min(left, top) < 0:
        raise SalcheckError("this model's transform resizes every picture: it cannot be fed a mosaic as it is")
    x, y = (
        [start + round(i * n / cells) for i in range(cells + 1)]
        for start, n, cells in ((left, W, columns), (top, H, rows))
    )
    return size, [(x[i], y[j], x[i + 1], y[j + 1]) for j in range(rows) for i in range(columns)]
