"""Pictures of comparisons: how long to a given accuracy, and what accuracy after how long."""

import os
from collections.abc import Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from gabp.compare.comparison import Comparison, Timed
from gabp.compare.table import seconds

__all__ = ["overview_figure", "problem_figure", "save_comparison_figure"]

INK, PAPER, QUIET = "#22303c", "white", "#8795a1"
COLOURS = {
    "gabp": "#c8321e",
    "krylov": "#4f81bd",
    "multigrid": "#2a9d74",
    "petsc": "#8a5fbf",
    "direct": "#c79121",
    "message passing": "#8795a1",
}
NAMES = {
    "gabp": "gabp",
    "krylov": "Krylov (scipy)",
    "multigrid": "multigrid (pyamg)",
    "petsc": "PETSc, 2 MPI ranks",
    "direct": "direct",
    "message passing": "plain message passing",
}
MARKERS = "os^vPX<>"  # within a family; gabp's own choice is the diamond
OVERVIEW = {"gabp": "D", "krylov": "o", "multigrid": "s", "petsc": "^", "direct": "P", "message passing": "v"}
STYLE: dict[Any, Any] = {
    "font.size": 13,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": INK,
    "ytick.color": INK,
}


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), facecolor=PAPER, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _markers(comparison: Comparison) -> dict[str, str]:
    """A marker for each peer, different within its family, the same in both panels."""
    markers: dict[str, str] = {}
    met: dict[str, int] = {}
    for entry in comparison.entries:
        place = met.setdefault(entry.family, 0)
        markers[entry.peer] = "D" if entry.family == "gabp" and place == 0 else MARKERS[place % len(MARKERS)]
        met[entry.family] += 1
    return markers


def _draw_times(axes: Axes, comparison: Comparison) -> None:
    """The time of each peer, fastest on top."""
    timed, markers = comparison.timed, _markers(comparison)
    for place, entry in enumerate(timed):
        colour = COLOURS[entry.family]
        axes.axhline(place, color=QUIET, linewidth=0.5, alpha=0.4, zorder=0)
        axes.plot([entry.total.low, entry.total.high], [place, place], color=colour, linewidth=5, alpha=0.35)
        axes.plot(entry.total.median, place, markers[entry.peer], color=colour, markersize=10)
        ratio = "" if entry.ratio is None else f"  ·  {entry.ratio.median:.2g}×"
        axes.annotate(
            f"{seconds(entry.total.median)}{ratio}", (1.01, place), xycoords=("axes fraction", "data"),
            va="center", fontsize=11, color=colour, fontweight=_weight(entry), annotation_clip=False,
        )  # fmt: skip
    axes.set_yticks(range(len(timed)), [entry.peer for entry in timed])
    for label, entry in zip(axes.get_yticklabels(), timed, strict=True):
        label.set_color(COLOURS[entry.family])
        label.set_fontweight(_weight(entry))
    axes.set_ylim(len(timed) - 0.5, -0.5)
    axes.set(xscale="log", xlabel="seconds, set-up included")
    axes.grid(axis="x", alpha=0.25)
    axes.set_title(f"Time to a relative residual of {comparison.rtol:.0e}", loc="left")


def _weight(entry: Timed) -> str:
    return "bold" if entry.family == "gabp" else "normal"


def _draw_curves(axes: Axes, comparison: Comparison) -> None:
    """The residual that each peer reaches, against the time that it takes; marks as in the other panel."""
    markers = _markers(comparison)
    for entry in comparison.timed:
        points = sorted(entry.accuracy, key=lambda point: -point[0])
        if points[0][0] < 10 * points[-1][0]:  # a direct method: one accuracy, whatever is asked for
            points = [(points[0][0], entry.total.median)]
        ours = entry.family == "gabp"
        axes.plot(
            [point[1] for point in points], [max(point[0], 1e-17) for point in points],
            color=COLOURS[entry.family], marker=markers[entry.peer], markersize=10 if ours else 7,
            linewidth=3.0 if ours else 1.5, zorder=3 if ours else 2, alpha=1.0 if ours else 0.8,
        )  # fmt: skip
    axes.set(xscale="log", yscale="log", xlabel="seconds, set-up included")
    axes.grid(alpha=0.25)
    axes.set_title("True relative residual against time", loc="left")


def problem_figure(comparisons: Sequence[Comparison]) -> Figure:
    """A row for each problem: time to accuracy, curves of residual against time."""
    shown = [comparison for comparison in comparisons if comparison.timed]
    with matplotlib.rc_context(STYLE):
        figure = _figure(16, 9 * max(1, len(shown)))
        rows = figure.subfigures(max(1, len(shown)), 1, squeeze=False)[:, 0]
        for row, comparison in zip(rows, shown, strict=False):
            times, curves = row.subplots(1, 2)
            _draw_times(times, comparison)
            _draw_curves(curves, comparison)
            title = f"{comparison.problem}: {comparison.n:,} unknowns, {comparison.nnz:,} entries"
            row.suptitle(title, fontsize=17, fontweight="bold")
    return figure


def overview_figure(comparisons: Sequence[Comparison], caption: str) -> Figure:
    """Every problem in a line, every solver a mark at its time; the ratio is to the best solver that is not gabp."""
    shown = [comparison for comparison in comparisons if comparison.timed]
    with matplotlib.rc_context(STYLE):
        figure = _figure(16, 9)
        axes = figure.subplots()
        for place, comparison in enumerate(shown):
            _draw_problem(axes, place, comparison)
        axes.set_yticks(range(len(shown)), [f"{c.problem}\n{c.n:,} unknowns" for c in shown], fontsize=11)
        axes.set_ylim(len(shown) - 0.5, -0.6)
        axes.set_xscale("log")
        axes.set_xlabel("seconds to the accuracy, set-up included")
        axes.grid(axis="x", alpha=0.25)
        families = {entry.family for comparison in shown for entry in comparison.timed}
        handles = [
            Line2D([], [], linestyle="", marker=OVERVIEW[family], color=colour, markersize=9, label=NAMES[family])
            for family, colour in COLOURS.items()
            if family in families
        ]
        axes.legend(handles=handles, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=6, frameon=False)
        figure.suptitle("Time to solve, against the solvers in use", fontsize=20, fontweight="bold")
        figure.supxlabel(caption, fontsize=10.5, color=QUIET)
    return figure


def _draw_problem(axes: Axes, place: int, comparison: Comparison) -> None:
    others = [entry for entry in comparison.timed if entry.family != "gabp"]
    ours, best = comparison.first, comparison.best_of_others
    axes.axhline(place, color=QUIET, linewidth=0.6, alpha=0.5, zorder=0)
    for entry in others:
        axes.plot(
            entry.total.median, place, OVERVIEW[entry.family], color=COLOURS[entry.family], markersize=8, alpha=0.75
        )
    if ours is None or ours.family != "gabp":
        return
    axes.plot(ours.total.median, place, OVERVIEW["gabp"], color=COLOURS["gabp"], markersize=12, zorder=4)
    if best is not None and best.ratio is not None:
        axes.plot(
            [ours.total.median, best.total.median], [place, place], color=COLOURS["gabp"], linewidth=2.4, zorder=1
        )
        axes.annotate(
            f"{best.ratio.median:.2g}×  {best.peer}", (1.005, place), xycoords=("axes fraction", "data"),
            va="center", fontsize=11, color=COLOURS[best.family], annotation_clip=False,
        )  # fmt: skip


def save_comparison_figure(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write a picture as PNG, 200 dots per inch."""
    figure.savefig(path, dpi=200, format="png")
