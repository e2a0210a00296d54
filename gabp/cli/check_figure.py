"""The figure of a convergence report: the graph, the bounds of ρ(|R|), and flooding's residuals."""

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import scipy.sparse
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from gabp.conditions import ConvergenceReport, Verdict, check
from gabp.conditions.host_edges import HostEdges
from gabp.conditions.precision_messages import certify_precisions
from gabp.conditions.sweep_estimate import FloodingHistory, run_flooding
from gabp.conditions.walk_sums import RadiusBounds
from gabp.system import largest_asymmetry, make_system, read_matrix

INK, ACCENT, CALM, PALE = "#22303c", "#c8321e", "#1f6f8b", "#d9e3e8"
STYLE: dict[str, Any] = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.edgecolor": INK,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.titlelocation": "left",
}
_DRAWN_NODES = 60  # up to which the graph itself is drawn
_PIXELS = 200  # side of the sparsity image of a larger matrix


def check_figure(A: Any, path: str | Path | None = None, report: ConvergenceReport | None = None) -> Figure:
    """Draw the convergence report of ``A``: graph, certified bounds of ``ρ(|R|)``, residuals of flooding.

    Parameters
    ----------
    A : sparse or dense matrix, shape (n, n)
    path : str or Path, optional
        Where to save the picture; its suffix chooses the format.
    report : ConvergenceReport, optional
        The report on ``A``; computed by default.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    TypeError, InvalidSystemError
        ``A`` is no real, finite, square matrix.
    """
    if report is None:
        report = check(A)
    matrix = read_matrix(A)
    system = make_system(matrix, symmetric=largest_asymmetry(matrix) is None)
    edges = HostEdges.equilibrated(system) if report.positive_diagonal else HostEdges.of(system)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(13.5, 5.2), layout="constrained")
        FigureCanvasAgg(figure)
        left, middle, right = figure.subplots(1, 3)
        _draw_graph(left, edges, report)
        bounds, history = _observe(edges, report)
        _draw_bounds(middle, bounds, report)
        _draw_sweeps(right, history, report)
        figure.suptitle(headline(report), x=0.01, ha="left", fontsize=13, fontweight="bold")
        if path is not None:
            figure.savefig(path, dpi=130)
    return figure


def headline(report: ConvergenceReport) -> str:
    """The report in one sentence."""
    if not report.positive_diagonal:
        return "No messages: a diagonal entry is not positive"
    if report.is_forest and report.walk_summable is Verdict.YES:
        return "A forest: belief propagation is exact in two passes"
    if report.walk_summable is Verdict.YES:
        return f"Walk-summable: GaBP converges, in about {report.expected_sweeps} flooding sweeps to 1e-8"
    if report.flooding_converges is Verdict.YES:
        return "Not walk-summable, and yet flooding converges"
    if report.flooding_converges is Verdict.NO:
        return f"Flooding does not converge; solve by {report.recommended_method}"
    return "Undecided: no proof of convergence and none of failure"


def _observe(edges: HostEdges, report: ConvergenceReport) -> tuple[RadiusBounds | None, FloodingHistory | None]:
    if not report.positive_diagonal:
        return None, None
    bounds = RadiusBounds(edges)
    bounds.decide()
    bounds.tighten(solves=2)
    precisions = certify_precisions(edges, bounds.scaling if bounds.verdict is Verdict.YES else None)
    return bounds, run_flooding(edges, precisions, most=300) if precisions.valid else None


