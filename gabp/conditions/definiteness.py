"""Is the matrix the precision of a Gaussian? Positive definiteness with a proof of either answer.

Yes comes from walk-summability, or from a sparse factor of ``A - cI`` (A of nearly unit diagonal) whose
residual is bounded below ``c`` after the fact: ``A = L D Lᵀ + (cI + G)`` with ``D > 0`` and ``‖G‖_∞ < c``.
No comes from a vector of nonpositive curvature, ``pᵀ A p <= 0`` beyond rounding.
"""

import math
from itertools import chain

import numpy as np
import scipy.sparse
import scipy.sparse.linalg

from gabp.conditions.slots import ROUNDOFF, Slots, Vector, dot
from gabp.conditions.verdict import Verdict
from gabp.conditions.walk_sums import Bracket

_FACTOR_WORK = 3e9  # multiplications of an envelope factorisation worth a definite answer
_SHIFTS = (1e-10, 1e-13)  # c: how far from singular the scaled matrix must be, and a second try
_SMALLEST = 1e-60  # entry of a vector whose products stay far from underflow
_STEPS = 200  # conjugate-gradient steps in search of negative curvature


def positive_definite(slots: Slots, bracket: Bracket | None) -> Verdict:
    """Whether the symmetric ``A`` is positive definite.

    Parameters
    ----------
    slots : Slots
    bracket : Bracket or None
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
        and bracket.witness is not None
        and (_curvature_nonpositive(slots, slots.signature * bracket.witness))
    ):
        return Verdict.NO
    verdict = _by_factor(slots) if slots.envelope_work <= _FACTOR_WORK else Verdict.UNDECIDED
    if verdict is Verdict.UNDECIDED and has_negative_curvature(slots):
        return Verdict.NO
    return verdict


def has_negative_curvature(slots: Slots, sign: float = 1.0) -> bool:
    """Whether conjugate gradients on ``D + sign·O`` meet a proven direction of nonpositive curvature."""
    root = np.sqrt(slots.diagonal)
    scaled = slots.on_edges(sign * np.copysign(slots.coupling, slots.weight))
    residual = np.random.default_rng(0).standard_normal(slots.n)
    direction, squared = residual.copy(), dot(residual, residual)
    smallest = ROUNDOFF * math.sqrt(squared)
    for _ in range(_STEPS):
        image = direction + scaled @ direction
        curvature = dot(direction, image)
        if curvature <= 0:
            return _curvature_nonpositive(slots, direction / root, sign)
        residual -= squared / curvature * image
        previous, squared = squared, dot(residual, residual)
        if math.sqrt(squared) <= smallest:
            return False
        direction = residual + squared / previous * direction
    return False


def _curvature_nonpositive(slots: Slots, p: Vector, sign: float = 1.0) -> bool:
    """Whether ``pᵀ (D + sign·O) p <= 0`` is proven."""
    p = p / np.abs(p).max()
    if np.all((p == 0) | (np.abs(np.frexp(p)[0]) == 0.5) & (np.abs(p) > _SMALLEST)):
        # products with powers of two are exact, and so is fsum
        coupled = sign * p[slots.destination] * p[slots.source] * slots.weight
        return math.fsum(chain(slots.diagonal * p * p, coupled)) <= 0
    own, pull = slots.diagonal * p, sign * (slots.off_diagonal @ p)
    value = float((p * own).sum() + (p * pull).sum())
    size = float((np.abs(p) * (np.abs(own) + slots.absolute @ np.abs(p))).sum())
    return value < -4 * (slots.degree.max(initial=0) + 24 + math.log2(slots.n)) * ROUNDOFF * size


def _by_factor(slots: Slots) -> Verdict:
    matrix = slots.off_diagonal + scipy.sparse.diags_array(slots.diagonal)
    for shift in _SHIFTS:
        shifted = scipy.sparse.csc_array(matrix - shift * scipy.sparse.eye_array(slots.n))
        try:
            factor = scipy.sparse.linalg.splu(
                shifted.astype(np.float64),
                permc_spec="MMD_AT_PLUS_A",
                diag_pivot_thresh=0.0,
                options={"SymmetricMode": True},
            )
        except RuntimeError:  # SuperLU met a zero pivot
            continue
        if not np.array_equal(factor.perm_r, factor.perm_c):
            continue
        order = np.argsort(factor.perm_c)
        pivot = factor.U.diagonal()
        if np.all(pivot > 0):
            if _residual_bound(shifted[order][:, order], factor.L, pivot) < shift / 2:
                return Verdict.YES
        else:
            first = np.zeros(slots.n)
            first[np.flatnonzero(~(pivot > 0))[0]] = 1.0
            p = scipy.sparse.linalg.spsolve_triangular(factor.L.T.tocsr(), first, lower=False)
            unordered = np.empty(slots.n)
            unordered[order] = p
            if np.all(np.isfinite(p)) and _curvature_nonpositive(slots, unordered):
                return Verdict.NO
    return Verdict.UNDECIDED


def _residual_bound(matrix: scipy.sparse.csc_array, lower: scipy.sparse.csc_array, pivot: Vector) -> float:
    """A bound of ``‖A - L D Lᵀ‖_∞`` that holds in spite of the rounding of its own evaluation."""
    ones = np.ones(len(pivot))
    residual = abs(matrix - (lower * pivot) @ lower.T) @ ones
    terms = int(np.diff(lower.tocsr().indptr).max())
    size = abs(lower) @ (pivot * (abs(lower).T @ ones)) + abs(matrix) @ ones
    return float((residual * (1 + 1e-6) + 4 * (terms + 4) * ROUNDOFF * size).max())
