"""Units in which a hierarchy is stored: powers of two that keep its numbers within the range of float32."""

import math

import torch
from torch import Tensor

from gabp.kernels.torch.aggregation import SymmetricMatrix
from gabp.system import times_power_of_two

MODERATE = 60  # binary digits between a matrix and 1, or across its diagonal, whose squares float32 can hold
_NARROW, _WIDE, _FLOAT_LIMIT = 16.0, 1e24, 1e12  # of the diagonal: its range, and what float32 products can hold


def middle_exponent(smallest: float, largest: float) -> int:
    """The binary exponent halfway between two positive numbers."""
    return (math.frexp(smallest)[1] + math.frexp(largest)[1]) // 2


def common_unit(smallest: float, largest: float) -> float:
    """The power of two that brings a diagonal with these extreme entries near 1; 1 where it is moderate."""
    exponent = middle_exponent(smallest, largest)
    return 1.0 if abs(exponent) < MODERATE else math.ldexp(1.0, min(-exponent, 1000))


def exceeds_float32(smallest: float, largest: float) -> bool:
    """Whether no common unit brings a diagonal with these extreme entries into the range of float32."""
    return math.frexp(largest)[1] - math.frexp(smallest)[1] > MODERATE


def node_exponents(model: SymmetricMatrix) -> Tensor | None:
    """Exponents ``e``, shape (n,), of the units ``S = diag(2**e)`` in which ``S A S`` is stored; None for ``S = I``.

    Aggregation supposes a constant near-null space: the units are those of A, unless the constant vector has less
    energy in those of a unit diagonal, or float32 could not hold the values.
    """
    d = model.diagonal
    smallest, largest = float(d.min()), float(d.max())
    outside = largest > _FLOAT_LIMIT or smallest < 1 / _FLOAT_LIMIT
    if largest <= _NARROW * smallest and not outside:
        return None
    exponent = -torch.div(torch.frexp(d).exponent, 2, rounding_mode="floor")
    scaled = times_power_of_two(d, 2 * exponent)
    coupling = times_power_of_two(model.weight, exponent[model.row] + exponent[model.column]).sum()
    energy, scaled_energy = float(model.row_sum.sum()), float(scaled.sum() + coupling)
    if largest > _WIDE * smallest or scaled_energy * float(d.sum()) < 0.5 * energy * float(scaled.sum()):
        return exponent
    if not outside:
        return None
    return torch.full_like(exponent, -(middle_exponent(smallest, largest) // 2))
