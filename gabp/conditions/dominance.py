"""Strict diagonal dominance, decided without rounding doubts: ``A_ii > Σ_j |A_ij|`` in every row."""

import math
from fractions import Fraction

import numpy as np

from gabp.conditions.host_edges import ROUNDOFF, Slots
from gabp.conditions.verdict import Verdict


def diagonally_dominant(slots: Slots) -> Verdict:
    """Whether every row is strictly dominant; sufficient for every schedule (Weiss and Freeman 2001)."""
    pull = slots.multiply(slots.magnitude, np.ones(slots.n))
    with np.errstate(over="ignore"):  # what overflows is in doubt
        slack = slots.diagonal - pull
        doubt = 4 * (slots.degree + 2) * ROUNDOFF * (np.abs(slots.diagonal) + pull)
    if np.any(slack < -doubt):
        return Verdict.NO
    for row in np.flatnonzero(slack <= doubt):
        neighbours = slots.magnitude[slots.start[row] : slots.start[row + 1]]
        if not _exceeds(slots.diagonal[row], neighbours):
            return Verdict.NO
    return Verdict.YES


def _exceeds(own: float, neighbours: np.ndarray) -> bool:
    """Whether ``own > Σ neighbours`` in exact arithmetic."""
    try:
        return math.fsum([own, *-neighbours]) > 0  # correctly rounded, so of the right sign
    except OverflowError:
        return Fraction(own) > sum(map(Fraction, neighbours.tolist()))
