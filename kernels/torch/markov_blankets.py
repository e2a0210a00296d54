"""Each node conditioned on the Markov blanket of a small patch around it, literally.

With P the patch and S its Markov blanket, the nodes next to it, ``Var(x_i | x_S) = (A_PP⁻¹)_ii`` and
``E(x_i | x_S) = -(A_PP⁻¹ A_PS x_S)_i``.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Model(NamedTuple):
    """A symmetric model by its directed edges (see `gabp.kernels.reference`), in float64."""

    start: Tensor
    source: Tensor
    diagonal: Tensor
    weight: Tensor


class Limits(NamedTuple):
    """The most nodes of a patch and of its blanket; a patch of one node has the blanket that it has."""

    patch: int
    blanket: int


def conditional_variances(model: Model, limits: Limits, variance: Tensor, blanket_start: Tensor, threads: int) -> int:
    """Write ``Var(x_i | x_S)`` ``(n,)`` and where the blanket of each node starts ``(n + 1,)``.

    Returns the first node whose patch is not positive definite, or -1.
    """
    blanket_start[0] = 0
    invalid = -1
    for i in range(len(model.diagonal)):
        patch, blanket = _grow(model, i, limits)
        blanket_start[i + 1] = blanket_start[i] + len(blanket)
        lower, info = torch.linalg.cholesky_ex(_block(model, patch, patch))
        if int(info) and invalid < 0:
            invalid = i
        variance[i] = torch.cholesky_inverse(lower)[0, 0]
    return invalid


def conditional_means(
    model: Model, limits: Limits, blanket_start: Tensor, blanket: Tensor, coefficient: Tensor, threads: int
) -> None:
    """Write the nodes of each blanket and their coefficients in ``E(x_i | x_S)``, each ``(blanket_start[-1],)``."""
    for i in range(len(model.diagonal)):
        patch, around = _grow(model, i, limits)
        at = slice(int(blanket_start[i]), int(blanket_start[i + 1]))
        blanket[at] = torch.tensor(around, dtype=blanket.dtype)
        coefficient[at] = -torch.linalg.inv(_block(model, patch, patch))[0] @ _block(model, patch, around)


def _grow(model: Model, node: int, limits: Limits) -> tuple[list[int], list[int]]:
    """Patch and blanket, breadth first, while neither exceeds its limit."""
    patch: list[int] = []
    blanket = [node]
    while blanket and len(patch) < limits.patch:
        known = {*patch, *blanket}
        neighbours = model.source[int(model.start[blanket[0]]) : int(model.start[blanket[0] + 1])].tolist()
        grown = blanket[1:] + [k for k in neighbours if k not in known]
        if patch and len(grown) > limits.blanket:
            break
        patch.append(blanket[0])
        blanket = grown
    return patch, blanket


def _block(model: Model, row: list[int], column: list[int]) -> Tensor:
    block = model.diagonal.new_zeros((len(row), len(column)))
    for p, i in enumerate(row):
        for q, j in enumerate(column):
            if i == j:
                block[p, q] = model.diagonal[i]
        for e in range(int(model.start[i]), int(model.start[i + 1])):
            if int(model.source[e]) in column:
                block[p, column.index(int(model.source[e]))] = model.weight[e]
    return block
