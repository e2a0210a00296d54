"""Weiss and Freeman's figures 2 and 3, with captions that compare the methods."""

from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from gabp.demos.weiss_freeman import CONSTANT, GAUSS_SEIDEL, SOR, ZERO, Correlations, SparseDataRun

INK, ACCENT, CALM = "#22303c", "#c8321e", "#1f6f8b"
STYLE: dict[str, Any] = {"font.size": 10, "axes.titlelocation": "left", "text.color": INK}
STYLES: dict[str, dict[str, Any]] = {
    CONSTANT: {"color": ACCENT, "linewidth": 2.2},
    ZERO: {"color": ACCENT, "linestyle": "--"},
    GAUSS_SEIDEL: {"color": "#8a8f94"},
    SOR: {"color": CALM, "linewidth": 2.2},
}


def draw_figure_2(data: Correlations) -> Figure:
    """The root's correlations along its computation tree, replicas starred, and what they sum to."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9.0, 4.6), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        order = np.arange(len(data.values))
        axes.vlines(order, data.values.min() / 2, data.values, color="#c5ced4", linewidth=1)
        axes.plot(order, data.values, ".", color=CALM, label="tree nodes")
        axes.plot(
            order[data.is_replica],
            data.values[data.is_replica],
            "*",
            color=ACCENT,
            markersize=11,
            label="replicas of the root",
        )
        axes.set(xlabel="tree node", ylabel="correlation with the root", yscale="log")
        axes.legend(frameon=False)
        axes.set_title(
            f"K₂,₃ after 8 unwrappings, {len(data.values)} nodes: the starred correlations sum to "
            f"{data.replica_sum:.4f};\nthe true variance is {data.true_variance:.4f}, GaBP alone gives "
            f"{data.loopy_variance:.4f} (the first star)"
        )
    return figure


def draw_figure_3(runs: list[SparseDataRun]) -> Figure:
    """Errors of the means by sweep, and errors of the variances against the speed of convergence."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(12.5, 5.2), layout="constrained")
        FigureCanvasAgg(figure)
        left, right = figure.subplots(1, 2)
        _draw_means(left, runs)
        _draw_variances(right, runs)
    return figure


def caption_3(runs: list[SparseDataRun]) -> str:
    """What figure 3 shows, in numbers of these very runs."""
    after_five = {name: np.mean([run.mean_errors[name][4] for run in runs]) for name in STYLES}
    to_six = {name: np.median([run.sweeps_to(name, 1e-6) for run in runs]) for name in (CONSTANT, SOR)}
    return (
        f"{len(runs)} draws. After 5 sweeps GaBP from the constant-message start is ahead: relative error "
        f"{after_five[CONSTANT]:.3f}\nagainst {after_five[SOR]:.3f} (optimal SOR), {after_five[ZERO]:.2f} (GaBP from "
        f"zero) and {after_five[GAUSS_SEIDEL]:.2f} (Gauss–Seidel).\nIn the long run optimal SOR wins: "
        f"{to_six[SOR]:.0f} sweeps to 1e-6 against {to_six[CONSTANT]:.0f}."
    )


def _draw_means(axes: Axes, runs: list[SparseDataRun]) -> None:
    for name, style in STYLES.items():
        errors = np.array([run.mean_errors[name] for run in runs])
        sweep = np.arange(1, errors.shape[1] + 1)
        axes.semilogy(sweep, np.exp(np.log(np.maximum(errors, 1e-16)).mean(axis=0)), label=name, **style)
    axes.set(xlabel="sweep", ylabel="relative error of the means (geometric mean)", ylim=(1e-8, 1.5), xlim=(1, 100))
    axes.legend(frameon=False)
    axes.set_title(caption_3(runs), fontsize=9)


def _draw_variances(axes: Axes, runs: list[SparseDataRun]) -> None:
    for run in runs:
        axes.plot(run.settling, run.variance_error, ".", color=CALM, alpha=0.15, markersize=4)
    correlation = np.mean([run.speed_correlation for run in runs])
    medians = [float(np.median(run.variance_error)) for run in runs]
    axes.set(xlabel="sweeps until the node's mean is right to 1e-3", ylabel="error of the variance", yscale="log")
    axes.set_ylim(1e-6, 1)
    axes.set_title(
        f"Slower nodes have worse variances: rank correlation {correlation:.2f}.\nGaBP's variances are too small "
        f"here (an attractive model);\nthe median error is {min(medians):.4f} to {max(medians):.4f}.",
        fontsize=9,
    )
