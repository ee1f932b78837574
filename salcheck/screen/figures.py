"""Pictures: what the model saw, and each map laid over it."""

import textwrap
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from salcheck.store.cache import atomic_write

COLUMNS = 4
SHEET_PANELS = 8  # across a contact sheet
COLOURS = "inferno"
BRIGHTEST = 0.995  # the quantile of a map where its colours end


def draw_overlays(
    file: Path, picture: NDArray[np.float32], maps: Sequence[NDArray[np.float32]], titles: Sequence[str], footer: str
) -> None:
    """Writes a PNG: the photograph as the model saw it (H, W, 3 in 0...1) and the positive part of each map
    (H, W) over it, each with its title and a colour bar in the map's own units; the footer below.
    """
    panels = 1 + len(maps)
    columns = min(panels, COLUMNS)
    rows = -(-panels // columns)
    figure = Figure(figsize=(3.4 * columns, 2.95 * rows + 0.35), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False).flatten()
    for axis in axes:
        axis.set_axis_off()
    axes[0].imshow(picture, interpolation="nearest")
    axes[0].set_title("what the model saw", fontsize=10)
    for axis, values, title in zip(axes[1:], maps, titles, strict=False):
        _overlay(figure, axis, picture, values)
        axis.set_title(title, fontsize=10, parse_math=False)
    figure.supxlabel(textwrap.fill(footer, 50 * columns), fontsize=9, parse_math=False)
    save(figure, file)


def draw_sheet(
    file: Path,
    picture: NDArray[np.float32],
    blocks: Sequence[tuple[str, Sequence[NDArray[np.float32]]]],
    classes: Sequence[str],
    footer: str,
) -> None:
    """Writes a PNG: the photograph as the model saw it (H, W, 3 in 0...1) with the names of the M classes, then one
    block for each method: its title and its M maps (H, W), each in colours of its own range; the footer below.
    """
    M = len(classes)
    across = max(1, SHEET_PANELS // M)  # blocks in a row
    lead = 2 if M == 1 else 1  # blocks that the photograph and the names take
    rows = -(-(len(blocks) + lead) // across)
    side, gap, head, foot = 1.35, 0.12, 0.24, 0.4  # inches
    width, height = across * (M * side + gap) + gap, rows * (side + head) + foot
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)

    def panel(block: int, m: int, title: str) -> Axes:
        x, y = gap + (block % across) * (M * side + gap) + m * side, height - (block // across + 1) * (side + head)
        axis = figure.add_axes((x / width, y / height, 0.97 * side / width, 0.97 * side / height))
        axis.set_axis_off()
        axis.set_title(title, fontsize=8, loc="left", pad=2, parse_math=False)
        return axis

    panel(0, 0, "what the model saw").imshow(picture, interpolation="nearest")
    free = int(((lead * M - 1) * side - gap) / 0.066)  # characters that fit beside the photograph
    names = "\n".join(textwrap.fill(f"{m}: {name}", free) for m, name in enumerate(classes, start=1))
    figure.text((gap + side * 1.05) / width, 1 - (head + 0.1) / height, names, fontsize=7.5, va="top", parse_math=False)
    for block, (name, maps) in enumerate(blocks, start=lead):
        for m, values in enumerate(maps):
            axis = panel(block, m, "" if m else name)
            _blend(axis, picture, values)
            axis.text(0.03, 0.97, str(m + 1), color="white", fontsize=7, va="top", transform=axis.transAxes)
    figure.text(0.5, 0.1 / height, textwrap.fill(footer, int(13 * width)), fontsize=7.5, ha="center", parse_math=False)
    save(figure, file)


def save(figure: Figure, file: Path) -> None:
    """Writes a figure as a PNG, whole or not at all."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # a name in a script that the font lacks shows as boxes
        atomic_write(file, lambda out: figure.savefig(out, format="png", dpi=110))


def _overlay(figure: Figure, axis: Axes, picture: NDArray[np.float32], values: NDArray[np.float32]) -> None:
    bar = figure.colorbar(_blend(axis, picture, values), ax=axis, fraction=0.046, pad=0.02, extend="max")
    bar.ax.tick_params(labelsize=7)
    bar.ax.ticklabel_format(axis="y", scilimits=(-2, 3))
    bar.ax.yaxis.get_offset_text().set_fontsize(7)


def _blend(axis: Axes, picture: NDArray[np.float32], values: NDArray[np.float32]) -> ScalarMappable:
    """The map's positive part in colour, which covers the more the higher it is, so that the photograph shows
    where it is low. The few highest values share one colour: single pixels would leave the others invisible. A map
    that is positive everywhere, as RISE's are, begins at its lowest value.
    """
    values = np.nan_to_num(np.maximum(values, 0))
    peak = float(np.quantile(values, BRIGHTEST) or values.max())
    low = float(values.min()) if values.min() < peak else 0.0
    if peak <= 0:
        axis.text(0.5, 0.5, "blank: no\npositive value", color="white", ha="center", transform=axis.transAxes)
    scale = Normalize(low, peak if peak > 0 else 1)
    colours = ScalarMappable(scale, COLOURS)
    grey = picture.mean(axis=-1, keepdims=True).repeat(3, axis=-1) * 0.8
    opacity = (0.15 + 0.65 * scale(values).clip(0, 1))[..., None]
    axis.imshow(grey * (1 - opacity) + colours.to_rgba(values)[..., :3] * opacity, interpolation="nearest")
    return colours
