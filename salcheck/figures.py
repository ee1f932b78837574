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

from salcheck.cache import atomic_write

COLUMNS = 4
COLOURS = "inferno"


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
        _overlay(figure, axis, picture, np.nan_to_num(np.maximum(values, 0)))
        axis.set_title(title, fontsize=10, parse_math=False)
    figure.supxlabel(textwrap.fill(footer, 50 * columns), fontsize=9, parse_math=False)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # a name in a script that the font lacks shows as boxes
        atomic_write(file, lambda out: figure.savefig(out, format="png", dpi=110))


def _overlay(figure: Figure, axis: Axes, picture: NDArray[np.float32], values: NDArray[np.float32]) -> None:
    """The map's colour covers the more the higher its value, so that the photograph shows where it is low."""
    peak = float(values.max())
    if peak <= 0:
        axis.text(0.5, 0.5, "blank: no positive value", color="white", ha="center", transform=axis.transAxes)
    scale = Normalize(0, peak if peak > 0 else 1)
    colours = ScalarMappable(scale, COLOURS)
    grey = picture.mean(axis=-1, keepdims=True).repeat(3, axis=-1) * 0.8
    opacity = (0.15 + 0.65 * scale(values))[..., None]
    axis.imshow(grey * (1 - opacity) + colours.to_rgba(values)[..., :3] * opacity, interpolation="nearest")
    bar = figure.colorbar(colours, ax=axis, fraction=0.046, pad=0.02)
    bar.ax.tick_params(labelsize=7)
    bar.ax.ticklabel_format(axis="y", scilimits=(-2, 3))
    bar.ax.yaxis.get_offset_text().set_fontsize(7)


def shorten(name: str, limit: int = 24) -> str:
    """A class name that fits above a panel."""
    return name if len(name) <= limit else name[: limit - 1].rstrip() + "…"
