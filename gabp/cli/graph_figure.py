"""The figure of an optimisation: positions and factors before and after, outliers, and ellipses of uncertainty."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import EllipseCollection, LineCollection
from matplotlib.figure import Figure
from torch import Tensor

import gabp
from gabp.cli.check_figure import ACCENT, CALM, INK, STYLE
from gabp.factors import SE2, SE3, Euclidean, Factors, Manifold, Reprojection, Variables
from gabp.factors.manifolds.planar import rotation_matrix
from gabp.kernels.torch import quaternions

OUTLIER = 0.5  # the weight below which a factor is drawn as one
_ELLIPSES = 25  # of a set, at most
_UNCERTAINTY = "#c98a1e"  # colour of the ellipses
_RADIUS = 5.991464547107979**0.5  # that holds 95 % of a Gaussian of the plane
_VISIBLE = 0.004  # of the picture's size, from which an ellipse is seen


def graph_figure(
    graph: gabp.FactorGraph,
    result: gabp.OptimizationResult,
    covariances: Mapping[Variables, np.ndarray] | None = None,
    path: str | Path | None = None,
) -> Figure:
    """Draw a factor graph before and after its optimisation; in space, on the principal plane of the estimate.

    Parameters
    ----------
    graph : FactorGraph
    result : OptimizationResult
    covariances : mapping from Variables to ndarray, shape (N, d, d), optional
        In the tangent spaces at the estimate; no ellipses without.
    path : str or Path, optional
        Where to save the picture; its suffix chooses the format.
    """
    positions = [_positions(s, value) for s, value in zip(graph.sets, result.estimate, strict=True)]
    view = _View.of([p for p in positions if p is not None])
    before = [_positions(s, s.initial) for s in graph.sets]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(13.0, 6.4), layout="constrained")
        FigureCanvasAgg(figure)
        left, right = figure.subplots(1, 2)
        _draw(left, graph, result, [None if p is None else view.project(p) for p in before])
        left.set_title(f"Before: objective {result.history[0]:.6g}")
        after = [None if p is None else view.project(p) for p in positions]
        outliers = _draw(right, graph, result, after)
        note = _draw_ellipses(right, graph, result, after, view, covariances or {})
        right.set_title(f"After: objective {result.objective:.6g}{note}")
        figure.suptitle(_headline(result, outliers), x=0.01, ha="left", fontsize=13, fontweight="bold")
        if path is not None:
            figure.savefig(path, dpi=130)
    return figure


@dataclass(frozen=True, eq=False)
class _View:
    """A projection to the plane: ``(p - centre) @ axes``."""

    centre: np.ndarray
    axes: np.ndarray

    @staticmethod
    def of(positions: list[np.ndarray]) -> "_View":
        space = max((p.shape[1] for p in positions), default=2)
        if space == 2:
            return _View(np.zeros(2), np.eye(2))
        points = np.concatenate([p for p in positions if p.shape[1] == space])
        centre = np.median(points, axis=0)
        near = points[
            np.linalg.norm(points - centre, axis=1) <= np.quantile(np.linalg.norm(points - centre, axis=1), 0.9)
        ]
        return _View(centre, np.linalg.svd(near - centre, full_matrices=False)[2][:2].T)

    def project(self, p: np.ndarray) -> np.ndarray:
        return (p - self.centre) @ self.axes


def _positions(variables: Variables, value: Tensor) -> np.ndarray | None:
    """Where variables are, (N, 2) or (N, 3); None for those that have no position."""
    manifold = variables.manifold
    if manifold == Euclidean(9):  # a camera of bundle adjustment: R X + t = 0
        back = quaternions.conjugate(quaternions.exp(value[:, :3]))
        return -quaternions.rotate(back, value[:, 3:6]).numpy()
    space = _space(manifold)
    return value[:, :space].numpy() if space else None


def _space(manifold: Manifold) -> int:
    if manifold in (SE2, Euclidean(2)):
        return 2
    return 3 if manifold in (SE3, Euclidean(3)) else 0


def _draw(axes: Axes, graph: gabp.FactorGraph, result: gabp.OptimizationResult, at: list[np.ndarray | None]) -> int:
    """Draw positions and factors; returns the number of outliers."""
    outliers = 0
    for batch in graph.factors:
        ends = _ends(batch, at)
        wrong = result.weights(batch) < OUTLIER
        outliers += int(wrong.sum())
        if ends is not None:
            axes.add_collection(LineCollection(list(ends[~wrong]), colors=CALM, linewidths=0.5, alpha=0.6))
            axes.add_collection(LineCollection(list(ends[wrong]), colors=ACCENT, linewidths=0.7, zorder=3))
    drawn = [p for p in at if p is not None]
    for p in drawn:
        size = max(0.5, 3 - np.log10(max(len(p), 10)) / 2)
        axes.plot(*p.T, "o", color=INK, markersize=size, markeredgewidth=0, zorder=2)
    if drawn:
        low, high = _limits(np.concatenate(drawn))
        axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))
    axes.set_aspect("equal", adjustable="box")
    return outliers


def _limits(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The corners of a picture that a few far points do not shrink."""
    low, high = np.quantile(points, [0.02, 0.98], axis=0)
    spread = max(float((high - low).max()), 1e-9)
    low = np.maximum(low - 0.3 * spread, points.min(axis=0))
    high = np.minimum(high + 0.3 * spread, points.max(axis=0))
    return low - 0.06 * spread, high + 0.06 * spread


