"""The picture of the demonstration: what was given, what was inferred, how sure, and the truth."""

import os
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, LightSource, LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure, SubFigure

from gabp.demos.terrain import Reconstruction, Terrain

__all__ = ["save_figure"]

INK = "#22303c"
PAPER = "white"
ACCENT = "#c8321e"
STYLE: Any = {
    "font.size": 12,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}
VERTICAL_EXAGGERATION = 4.0


def _land_colours() -> Colormap:
    """Matplotlib's earth colours without the sea."""
    earth = matplotlib.colormaps["gist_earth"](np.linspace(0.33, 0.99, 256))
    return LinearSegmentedColormap.from_list("land", earth)


def _kilometres(terrain: Terrain) -> tuple[float, float]:
    """The map's height and width."""
    rows, columns = terrain.height.shape
    return rows * terrain.spacing[0] / 1000, columns * terrain.spacing[1] / 1000


def _draw_relief(axes: Axes, terrain: Terrain, height: np.ndarray, norm: Normalize, colours: Colormap) -> None:
    tall, wide = _kilometres(terrain)
    down, across = terrain.spacing
    shaded = LightSource(azdeg=315, altdeg=45).shade(
        height,
        cmap=colours,
        norm=norm,
        blend_mode="soft",
        vert_exag=VERTICAL_EXAGGERATION,
        dx=across,
        dy=down,
    )
    axes.imshow(shaded, extent=(0, wide, 0, tall), interpolation="lanczos")


def _draw_samples(axes: Axes, result: Reconstruction, norm: Normalize, colours: Colormap) -> None:
    tall, wide = _kilometres(result.terrain)
    down, across = result.terrain.spacing
    row, column = np.nonzero(result.given)
    axes.set_facecolor(INK)
    axes.scatter(
        (column + 0.5) * across / 1000, tall - (row + 0.5) * down / 1000,
        c=result.terrain.height[result.given], cmap=colours, norm=norm, s=2.2, linewidths=0,
    )  # fmt: skip
    axes.set(xlim=(0, wide), ylim=(0, tall), aspect="equal")


def _draw_deviation(axes: Axes, result: Reconstruction) -> None:
    """Colours span the heights that were not given; the given ones are nearly certain and lie below."""
    tall, wide = _kilometres(result.terrain)
    low, high = np.percentile(result.deviation[~result.given], [1, 99])
    axes.imshow(
        result.deviation,
        extent=(0, wide, 0, tall),
        cmap="magma",
        vmin=low,
        vmax=high,
        interpolation="lanczos",
    )


def _draw_transect(axes: Axes, result: Reconstruction, row: int) -> None:
    """Truth, estimate and two standard deviations along one row of the map."""
    wide = _kilometres(result.terrain)[1]
    east = (np.arange(result.given.shape[1]) + 0.5) * result.terrain.spacing[1] / 1000
    mean, deviation = result.mean[row], result.deviation[row]
    axes.fill_between(
        east, mean - 2 * deviation, mean + 2 * deviation, color="#4f81bd", alpha=0.28, linewidth=0,
        label="± 2 Bethe standard deviations",
    )  # fmt: skip
    axes.plot(east, result.terrain.height[row], color=INK, linewidth=1.3, label="true terrain")
    axes.plot(east, mean, color=ACCENT, linewidth=1.6, label="reconstruction")
    known = result.given[row]
    axes.plot(east[known], result.terrain.height[row][known], "o", color=PAPER, markeredgecolor=INK, label="given")
    axes.set(xlim=(0, wide), xlabel="km east", ylabel="height (m)")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 0.98), ncols=4, frameon=False)


def _title(result: Reconstruction) -> str:
    return f"A landscape from {result.given.mean():.0%} of its heights, by Gaussian belief propagation"


def _caption(result: Reconstruction) -> str:
    solution = result.solution
    return (
        f"error {result.rmse(result.mean):.1f} m RMS (nearest neighbour {result.rmse(result.nearest):.1f} m)"
        f"  ·  {result.coverage:.0%} of the hidden heights within ± 2 Bethe standard deviations"
        f"  ·  relative residual {result.relative_residual:.0e}"
        f"  ·  {solution.iterations} iterations, {solution.setup_seconds + solution.solve_seconds:.2g} s"
    )


def _draw_maps(figure: SubFigure, result: Reconstruction, row: int) -> None:
    terrain = result.terrain
    colours, norm = _land_colours(), Normalize(terrain.height.min(), terrain.height.max())
    maps = figure.subplots(1, 4)
    given, mean, truth, deviation = maps
    given.set_title(f"Given: {result.given.mean():.0%} of {result.given.size:,} heights")
    _draw_samples(given, result, norm, colours)
    mean.set_title("Reconstruction")
    _draw_relief(mean, terrain, result.mean, norm, colours)
    truth.set_title("True terrain")
    _draw_relief(truth, terrain, terrain.height, norm, colours)
    deviation.set_title("Bethe standard deviation")
    _draw_deviation(deviation, result)
    given.set_ylabel("km north")
    for axes in maps:
        axes.set_xlabel("km east")
    for axes in maps[1:]:
        axes.set_yticklabels([])
    transect_north = _kilometres(terrain)[0] - (row + 0.5) * terrain.spacing[0] / 1000
    for axes in (mean, truth):
        axes.axhline(transect_north, color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
    figure.colorbar(
        ScalarMappable(norm, colours), ax=[given, mean, truth], label="height (m)",
        orientation="horizontal", aspect=60, shrink=0.6, pad=0.03,
    )  # fmt: skip
    figure.colorbar(
        deviation.images[0], ax=deviation, label="standard deviation (m)", extend="both",
        orientation="horizontal", aspect=22, shrink=0.9, pad=0.03,
    )  # fmt: skip


def make_figure(result: Reconstruction) -> Figure:
    """Draw the four maps and, below them, a transect along the dashed line: 16:9."""
    row = result.given.shape[0] // 2
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(16, 9), facecolor=PAPER, layout="constrained")
        FigureCanvasAgg(figure)
        rows = figure.add_gridspec(3, 1, height_ratios=[0.27, 1.7, 1])
        head, top, bottom = (figure.add_subfigure(rows[i]) for i in range(3))
        _draw_maps(top, result, row)
        _draw_transect(bottom.subplots(), result, row)
        head.text(0.5, 0.88, _title(result), fontsize=20, fontweight="bold", ha="center", va="top")
        head.text(0.5, 0.14, _caption(result), fontsize=13, ha="center", va="bottom")
    return figure


def save_figure(result: Reconstruction, path: str | os.PathLike[str]) -> None:
    """Write the picture as PNG, 2560×1440 pixels."""
    make_figure(result).savefig(path, dpi=160, format="png")
