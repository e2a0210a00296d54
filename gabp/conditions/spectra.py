"""Jacobi's radius ρ(R): an estimate to report, never a ground for a verdict about GaBP."""

import math

import numpy as np
import scipy.linalg
import scipy.sparse
import scipy.sparse.linalg

from gabp.conditions.host_edges import Slots, Vector, dot
from gabp.conditions.walk_sums import Bracket

_DENSE = 400
_STEPS = 80  # of Lanczos
_LOOK, _TOLERANCE = 10, 1e-4  # how often, and when the estimate has stopped growing


def jacobi_radius(slots: Slots, bracket: Bracket) -> float | None:
    """``ρ(R) = ρ(I - D⁻¹A)``; None where a nonsymmetric spectrum could not be found."""
    if slots.edges == 0:
        return 0.0
    if slots.symmetric and slots.n > _DENSE:
        # R and |R| have the same eigenvalues up to signs of the variables
        return bracket.lower if slots.signature is not None else lanczos_radius(slots)
    couplings = slots.weight / np.repeat(slots.diagonal, slots.degree)
    if slots.symmetric:
        couplings = np.copysign(slots.coupling, slots.weight)
    matrix = slots.on_edges(couplings)
    if slots.n > _DENSE:
        return _arnoldi(matrix)
    solve = np.linalg.eigvalsh if slots.symmetric else np.linalg.eigvals
    return float(np.abs(solve(matrix.toarray())).max())


def lanczos_radius(slots: Slots) -> float:
    """``ρ(R)`` of a symmetric model by Lanczos; extreme Ritz values need no reorthogonalisation."""
    couplings = np.copysign(slots.coupling, slots.weight)
    v: Vector = np.random.default_rng(0).standard_normal(slots.n)
    v /= math.sqrt(dot(v, v))
    before = np.zeros(slots.n)
    along, across = [], [0.0]
    estimate = 0.0
    for step in range(1, min(_STEPS, slots.n) + 1):
        image = slots.multiply(couplings, v) - across[-1] * before
        along.append(dot(v, image))
        image -= along[-1] * v
        size = math.sqrt(dot(image, image))
        if size <= 1e-14 * (abs(along[-1]) + across[-1]):
            across.append(0.0)
            break
        across.append(size)
        before, v = v, image / size
        if step % _LOOK == 0:
            previous, estimate = estimate, _largest_ritz(along, across)
            if estimate - previous <= _TOLERANCE * estimate:
                return estimate
    return _largest_ritz(along, across)


def _largest_ritz(along: list[float], across: list[float]) -> float:
    beside = across[1 : len(along)]
    return float(np.abs(scipy.linalg.eigvalsh_tridiagonal(along, beside)).max())


def _arnoldi(matrix: scipy.sparse.csr_array) -> float | None:
    start = np.random.default_rng(0).standard_normal(matrix.shape[0])
    try:
        values = scipy.sparse.linalg.eigs(matrix, 2, v0=start, maxiter=50, tol=1e-6, return_eigenvectors=False)
    except scipy.sparse.linalg.ArpackNoConvergence as stopped:
        values = stopped.eigenvalues
    return float(np.abs(values).max()) if len(values) else None
