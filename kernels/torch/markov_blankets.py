"""Each node seen from the rim of a small patch around it, literally: the reference of the compiled kernel.

With P the patch and S the nodes next to it, ``Var(x_i | x_S) = (A_PP⁻¹)_ii`` and
``E(x_i | x_S) = -(A_PP⁻¹ A_PS x_S)_i``.
"""

import torch
from torch import Tensor


def patch_rims(
    start: Tensor,
    source: Tensor,
    diagonal: Tensor,
    weight: Tensor,
    largest: int,
    longest_rim: int,
    variance: Tensor,
    rim_start: Tensor,
    threads: int,
) -> int:
    """Write the conditional variances and where the rim of each node starts.

    Returns the first node whose patch is not positive definite, or -1.
    """
    rim_start[0] = 0
    bad = -1
    for i in range(len(diagonal)):
        patch, rim = _grow(start, source, i, largest, longest_rim)
        rim_start[i + 1] = rim_start[i] + len(rim)
        lower, info = torch.linalg.cholesky_ex(_block(start, source, diagonal, weight, patch, patch))
        if int(info) and bad < 0:
            bad = i
        variance[i] = torch.cholesky_inverse(lower)[0, 0]
    return bad


def patch_coefficients(
    start: Tensor,
    source: Tensor,
    diagonal: Tensor,
    weight: Tensor,
    largest: int,
    longest_rim: int,
    rim_start: Tensor,
    rim: Tensor,
    coefficient: Tensor,
    threads: int,
) -> None:
    """Write the nodes on each rim and the coefficients of the conditional mean."""
    for i in range(len(diagonal)):
        patch, around = _grow(start, source, i, largest, longest_rim)
        inner = _block(start, source, diagonal, weight, patch, patch)
        outer = _block(start, source, diagonal, weight, patch, around)
        place = slice(int(rim_start[i]), int(rim_start[i + 1]))
        rim[place] = torch.tensor(around, dtype=rim.dtype)
        coefficient[place] = -torch.linalg.inv(inner)[0] @ outer


def _grow(start: Tensor, source: Tensor, node: int, largest: int, longest_rim: int) -> tuple[list[int], list[int]]:
    """Breadth first, while neither patch nor rim grows too large."""
    patch: list[int] = []
    rim = [node]
    while rim and len(patch) < largest:
        known = {*patch, *rim}
        heard = source[int(start[rim[0]]) : int(start[rim[0] + 1])].tolist()
        grown = rim[1:] + [k for k in heard if k not in known]
        if patch and len(grown) > longest_rim:
            break
        patch.append(rim[0])
        rim = grown
    return patch, rim


def _block(
    start: Tensor, source: Tensor, diagonal: Tensor, weight: Tensor, row: list[int], column: list[int]
) -> Tensor:
    block = diagonal.new_zeros((len(row), len(column)))
    for p, i in enumerate(row):
        for q, j in enumerate(column):
            if i == j:
                block[p, q] = diagonal[i]
        for e in range(int(start[i]), int(start[i + 1])):
            if int(source[e]) in column:
                block[p, column.index(int(source[e]))] = weight[e]
    return block
