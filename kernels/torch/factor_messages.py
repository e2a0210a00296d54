"""Messages from Gaussian factors to their variables, by elimination of the other variables, literally.

A factor is ``exp(-½ xᵀΛx + ηᵀx)`` of its variables side by side. Blocks of all variables are packed: the precisions of
a factor's messages are one row of ``Σ d_p²`` numbers, its potentials one of ``D = Σ d_p``.

A. J. Davison and J. Ortiz, *FutureMapping 2: Gaussian belief propagation for spatial AI*, arXiv:1910.14139 (2019).
"""

from collections.abc import Sequence

import torch
from torch import Tensor

Part = tuple[slice, slice]  # the rows and the packed block of one variable of a factor


def outgoing_messages(
    dimensions: Sequence[int], precision: Tensor, potential: Tensor, incoming_precision: Tensor, incoming: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The message to each variable: the factor times the messages from all others, which are eliminated.

    Parameters
    ----------
    dimensions : sequence of int
        ``d_p`` of each variable.
    precision : Tensor, shape (m, D, D)
        Λ of the factors.
    potential : Tensor, shape (m, D)
        η of the factors.
    incoming_precision : Tensor, shape (m, Σ d_p²)
    incoming : Tensor, shape (m, D)
        Potentials.

    Returns
    -------
    Tensor, shape (m, Σ d_p²)
        Precisions, exactly symmetric.
    Tensor, shape (m, D)
        Potentials.
    Tensor, shape (m,), bool
        Whether every matrix that was eliminated is positive definite.
    """
    joint, parts = precision.clone(), slices(dimensions)
    for rows, block in parts:
        joint[:, rows, rows] += incoming_precision[:, block].unflatten(1, (rows.stop - rows.start, -1))
    total = potential + incoming
    sent, sent_potential = torch.empty_like(incoming_precision), torch.empty_like(incoming)
    definite = torch.ones(len(precision), dtype=torch.bool, device=precision.device)
    for rows, block in parts:
        ranges = [torch.arange(r.start, r.stop) for r, _ in parts if r != rows]
        others = torch.cat(ranges or [torch.empty(0, dtype=torch.int64)]).to(joint.device)
        factor, failed = torch.linalg.cholesky_ex(joint[:, others[:, None], others])
        definite &= failed == 0
        across = joint[:, others, rows]
        solved = torch.cholesky_solve(torch.cat([across, total[:, others, None]], 2), factor)
        message = precision[:, rows, rows] - across.mT @ solved[:, :, :-1]
        sent[:, block] = ((message + message.mT) / 2).flatten(1)
        sent_potential[:, rows] = potential[:, rows] - (across.mT @ solved[:, :, -1:])[..., 0]
    return sent, sent_potential, definite


def transport(
    precision: Tensor, potential: Tensor, part: Part, factor: Tensor, variable: Tensor, delta: Tensor, turn: Tensor
) -> None:
    """Express messages in new coordinates of their variable, ``δ = δ₀ + Jδ'``: ``JᵀΛJ`` and ``Jᵀ(η - Λδ₀)``.

    Parameters
    ----------
    precision : Tensor, shape (m, Σ d_p²)
        Written to, as is the potential.
    potential : Tensor, shape (m, D)
    part : tuple of slice
        Of one variable, see `slices`.
    factor : Tensor, shape (k,), int64
        The messages, without duplicates.
    variable : Tensor, shape (k,), int64
        Rows of δ₀ and J.
    delta : Tensor, shape (N, d)
        ``δ₀``.
    turn : Tensor, shape (N, d, d)
        ``J``.
    """
    rows, block = part
    square, shift, jacobian = precision[factor, block].unflatten(1, turn.shape[1:]), delta[variable], turn[variable]
    moved = potential[factor, rows] - (square @ shift[..., None])[..., 0]
    square = jacobian.mT @ square @ jacobian
    precision[factor, block] = ((square + square.mT) / 2).flatten(1)
    potential[factor, rows] = (jacobian.mT @ moved[..., None])[..., 0]


def slices(dimensions: Sequence[int]) -> list[Part]:
    """For each variable, its rows of D and its packed block."""
    parts: list[Part] = []
    row, place = 0, 0
    for size in dimensions:
        parts.append((slice(row, row + size), slice(place, place + size * size)))
        row, place = row + size, place + size * size
    return parts
