"""The demonstration: a mountain range from one height in twenty.

The model is "approximation from sparse data" of Weiss and Freeman (*Correctness of belief propagation in
Gaussian graphical models of arbitrary topology*, Neural Computation 13, 2001) at the scale of a real map:
neighbouring heights are close, a few heights are known.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from matplotlib.cbook import get_sample_data
from scipy.spatial import cKDTree

import gabp
from gabp.messages import bethe_variances
from gabp.system import make_system, read_matrix

__all__ = ["Reconstruction", "Terrain", "load_terrain", "reconstruct", "smoothness_precision"]

SMOOTHNESS = 1.0  # precision of the difference between two neighbours
TRUST = 100.0  # precision of a given height
METRES_PER_DEGREE = 111_320.0  # of latitude; of longitude it shrinks with the cosine


@dataclass(frozen=True)
class Terrain:
    """Heights on a regular grid, north up.

    Parameters
    ----------
    height : ndarray, shape (rows, columns)
        In metres.
    spacing : tuple of two floats
        Metres between rows and between columns.
    """

    height: np.ndarray
    spacing: tuple[float, float]


@dataclass(frozen=True)
class Reconstruction:
    """A terrain estimated from a few of its heights; all maps have shape (rows, columns).

    Parameters
    ----------
    terrain : Terrain
        The truth.
    given : ndarray of bool
        Where the height was known.
    mean : ndarray
        The posterior mean, metres.
    deviation : ndarray
        The Bethe approximation of the posterior standard deviation, metres, on the scale of `noise_scale`.
    noise_scale : float
        The standard deviation that a precision of 1 stands for, in standardised heights (`fitted_scale`).
    nearest : ndarray
        The baseline: the height of the nearest given point, metres.
    solution : gabp.Solution
        Of the system for the standardised heights.
    relative_residual : float
        ‖b - A x‖ / ‖b‖ of that system, recomputed here.
    """

    terrain: Terrain
    given: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray
    noise_scale: float
    nearest: np.ndarray
    solution: gabp.Solution
    relative_residual: float

    def rmse(self, estimate: np.ndarray) -> float:
        """Root-mean-square error, metres, over the heights that were not given."""
        hidden = ~self.given
        return float(np.sqrt(np.mean((estimate - self.terrain.height)[hidden] ** 2)))

    @property
    def coverage(self) -> float:
        """The share of the heights that were not given within two Bethe standard deviations of their mean."""
        hidden = ~self.given
        return float(np.mean(np.abs(self.mean - self.terrain.height)[hidden] <= 2 * self.deviation[hidden]))

    def summary(self) -> dict[str, Any]:
        """The numbers of the run."""
        return {
            "heights": self.given.size,
            "given": int(self.given.sum()),
            "rmse_metres": self.rmse(self.mean),
            "nearest_neighbour_rmse_metres": self.rmse(self.nearest),
            "within_two_bethe_deviations": self.coverage,
            "noise_scale": self.noise_scale,
            "relative_residual": self.relative_residual,
            "status": self.solution.status.name,
            "method": self.solution.method,
            "iterations": self.solution.iterations,
            "setup_seconds": self.solution.setup_seconds,
            "solve_seconds": self.solution.solve_seconds,
        }


def load_terrain() -> Terrain:
    """The elevation model of the Jacksboro fault, Tennessee, that ships in matplotlib: 344×403 heights."""
    sample: Any = get_sample_data("jacksboro_fault_dem.npz")
    with sample as data:
        latitude = 0.5 * (float(data["ymin"]) + float(data["ymax"]))
        down = float(data["dy"]) * METRES_PER_DEGREE
        across = float(data["dx"]) * METRES_PER_DEGREE * np.cos(np.radians(latitude))
        return Terrain(data["elevation"].astype(np.float64), (down, float(across)))


def smoothness_precision(given: np.ndarray) -> sp.csr_array:
    """The precision matrix A = grid Laplacian + 100·mask.

    Parameters
    ----------
    given : ndarray of bool, shape (rows, columns)

    Returns
    -------
    csr_array, shape (rows·columns, rows·columns)
        Symmetric positive definite if any height is given; nodes in row order.
    """

    def path_laplacian(n: int) -> sp.csr_array:
        forward = sp.diags_array([-np.ones(n - 1), np.ones(n - 1)], offsets=[0, 1], shape=(n - 1, n))
        return (forward.T @ forward).tocsr()

    rows, columns = given.shape
    laplacian = sp.kron(path_laplacian(rows), sp.eye_array(columns)) + sp.kron(
        sp.eye_array(rows), path_laplacian(columns)
    )
    return (SMOOTHNESS * laplacian + TRUST * sp.diags_array(given.ravel().astype(np.float64))).tocsr()


def _nearest_given(terrain: Terrain, given: np.ndarray) -> np.ndarray:
    down, across = terrain.spacing
    row, column = np.indices(given.shape)
    position = np.stack([row * down, column * across], axis=-1)
    _, nearest = cKDTree(position[given]).query(position)
    return terrain.height[given][nearest]


def fitted_scale(y: np.ndarray, x: np.ndarray) -> float:
    """The standard deviation that a precision of 1 stands for, by restricted maximum likelihood.

    The mean depends only on the ratio of the two precisions; their scale is free, and the given heights alone
    fix it: s² = TRUST·yᵀ(y - x) / (g - 1) is the model's energy at its mean per degree of freedom (the
    constant that the Laplacian leaves free takes one away).

    Parameters
    ----------
    y : ndarray, shape (g,)
        The given values.
    x : ndarray, shape (g,)
        The posterior mean at their places.
    """
    return float(np.sqrt(TRUST * y @ (y - x) / max(1, len(y) - 1)))


def reconstruct(
    terrain: Terrain,
    *,
    fraction: float = 0.05,
    seed: int = 0,
    callback: Callable[[gabp.Progress], bool | None] | None = None,
) -> Reconstruction:
    """Forget most of a terrain and estimate it from the rest.

    Parameters
    ----------
    terrain : Terrain
    fraction : float
        Of the heights that are kept, drawn at random.
    seed : int
        Of the draw.
    callback : callable, optional
        Passed on to `gabp.solve`.

    Returns
    -------
    Reconstruction
    """
    height = terrain.height
    centre, scale = height.mean(), height.std()
    standardised = (height - centre) / scale
    kept = max(1, round(fraction * height.size))
    given = np.zeros(height.shape, dtype=bool)
    given.flat[np.random.default_rng(seed).choice(height.size, size=kept, replace=False)] = True

    A = smoothness_precision(given)
    b = (TRUST * given * standardised).ravel()
    solution = gabp.solve(A, b, throw=False, callback=callback)
    x = solution.x.reshape(height.shape)
    noise_scale = fitted_scale(standardised[given], x[given])
    variance = bethe_variances(make_system(read_matrix(A))).numpy().reshape(height.shape)
    return Reconstruction(
        terrain=terrain,
        given=given,
        mean=centre + scale * x,
        deviation=scale * noise_scale * np.sqrt(variance),
        noise_scale=noise_scale,
        nearest=_nearest_given(terrain, given),
        solution=solution,
        relative_residual=float(np.linalg.norm(b - A @ solution.x) / np.linalg.norm(b)),
    )
