"""Jacobi's spectral radius ρ(R): an estimate for the report; it decides nothing about GaBP."""

import math

import numpy as np
import scipy.linalg
import scipy.sparse
import scipy.sparse.linalg

from gabp.conditions.host_edges import HostEdges, Vector, dot
from gabp.conditions.walk_sums import RadiusBounds

_DENSE = 400  # nodes up to which the spectrum is computed densely
_LANCZOS_STEPS = 80
_CHECK_INTERVAL, _TOLERANCE = 10, 1e-4  # Lanczos steps between convergence checks; relative growth that ends it


def jacobi_radius(edges: HostEdges, bounds: RadiusBounds) -> float | None:
    """Estimate ``ρ(R) = ρ(I - D⁻¹A)``; None where the Arnoldi iteration of a nonsymmetric matrix fails."""
    if edges.count == 0:
        return 0.0
    if edges.symmetric and edges.n > _DENSE:
        # R of a balanced model is similar to ±|R|
        return bounds.lower if edges.signature is not None else lanczos_radius(edges)
    couplings = edges.weight / np.repeat(edges.diagonal, edges.degree)
    if edges.symmetric:
        couplings = np.copysign(edges.coupling, edges.weight)
    matrix = edges.on_edges(couplings)
    if edges.n > _DENSE:
        return _arnoldi(matrix)
    eigenvalues = np.linalg.eigvalsh if edges.symmetric else np.linalg.eigvals
    return float(np.abs(eigenvalues(matrix.toarray())).max())


def lanczos_radius(edges: HostEdges) -> float:
    """Estimate ``ρ(R)`` of a symmetric model by Lanczos; extreme Ritz values need no reorthogonalisation."""
    couplings = np.copysign(edges.coupling, edges.weight)
    v: Vector = np.random.default_rng(0).standard_normal(edges.n)
    v /= math.sqrt(dot(v, v))
    previous_v = np.zeros(edges.n)
    alpha, beta = [], [0.0]  # diagonal and subdiagonal of the tridiagonal matrix
    estimate = 0.0
    for step in range(1, min(_LANCZOS_STEPS, edges.n) + 1):
        image = edges.multiply(couplings, v) - beta[-1] * previous_v
        alpha.append(dot(v, image))
        image -= alpha[-1] * v
        norm = math.sqrt(dot(image, image))
        if norm <= 1e-14 * (abs(alpha[-1]) + beta[-1]):
            beta.append(0.0)
            break
        beta.append(norm)
        previous_v, v = v, image / norm
        if step % _CHECK_INTERVAL == 0:
            previous, estimate = estimate, _largest_ritz(alpha, beta)
            if estimate - previous <= _TOLERANCE * estimate:
                return estimate
    return _largest_ritz(alpha, beta)


def _largest_ritz(alpha: list[float], beta: list[float]) -> float:
    return float(np.abs(scipy.linalg.eigvalsh_tridiagonal(alpha, beta[1 : len(alpha)])).max())


def _arnoldi(matrix: scipy.sparse.csr_array) -> float | None:
    start = np.random.default_rng(0).standard_normal(matrix.shape[0])
    try:
        values = scipy.sparse.linalg.eigs(matrix, 2, v0=start, maxiter=50, tol=1e-6, return_eigenvectors=False)
    except scipy.sparse.linalg.ArpackNoConvergence as stopped:
        values = stopped.eigenvalues
    return float(np.abs(values).max()) if len(values) else None
