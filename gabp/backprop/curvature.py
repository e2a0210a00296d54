"""Gauss–Newton curvature as precision messages through deterministic factors."""

import math

import torch
from torch import Tensor

from gabp.backprop.local_factors import LocalFactor
from gabp.backprop.program import Program
from gabp.system import InvalidSystemError


def curvature_messages(
    program: Program, local: dict[int, LocalFactor], output: Tensor, loss_precision: float
) -> tuple[list[tuple[int, int, Tensor]], tuple[Tensor, ...]]:
    """One backward pass of the precision messages ``Λ_{f→i} = J_iᵀ Λ J_i``.

    The message of a factor ``N(d_v; Σ_u J_u d_u, εI)`` to its parent ``i`` has the precision
    ``J_iᵀ Λ_v (I + S Λ_v)⁻¹ J_i`` with ``S = εI + Σ_{j≠i} J_j Λ_j⁻¹ J_jᵀ``. Computed is the limit ``ε → 0`` with the
    other parents known exactly (``S = 0``). A precision ``Λ = Σ_r R_r R_rᵀ`` is represented by its root ``R``, each row
    of which takes one local vector–Jacobian product.

    Parameters
    ----------
    program : Program
    local : dict of int to LocalFactor
        By position of the factor in the program.
    output : Tensor
        The value of the program.
    loss_precision : float

    Returns
    -------
    messages : list of (factor, parent, R)
        ``R`` has shape (r, *shape of the parent).
    roots : tuple of Tensor
        For each input, the root of the sum of the precisions that it receives, with at most as many rows as the input
        has elements.

    Raises
    ------
    InvalidSystemError
        The program has a cycle.
    """
    if program.has_cycle:
        raise InvalidSystemError(
            "loss_precision requires a program without an equilibrium: curvature takes a single backward pass"
        )
    assert program.output is not None
    size = output.numel()
    boundary = math.sqrt(loss_precision) * torch.eye(size, dtype=output.dtype, device=output.device)
    received: dict[int, list[Tensor]] = {program.output: [boundary.reshape(size, *output.shape)]}
    messages = []
    for position in reversed(range(len(program.factors))):
        factor = program.factors[position]
        sent: dict[int, list[Tensor]] = {}
        for variable in factor.outputs:
            for row in _root_of_sum(received.get(variable, [])):
                for parent, derivative in local[position].backward({variable: row}).items():
                    sent.setdefault(parent, []).append(derivative)
        for parent, rows in sent.items():
            root = torch.stack(rows)
            messages.append((position, parent, root))
            received.setdefault(parent, []).append(root)
    roots = []
    for index in program.inputs:
        shape = program.variables[index].shape
        rows = _root_of_sum(received.get(index, []))
        roots.append(torch.stack(rows) if rows else output.new_zeros((0, *shape)))
    return messages, tuple(roots)


def _root_of_sum(roots: list[Tensor]) -> list[Tensor]:
    """The rows of a root of the sum of precisions; the R factor of a QR where there are more rows than elements."""
    if not roots:
        return []
    rows = torch.cat(roots)
    elements = rows[0].numel()
    if len(rows) > elements:
        rows = torch.linalg.qr(rows.reshape(len(rows), elements), mode="r")[1].reshape(-1, *rows.shape[1:])
    return list(rows)
