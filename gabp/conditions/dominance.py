"""Strict diagonal dominance ``A_ii > Σ_k |A_ik|``, decided in exact arithmetic where rounding could matter."""

import math
from fractions import Fraction

import numpy as np

from gabp.conditions.host_edges import ROUNDOFF, HostEdges
from gabp.conditions.verdict import Verdict


def diagonally_dominant(edges: HostEdges) -> Verdict:
    """Whether every row is strictly dominant.

    Sufficient for convergence under every schedule (Weiss and Freeman, Neural Computation 2001).
    """
    row_sum = edges.multiply(edges.magnitude, np.ones(edges.n))
    with np.errstate(over="ignore"):  # rows that overflow are left to exact arithmetic
        slack = edges.diagonal - row_sum
        error = 4 * (edges.degree + 2) * ROUNDOFF * (np.abs(edges.diagonal) + row_sum)
    if np.any(slack < -error):
        return Verdict.NO
    for row in np.flatnonzero(slack <= error):
        if not _exceeds_sum(edges.diagonal[row], edges.magnitude[edges.start[row] : edges.start[row + 1]]):
            return Verdict.NO
    return Verdict.YES


def _exceeds_sum(value: float, terms: np.ndarray) -> bool:
    """Whether ``value > Σ terms`` in exact arithmetic."""
    try:
        return math.fsum([value, *-terms]) > 0  # correctly rounded, so of the right sign
    except OverflowError:
        return Fraction(value) > sum(map(Fraction, terms.tolist()))
