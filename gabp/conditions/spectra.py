"""Jacobi's radius ρ(R): an estimate to report, never a ground for a verdict about GaBP."""

import math

import numpy as np
import scipy.sparse
import scipy.sparse.linalg

from gabp.conditions.slots import Slots, Vector, dot
from gabp.conditions.walk_sums import Bracket

_DENSE = 400
_STEPS = 80


def jacobi_radius(slots: Slots, bracket: Bracket) -> float | None:
    """``ρ(R) = ρ(I - D⁻¹A)``; None where a nonsymmetric spectrum could not be found."""
    if slots.edges == 0:
        return 0.0
    matrix = slots.on_edges(np.copysign(slots.coupling, slots.weight))
    if not slots.symmetric:
        matrix = slots.on_edges(slots.weight / slots.diagonal[slots.destination])
    if slots.n <= _DENSE:
        solve = np.linalg.eigvalsh if slots.symmetric else np.linalg.eigvals
        return float(np.abs(solve(matrix.toarray())).max())
    if not slots.symmetric:
        return _arnoldi(matrix)
    if slots.signature is not None:
        return bracket.lower  # R and |R| have the same eigenvalues up to signs of the variables
    return lanczos_radius(matrix)


def lanczos_radius(matrix: scipy.sparse.csr_array) -> float:
    """The spectral radius of a symmetric matrix by Lanczos; extreme Ritz values need no reorthogonalisation."""
    n = matrix.shape[0]
    v: Vector = np.random.default_rng(0).standard_normal(n)
    v /= math.sqrt(dot(v, v))
    before = np.zeros(n)
    along, across = [], [0.0]
    for _ in range(min(_STEPS, n)):
        image = matrix @ v - across[-1] * before
        along.append(dot(v, image))
        image -= along[-1] * v
        size = math.sqrt(dot(image, image))
        if size <= 1e-14 * (abs(along[-1]) + across[-1]):
            across.append(0.0)
            break
        across.append(size)
        before, v = v, image / size
    ritz = np.linalg.eigvalsh(np.diag(along) + np.diag(across[1:-1], 1) + np.diag(across[1:-1], -1))
    return float(np.abs(ritz).max())


def _arnoldi(matrix: scipy.sparse.csr_array) -> float | None:
    start = np.random.default_rng(0).standard_normal(matrix.shape[0])
    try:
        values = scipy.sparse.linalg.eigs(matrix, 2, v0=start, maxiter=50, tol=1e-6, return_eigenvectors=False)
    except scipy.sparse.linalg.ArpackNoConvergence as stopped:
        values = stopped.eigenvalues
    return float(np.abs(values).max()) if len(values) else None
