"""Is the matrix the precision of a Gaussian? Positive definiteness with a proof of either answer.

Yes comes from walk-summability, or from a sparse Cholesky factor of ``A - cI`` that exists in float64: what is
factored differs from that by less than ``c`` (Demmel 1989; Rump 2006, "Verification of positive definiteness").
No comes from a vector of nonpositive curvature, ``pᵀ A p <= 0`` beyond rounding.
"""

import math
from dataclasses import replace
from itertools import chain

import numpy as np
import torch

from gabp.conditions.host_edges import ROUNDOFF, HostEdges, Vector, dot
from gabp.conditions.verdict import Verdict
from gabp.conditions.walk_sums import RadiusBounds
from gabp.messages import SparseFactor, fits_in_memory
from gabp.system import NotPositiveDefiniteError

_ANALYSIS = 2_000_000  # nodes and edges whose symbolic factor is worth a definite answer
_FLOPS = 1e10  # of a factorisation that is
_LOADINGS = (1e-12, 1e-10, 1e-8, 1e-6, 1e-4, 1e-2)  # what may make A, of nearly unit diagonal, definite
_INVERSE_ITERATIONS = 8
_SMALLEST = 1e-60  # entry of a vector whose products stay far from underflow
_STEPS = 200  # conjugate-gradient steps in search of negative curvature


def positive_definite(slots: HostEdges, bracket: RadiusBounds | None) -> Verdict:
    """Whether the symmetric ``A`` is positive definite.

    Parameters
    ----------
    slots : HostEdges
    bracket : RadiusBounds or None
        The bounds of ``ρ(|R|)`` found so far; None where a diagonal entry is not positive.
    """
    if not slots.symmetric:
        return Verdict.UNDECIDED
    if bracket is None:
        return Verdict.NO  # A_ii <= 0 is the curvature along a coordinate
    if bracket.verdict is Verdict.YES:
        return Verdict.YES
    # an attractive model up to signs is as definite as its comparison matrix
    if (
        bracket.verdict is Verdict.NO
        and slots.signature is not None
        and bracket.lower_certificate is not None
        and (_curvature_nonpositive(slots, slots.signature * bracket.lower_certificate))
    ):
        return Verdict.NO
    if has_negative_curvature(slots):
        return Verdict.NO
    return _by_factor(slots) if _is_affordable(slots) else Verdict.UNDECIDED


def has_negative_curvature(slots: HostEdges, sign: float = 1.0) -> bool:
    """Whether conjugate gradients on ``D + sign·O`` meet a proven direction of nonpositive curvature."""
    root = np.sqrt(slots.diagonal)
    scaled = sign * np.copysign(slots.coupling, slots.weight)
    residual = np.random.default_rng(0).standard_normal(slots.n)
    direction, squared = residual.copy(), dot(residual, residual)
    smallest = ROUNDOFF * math.sqrt(squared)
    for _ in range(_STEPS):
        image = direction + slots.multiply(scaled, direction)
        curvature = dot(direction, image)
        if curvature <= 0:
            return _curvature_nonpositive(slots, direction / root, sign)
        residual -= squared / curvature * image
        previous, squared = squared, dot(residual, residual)
        if math.sqrt(squared) <= smallest:
            return False
        direction = residual + squared / previous * direction
    return False


def _curvature_nonpositive(slots: HostEdges, p: Vector, sign: float = 1.0) -> bool:
    """Whether ``pᵀ (D + sign·O) p <= 0`` is proven."""
    p = p / np.abs(p).max()
    if np.all((p == 0) | (np.abs(np.frexp(p)[0]) == 0.5) & (np.abs(p) > _SMALLEST)):
        # products with powers of two are exact, and so is fsum
        coupled = sign * p[slots.destination] * p[slots.source] * slots.weight
        return math.fsum(chain(slots.diagonal * p * p, coupled)) <= 0
    own, pull = slots.diagonal * p, sign * slots.multiply(slots.weight, p)
    value = float((p * own).sum() + (p * pull).sum())
    size = float((np.abs(p) * (np.abs(own) + slots.multiply(slots.magnitude, np.abs(p)))).sum())
    return value < -4 * (slots.degree.max(initial=0) + 24 + math.log2(slots.n)) * ROUNDOFF * size


def _is_affordable(slots: HostEdges) -> bool:
    graph = slots.system.graph
    return graph.n + graph.edges <= _ANALYSIS and graph.symbolic.flops <= _FLOPS and fits_in_memory(graph)


def _by_factor(slots: HostEdges) -> Verdict:
    # |ΔA_ij| <= γ_{n+4} sqrt(A_ii A_jj) for a factor of A + ΔA, hence ‖ΔA‖₂ <= γ_{n+4} tr A
    error = 1.01 * (slots.n + 4) * ROUNDOFF * math.fsum(slots.diagonal)
    if _factor(slots, -2 * error) is not None:
        return Verdict.YES
    for loading in _LOADINGS:
        factor = _factor(slots, loading)
        if factor is None:
            continue
        p = torch.from_numpy(np.random.default_rng(0).standard_normal(slots.n))[:, None]
        for _ in range(_INVERSE_ITERATIONS):
            p = factor.solve(p)
            p /= p.norm()
        return Verdict.NO if _curvature_nonpositive(slots, p[:, 0].numpy()) else Verdict.UNDECIDED
    return Verdict.UNDECIDED


def _factor(slots: HostEdges, loading: float) -> SparseFactor | None:
    """Of ``A + loading·I``; None where that is not positive definite to float64."""
    try:
        return SparseFactor(replace(slots.system, diagonal=slots.system.diagonal + loading))
    except NotPositiveDefiniteError:
        return None
