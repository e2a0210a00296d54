"""Positive definiteness of a symmetric matrix, with a proof of either answer where there is one.

* Factor: a sparse Cholesky factor of ``A - cI`` that exists in float64 proves a yes, as what is factored differs from
  it by less than ``c`` (Demmel 1989; Rump 2006, "Verification of positive definiteness"). So does walk-summability.
* Certificate: a direction ``p`` with ``pᵀAp <= 0`` beyond rounding proves a no.
* Search: conjugate gradients find such a direction where there is one, and leave a yes likely where they find none.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from enum import Enum
from itertools import chain
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from gabp.conditions.host_edges import ROUNDOFF, HostEdges, Vector, dot
from gabp.conditions.verdict import Verdict
from gabp.conditions.walk_sums import RadiusBounds
from gabp.krylov import ConjugateGradients
from gabp.messages import SparseFactor, factor_cost
from gabp.system import NotPositiveDefiniteError, System

_ANALYSIS = 2_000_000  # nodes and edges whose symbolic factor is worth a definite answer
_LOADINGS = (1e-12, 1e-10, 1e-8, 1e-6, 1e-4, 1e-2)  # what may make A, of nearly unit diagonal, definite
_INVERSE_ITERATIONS = 8
_SMALLEST = 1e-60  # entry of a vector whose products stay far from underflow
_ITERATIONS = 200  # of conjugate gradients in search of negative curvature
_CURVATURE_ROUNDING = 16 * torch.finfo(torch.float64).eps  # of a sum whose terms are as of twice the precision
_REDUCTION = 1e-8  # of the residual, by which a search ends
_SEARCH_ITERATIONS = 2000


class Curvature(Enum):
    """The sign of ``pᵀAp``, certified beyond rounding."""

    NEGATIVE = -1
    ZERO = 0
    POSITIVE = 1


class ConjugateGradientSolve(Protocol):
    """Preconditioned conjugate gradients on ``A y = r``; see `gabp.solvers.conjugate_gradients.SymmetricSolve`."""

    negative_curvature: Tensor | None

    def advance(self, iterations: int) -> tuple[int, object]: ...

    def estimate(self) -> Tensor: ...


Start = Callable[[System, Tensor, Tensor], ConjugateGradientSolve]
"""``start(system, r, target)``: with a set-up for ``system``, for ``r`` of shape (n, k), ``target`` of shape (k,)."""


def positive_definite(edges: HostEdges, bounds: RadiusBounds | None) -> Verdict:
    """Whether the symmetric ``A`` is positive definite.

    Parameters
    ----------
    edges : HostEdges
    bounds : RadiusBounds or None
        The bounds of ``ρ(|R|)`` found so far; None where a diagonal entry is not positive.
    """
    if not edges.symmetric:
        return Verdict.UNDECIDED
    if bounds is None:
        return Verdict.NO  # A_ii <= 0 is the curvature along a coordinate
    if bounds.verdict is Verdict.YES:
        return Verdict.YES
    # an attractive model up to signs is as definite as its comparison matrix
    if (
        bounds.verdict is Verdict.NO
        and edges.signature is not None
        and bounds.lower_certificate is not None
        and (_curvature_nonpositive(edges, edges.signature * bounds.lower_certificate))
    ):
        return Verdict.NO
    if has_negative_curvature(edges):
        return Verdict.NO
    return _by_factor(edges) if _is_affordable(edges) else Verdict.UNDECIDED


def has_negative_curvature(edges: HostEdges, sign: float = 1.0) -> bool:
    """Whether conjugate gradients on ``D + sign·O`` meet a proven direction of nonpositive curvature."""
    root = np.sqrt(edges.diagonal)
    scaled = sign * np.copysign(edges.coupling, edges.weight)
    r = np.random.default_rng(0).standard_normal((edges.n, 1))
    iteration = ConjugateGradients(
        lambda p: p + edges.multiply(scaled, p[:, 0])[:, None], r, ROUNDOFF * math.sqrt(dot(r[:, 0], r[:, 0]))
    )
    for _ in range(_ITERATIONS):
        if iteration.converged:
            return False
        iteration.iterate()
        if iteration.negative_curvature is not None:
            return _curvature_nonpositive(edges, iteration.negative_curvature / root, sign)
    return False


def search_negative_curvature(system: System, start: Start) -> bool:
    """Solve for a random right-hand side by conjugate gradients, which meet negative curvature where there is any.

    As long as they meet none, their residual is a polynomial of A that is 1 at 0 and has positive roots only, so it
    grows along every eigenvector of a negative eigenvalue. A solution to ``1e-8`` therefore leaves A a negative
    eigenvalue with a probability of about ``1e-8 √n`` only: that the right-hand side had no more of its eigenvector.

    Parameters
    ----------
    system : System
        Symmetric, with a positive diagonal.
    start : callable
        Starts preconditioned conjugate gradients.

    Returns
    -------
    bool
        Whether the search was completed and found nothing.

    Raises
    ------
    NotPositiveDefiniteError
        It found a direction of negative curvature.
    """
    generator = torch.Generator().manual_seed(0)
    r = torch.randn((system.n, 1), dtype=torch.float64, generator=generator).to(system.device)
    unit, scale = system.equilibrated()
    target = _REDUCTION * r.norm(dim=0)
    solve = start(unit, r, target)
    _, failure = solve.advance(_SEARCH_ITERATIONS)
    if solve.negative_curvature is not None:
        direction = solve.negative_curvature.to(system.device) * scale
        raise NotPositiveDefiniteError(int(direction.abs().argmax()), "a direction of negative curvature, largest")
    return failure is None and bool((unit.residual(solve.estimate(), r).norm(dim=0) <= 10 * target).all())


def curvature_certificate(system: System, direction: Tensor) -> Curvature:
    """The sign of ``pᵀAp`` along a direction ``p``, ZERO where rounding of A alone may have made it.

    Compares ``pᵀAp`` with ``|p|ᵀ|A||p|``, the size of its terms: their ratio does not depend on the units of the
    unknowns. Where it is at rounding level, no float64 arithmetic can distinguish A from a singular matrix.

    Parameters
    ----------
    system : System
        Symmetric, with a positive diagonal.
    direction : Tensor, shape (n,)
        Not zero.
    """
    unit, scale = system.equilibrated()
    p = (direction.to(scale) / scale)[:, None]
    p = p / p.abs().max()
    zero = torch.zeros_like(p)
    curvature = -float((p * unit.extended_precision_residual(p, zero)).sum())
    rounding = _CURVATURE_ROUNDING * float((p.abs() * unit.term_sizes(p, zero)).sum())
    if curvature < -rounding:
        return Curvature.NEGATIVE
    return Curvature.ZERO if curvature <= rounding else Curvature.POSITIVE


def _curvature_nonpositive(edges: HostEdges, p: Vector, sign: float = 1.0) -> bool:
    """Whether ``pᵀ (D + sign·O) p <= 0`` is proven, with a bound of every rounding error; exactly for powers of two."""
    p = p / np.abs(p).max()
    if np.all((p == 0) | (np.abs(np.frexp(p)[0]) == 0.5) & (np.abs(p) > _SMALLEST)):
        # products with powers of two are exact, and so is fsum
        coupled = sign * p[edges.destination] * p[edges.source] * edges.weight
        return math.fsum(chain(edges.diagonal * p * p, coupled)) <= 0
    own, pull = edges.diagonal * p, sign * edges.multiply(edges.weight, p)
    value = float((p * own).sum() + (p * pull).sum())
    size = float((np.abs(p) * (np.abs(own) + edges.multiply(edges.magnitude, np.abs(p)))).sum())
    return value < -4 * (edges.degree.max(initial=0) + 24 + math.log2(edges.n)) * ROUNDOFF * size


def _is_affordable(edges: HostEdges) -> bool:
    graph = edges.system.graph
    return graph.n + graph.edges <= _ANALYSIS and factor_cost.is_affordable(graph, factor_cost.FLOPS_FOR_A_VERDICT)


def _by_factor(edges: HostEdges) -> Verdict:
    # |ΔA_ij| <= γ_{n+4} sqrt(A_ii A_jj) for a factor of A + ΔA, hence ‖ΔA‖₂ <= γ_{n+4} tr A
    error = 1.01 * (edges.n + 4) * ROUNDOFF * math.fsum(edges.diagonal)
    if _factor(edges, -2 * error) is not None:
        return Verdict.YES
    for loading in _LOADINGS:
        factor = _factor(edges, loading)
        if factor is None:
            continue
        p = torch.from_numpy(np.random.default_rng(0).standard_normal(edges.n))[:, None]
        for _ in range(_INVERSE_ITERATIONS):
            p = factor.solve(p)
            p /= p.norm()
        return Verdict.NO if _curvature_nonpositive(edges, p[:, 0].numpy()) else Verdict.UNDECIDED
    return Verdict.UNDECIDED


def _factor(edges: HostEdges, loading: float) -> SparseFactor | None:
    """Of ``A + loading·I``; None where that is not positive definite to float64."""
    try:
        return SparseFactor(replace(edges.system, diagonal=edges.system.diagonal + loading))
    except NotPositiveDefiniteError:
        return None
