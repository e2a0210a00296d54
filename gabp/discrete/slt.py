"""The single-loops-and-trees neighbourhood of an assignment, searched exhaustively."""

from collections.abc import Callable

import torch
from torch import Tensor

from gabp.system import EdgeGraph, InvalidSystemError

_LIMIT = 1 << 22  # assignments
_BATCH = 1 << 16


def slt_optimal(graph: EdgeGraph, scores: Callable[[Tensor], Tensor], assignment: Tensor, values: int) -> bool:
    """Whether every assignment that scores higher differs in more than disconnected trees and single loops.

    Parameters
    ----------
    graph : EdgeGraph
    scores : callable
        Assignments of shape (r, n) to scores of shape (r,).
    assignment : Tensor, shape (n,)
    values : int
        Of each node.
    """
    n = graph.n
    count = values**n
    if count > _LIMIT:
        raise InvalidSystemError(f"{values}^{n} assignments are too many to search: at most {_LIMIT}")
    device = assignment.device
    place_value = torch.tensor([values**i for i in range(n)], device=device)
    own = scores(assignment[None])[0]
    edges = [(int(i), int(k)) for i, k in zip(graph.destination, graph.source, strict=True) if i < k]
    for first in range(0, count, _BATCH):
        number = torch.arange(first, min(first + _BATCH, count), device=device)
        candidates = number[:, None] // place_value % values
        found = scores(candidates)
        rounding = 4 * n * torch.finfo(found.dtype).eps * found.abs().clamp_min(1.0)
        better = candidates[found > own + torch.nan_to_num(rounding, posinf=0.0)]
        for changed in torch.unique(better != assignment, dim=0).tolist():
            if _is_trees_and_single_loops(changed, edges):
                return False
    return True


def _is_trees_and_single_loops(chosen: list[bool], edges: list[tuple[int, int]]) -> bool:
    """Whether every component of the induced graph has at most as many edges as nodes."""
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
