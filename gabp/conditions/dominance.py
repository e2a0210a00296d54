"""Strict diagonal dominance, decided without rounding doubts: ``A_ii > Σ_j |A_ij|`` in every row."""

import math

import numpy as np

from gabp.conditions.slots import ROUNDOFF, Slots
from gabp.conditions.verdict import Verdict


def diagonally_dominant(slots: Slots) -> Verdict:
    """Whether every row is strictly dominant; sufficient for every schedule (Weiss and Freeman 2001)."""
    pull = slots.absolute @ np.ones(slots.n)
    slack = slots.diagonal - pull
    doubt = 4 * (slots.degree + 2) * ROUNDOFF * (np.abs(slots.diagonal) + pull)
    if np.any(slack < -doubt):
        return Verdict.NO
    for row in np.flatnonzero(slack <= doubt):
        neighbours = np.abs(slots.weight[slots.start[row] : slots.start[row + 1]])
        if math.fsum([slots.diagonal[row], *-neighbours]) <= 0:  # correctly rounded, so of the right sign
            return Verdict.NO
    return Verdict.YES
