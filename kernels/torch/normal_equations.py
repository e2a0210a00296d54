"""Sums ``A = Σ w JᵀΩJ`` and ``g = Σ w JᵀΩr`` over factors, on a pattern that is known, literally."""

from typing import NamedTuple

import torch
from torch import Tensor


class Places(NamedTuple):
    """Where the products of factors on ``a`` variables each go in a matrix stored as off-diagonal rows and diagonal.

    Attributes
    ----------
    dimension : Tensor, shape (a,), int64
        Derivatives of each variable.
    unknown : Tensor, shape (m, a), int64
        The first row of each variable in the matrix, -1 for one without.
    block : Tensor, shape (m, a, a), int64
        Where the first off-diagonal row of the block of variables p and q begins in the values. In the block of a
        variable with itself each row lacks its diagonal entry.
    stride : Tensor, shape (m, a), int64
        From one row of variable p to the next.
    """

    dimension: Tensor
    unknown: Tensor
    block: Tensor
    stride: Tensor


class Factors(NamedTuple):
    """Factors with residuals of dimension d and D derivatives each.

    Attributes
    ----------
    root : Tensor, shape (1, d, d) or (m, d, d), or None
        ``W`` with ``Ω = WᵀW``.
    residual : Tensor, shape (m, d)
        Whitened: ``W r``.
    jacobian : Tensor, shape (m, d, D)
        Not whitened.
    weight : Tensor, shape (m,), or None
    """

    root: Tensor | None
    residual: Tensor
    jacobian: Tensor
    weight: Tensor | None


def whiten(root: Tensor | None, residual: Tensor) -> tuple[Tensor, Tensor]:
    """``W r`` of each factor, (m, d), and its squared norm, (m,), for roots (1, d, d), (m, d, d) or None."""
    whitened = residual if root is None else (root @ residual[..., None])[..., 0]
    return whitened, (whitened * whitened).sum(1)


def products(factors: Factors) -> tuple[Tensor, Tensor]:
    """``w JᵀΩJ``, (m, D, D), and ``w JᵀΩr``, (m, D), of each factor."""
    jacobian = factors.jacobian if factors.root is None else factors.root @ factors.jacobian
    weighted = jacobian if factors.weight is None else factors.weight[:, None, None] * jacobian
    return weighted.mT @ jacobian, (weighted.mT @ factors.residual[..., None])[..., 0]


def add_products(factors: Factors, places: Places, weight: Tensor, diagonal: Tensor, gradient: Tensor) -> None:
    """Add the products of all factors to the off-diagonal values (e,), the diagonal (n,) and the gradient (n,)."""
    product, descent = products(factors)
    ends = [0, *torch.cumsum(places.dimension, 0).tolist()]
    for p in range(len(places.dimension)):
        row = places.unknown[:, p]
        for i in range(ends[p + 1] - ends[p]):
            free = row >= 0
            gradient.index_add_(0, row[free] + i, descent[free, ends[p] + i])
            for q in range(len(places.dimension)):
                column = places.unknown[:, q]
                start = places.block[:, p, q] + i * places.stride[:, p]
                for j in range(ends[q + 1] - ends[q]):
                    both = free & (column >= 0)
                    value, same = product[:, ends[p] + i, ends[q] + j], row == column
                    on = both & same & (i == j)
                    off = both & ~on
                    diagonal.index_add_(0, row[on] + i, value[on])
                    shift = (same & (j > i)).long()
                    weight.index_add_(0, (start + j - shift)[off], value[off])