def _ends(batch: Factors, at: list[np.ndarray | None]) -> np.ndarray | None:
    """The segments from the first to the second variable of each factor, (m, 2, 2); None where they are no lines."""
    if len(batch.variables) != 2 or isinstance(batch.kind, Reprojection):
        return None
    first, second = (at[variables.position] for variables in batch.variables)
    if first is None or second is None:
        return None
    i, j = batch.index.numpy().T
    return np.stack([first[i], second[j]], axis=1)


def _draw_ellipses(
    axes: Axes,
    graph: gabp.FactorGraph,
    result: gabp.OptimizationResult,
    at: list[np.ndarray | None],
    view: _View,
    covariances: Mapping[Variables, np.ndarray],
) -> str:
    """Draw 95 % ellipses of some positions of each set; what the title says of them."""
    chosen: list[np.ndarray] = []
    blocks: list[np.ndarray] = []
    for variables, covariance in covariances.items():
        space, places = _space(variables.manifold), at[variables.position]
        if not space or places is None:
            continue
        index = np.unique(np.linspace(0, variables.count - 1, min(_ELLIPSES, variables.count)).astype(int))
        frame = _frames(variables.manifold, result.estimate[variables.position][index])
        turned = np.swapaxes(frame, 1, 2) @ view.axes if space == len(view.centre) else frame
        blocks.append(np.swapaxes(turned, 1, 2) @ covariance[index][:, :space, :space] @ turned)
        chosen.append(places[index])
    if not blocks:
        return ""
    variance, direction = np.linalg.eigh(np.concatenate(blocks))
    radius = _RADIUS * np.sqrt(variance.clip(min=0))
    typical, size = float(np.median(radius[:, 1])), float(np.ptp(axes.get_xlim()))
    magnified = 10 ** max(0, int(np.ceil(np.log10(_VISIBLE * size / typical)))) if typical > 0 else 1
    angle = np.degrees(np.arctan2(direction[:, 1, 1], direction[:, 0, 1]))
    ellipses = EllipseCollection(
        2 * magnified * radius[:, 1], 2 * magnified * radius[:, 0], angle, units="xy",
        offsets=np.concatenate(chosen), offset_transform=axes.transData,
        facecolors="none", edgecolors=_UNCERTAINTY, linewidths=0.9, zorder=4,
    )  # fmt: skip
    axes.add_collection(ellipses)
    return "; ellipses hold 95 %" + (f", {magnified:,} times enlarged" if magnified > 1 else "")


def _frames(manifold: Manifold, value: Tensor) -> np.ndarray:
    """The matrices from the tangent space of a position to the world, (m, space, space)."""
    if manifold is SE2:
        return rotation_matrix(value[:, 2]).numpy()
    if manifold is SE3:
        return quaternions.rotation_matrix(value[:, 3:]).numpy()
    return torch.eye(_space(manifold), dtype=torch.float64).expand(len(value), -1, -1).numpy()


def _headline(result: gabp.OptimizationResult, outliers: int) -> str:
    ending = "converged" if result.converged else f"not converged ({result.status.name.lower().replace('_', ' ')})"
    found = f"; {outliers} outlier{'s' if outliers != 1 else ''} in red" if outliers else ""
    return f"{result.method}: {ending} after {result.iterations} iterations{found}"
