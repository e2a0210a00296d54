"""Optimality in the single-loops-and-trees neighbourhood (Weiss and Freeman 2001), by exhaustive search."""

from collections.abc import Callable

import torch
from torch import Tensor

from gabp.system import EdgeGraph, InvalidSystemError

_LIMIT = 1 << 22  # assignments in all
_BATCH = 1 << 16  # assignments scored together


def slt_optimal(graph: EdgeGraph, scores: Callable[[Tensor], Tensor], assignment: Tensor, values: int) -> bool:
    """Whether no assignment in the single-loops-and-trees neighbourhood of ``assignment`` has a higher score.

    Parameters
    ----------
    graph : EdgeGraph
    scores : callable
        From assignments of shape (r, n) to scores of shape (r,).
    assignment : Tensor, shape (n,)
    values : int
        Number of values of each node.

    Raises
    ------
    InvalidSystemError
        There are more than four million assignments.
    """
    n = graph.n
    count = values**n
    if count > _LIMIT:
        raise InvalidSystemError(f"{values}^{n} assignments exceed the limit of {_LIMIT} for an exhaustive search")
    device = assignment.device
    place_value = torch.tensor([values**i for i in range(n)], device=device)
    score = scores(assignment[None])[0]
    edges = [(int(i), int(k)) for i, k in zip(graph.destination, graph.source, strict=True) if i < k]
    for first in range(0, count, _BATCH):
        number = torch.arange(first, min(first + _BATCH, count), device=device)
        candidates = number[:, None] // place_value % values
        found = scores(candidates)
        rounding = 4 * n * torch.finfo(found.dtype).eps * found.abs().clamp_min(1.0)
        better = candidates[found > score + torch.nan_to_num(rounding, posinf=0.0)]
        for changed in torch.unique(better != assignment, dim=0).tolist():
            if _is_trees_and_single_loops(changed, edges):
                return False
    return True


def _is_trees_and_single_loops(chosen: list[bool], edges: list[tuple[int, int]]) -> bool:
    """Whether every component of the graph induced by the ``chosen`` nodes has at most as many edges as nodes."""
    root = list(range(len(chosen)))
    cycles = [0] * len(chosen)

    def find(i: int) -> int:
        while root[i] != i:
            i = root[i]
        return i

    for i, k in edges:
        if not (chosen[i] and chosen[k]):
            continue
        a, b = find(i), find(k)
        if a == b:
            cycles[a] += 1
        else:
            root[b] = a
            cycles[a] += cycles[b]
        if cycles[a] > 1:
            return False
    return True