def _draw_graph(axes: Axes, edges: HostEdges, report: ConvergenceReport) -> None:
    if edges.n <= _DRAWN_NODES:
        angle = 2 * np.pi * np.arange(edges.n) / edges.n
        place = np.column_stack([np.sin(angle), np.cos(angle)])
        once = edges.destination < edges.source  # each undirected edge
        ends = np.stack([place[edges.destination[once]], place[edges.source[once]]], axis=1)
        colours = np.where(edges.weight[once] < 0, CALM, ACCENT)
        axes.add_collection(LineCollection(list(ends), colors=list(colours), linewidths=1.0))
        axes.plot(*place.T, "o", color=INK, markersize=max(3.0, 10 - edges.n / 8))
        axes.set(aspect="equal", xlim=(-1.15, 1.15), ylim=(-1.15, 1.15), xticks=[], yticks=[])
        axes.set_title("The graph: blue edges attract, red ones repel")
    else:
        scale = _PIXELS / edges.n if edges.n > _PIXELS else 1.0
        side = min(edges.n, _PIXELS)
        row, column = (edges.destination * scale).astype(int), (edges.source * scale).astype(int)
        count = scipy.sparse.coo_array((np.ones(edges.count), (row, column)), (side, side)).toarray()
        axes.imshow(
            np.log1p(count), cmap="Blues", extent=(0, edges.n, edges.n, 0), aspect="auto", interpolation="nearest"
        )
        axes.set_title("Where the off-diagonal nonzeros are")
    pieces = f"{report.components} component" + ("s" if report.components != 1 else "")
    axes.set_xlabel(f"{report.n:,} unknowns, {edges.count // 2:,} edges, {pieces}")


def _draw_bounds(axes: Axes, bounds: RadiusBounds | None, report: ConvergenceReport) -> None:
    axes.set_title("Proven bounds of ρ(|R|): walk-summable below 1")
    if bounds is None:
        _annotate(axes, "R is not defined:\nthe diagonal is not positive")
        return
    products, lower, upper = (np.array(column, dtype=float) for column in zip(*bounds.history, strict=True))
    # distances from the threshold, on a scale that is logarithmic on either side
    low, high = lower - 1, np.minimum(upper, 10.0) - 1
    axes.fill_between(products, low, high, step="post", color=PALE)
    axes.step(products, high, where="post", color=CALM, label="upper bound (Collatz–Wielandt)")
    axes.step(products, low, where="post", color=ACCENT, label="lower bound (Rayleigh)")
    axes.axhline(0.0, color=INK, linewidth=0.8, linestyle="--")
    nearest = min(abs(low[-1]), abs(high[-1]))
    axes.set_yscale("symlog", linthresh=10.0 ** np.clip(np.floor(np.log10(max(nearest, 1e-12))), -12, -1))
    axes.set(xlabel="products with |R|", ylabel="ρ(|R|) - 1")
    axes.legend(loc="best", frameon=False)
    axes.text(0.02, 0.03, f"walk-summable: {report.walk_summable}", transform=axes.transAxes, fontweight="bold")


def _draw_sweeps(axes: Axes, history: FloodingHistory | None, report: ConvergenceReport) -> None:
    axes.set_title("Relative residual by flooding sweep")
    if history is None:
        _annotate(axes, "the precision messages fail:\na cavity is not positive")
        return
    sweep = history.sweep
    axes.semilogy(sweep, np.maximum(history.residual, 1e-17), color=CALM, linewidth=2, label="observed, random b")
    if report.mean_radius:
        # the predicted slope, through the middle of the observed residuals
        middle = len(sweep) // 2
        line = history.residual[middle] * report.mean_radius ** (sweep - sweep[middle])
        axes.semilogy(sweep, line, color=ACCENT, linestyle="--", label=f"predicted, ρ(M) = {report.mean_radius:.4g}")
    axes.set(xlabel="sweep", ylim=(1e-9, max(2.0, 2 * min(history.residual.max(), 1e6))))
    axes.axhline(1e-8, color=INK, linewidth=0.8, linestyle=":")
    axes.legend(loc="best", frameon=False)


def _annotate(axes: Axes, text: str) -> None:
    axes.text(0.5, 0.5, text, ha="center", va="center", transform=axes.transAxes)
    axes.set(xticks=[], yticks=[])
