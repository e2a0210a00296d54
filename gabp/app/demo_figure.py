"""The picture of the demonstration: what was given, what was inferred, how sure, and the truth."""

import os

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, LightSource, LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure

from gabp.app.demo import Reconstruction, Terrain

__all__ = ["save_figure"]

INK = "#22303c"
PAPER = "white"
ACCENT = "#c8321e"
VERTICAL_EXAGGERATION = 4.0


def _land_colours() -> Colormap:
    """Matplotlib's earth colours without the sea."""
    earth = matplotlib.colormaps["gist_earth"](np.linspace(0.33, 0.99, 256))
    return LinearSegmentedColormap.from_list("land", earth)


def _kilometres(terrain: Terrain) -> tuple[float, float]:
    """The map's height and width."""
    rows, columns = terrain.height.shape
    return rows * terrain.spacing[0] / 1000, columns * terrain.spacing[1] / 1000


def _draw_relief(
    axes: Axes, terrain: Terrain, height: np.ndarray, norm: Normalize, colours: Colormap
) -> None:
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
    axes.plot(
        east[known], result.terrain.height[row][known], "o", color="white", markeredgecolor=INK, markersize=5.5,
        label="given",
    )  # fmt: skip
    axes.set(xlim=(0, wide), xlabel="km east", ylabel="height (m)")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 0.98), ncols=4, frameon=False)


def _caption(result: Reconstruction) -> str:
    solution = result.solution
    return (
        f"error {result.rmse(result.mean):.1f} m RMS (nearest neighbour {result.rmse(result.nearest):.1f} m)"
        f"  ·  {result.coverage:.0%} of the hidden heights within ± 2 Bethe standard deviations"
        f"  ·  relative residual {result.relative_residual:.0e}"
        f"  ·  {solution.iterations} sweeps, {solution.setup_seconds + solution.solve_seconds:.2g} s"
    )


def make_figure(result: Reconstruction) -> Figure:
    """Draw the four maps and a transect, 16:9."""
    terrain = result.terrain
    norm = Normalize(terrain.height.min(), terrain.height.max())
    colours = _land_colours()
    tall, wide = _kilometres(terrain)
    row = terrain.height.shape[0] // 2
    with matplotlib.rc_context({"font.size": 12, "axes.edgecolor": INK, "axes.labelcolor": INK, "text.color": INK,
                                "xtick.color": INK, "ytick.color": INK}):  # fmt: skip
        figure = Figure(figsize=(16, 9), facecolor=PAPER, layout="constrained")
        FigureCanvasAgg(figure)
        figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08)
        top, bottom = figure.subfigures(2, 1, height_ratios=[1.75, 1])
        given_axes, mean_axes, truth_axes, deviation_axes = top.subplots(1, 4)

        _draw_samples(given_axes, result, norm, colours)
        _draw_relief(mean_axes, terrain, result.mean, norm, colours)
        _draw_relief(truth_axes, terrain, terrain.height, norm, colours)
        _draw_deviation(deviation_axes, result)

        share = result.given.mean()
        given_axes.set_title(f"Given: {share:.0%} of {result.given.size:,} heights")
        mean_axes.set_title("Reconstruction")
        truth_axes.set_title("True terrain")
        deviation_axes.set_title("Bethe standard deviation")
        for axes in (mean_axes, truth_axes, deviation_axes):
            axes.set_yticklabels([])
        for axes in (given_axes, mean_axes, truth_axes, deviation_axes):
            axes.set_xlabel("km east")
        given_axes.set_ylabel("km north")
        for axes in (mean_axes, truth_axes):
            axes.axhline(
                tall - (row + 0.5) * terrain.spacing[0] / 1000,
                color=INK,
                linewidth=0.8,
                linestyle=(0, (4, 3)),
            )
        top.colorbar(
            ScalarMappable(norm, colours), ax=[given_axes, mean_axes, truth_axes], orientation="horizontal",
            aspect=60, shrink=0.6, pad=0.03, label="height (m)",
        )  # fmt: skip
        top.colorbar(
            deviation_axes.images[0], ax=deviation_axes, extend="both", orientation="horizontal", aspect=22, shrink=0.9, pad=0.03,
            label="standard deviation (m)",
        )  # fmt: skip
        _draw_transect(bottom.subplots(), result, row)
        figure.suptitle(
            f"A landscape from {share:.0%} of its heights, by Gaussian belief propagation",
            fontsize=18, fontweight="bold",
        )  # fmt: skip
        top.suptitle(_caption(result), fontsize=13)
    return figure


def save_figure(result: Reconstruction, path: str | os.PathLike[str]) -> None:
    """Write the picture as PNG, 3200×1800 pixels."""
    make_figure(result).savefig(path, dpi=200, format="png")
