"""Assignments from max-marginals, with ties broken consistently."""

import torch
from torch import Tensor

from gabp.discrete.messages import LogMessages

_ROUNDINGS = 64.0  # of the largest log-belief, within which two values of a belief tie


def tied_nodes(beliefs: Tensor, tolerance: float) -> Tensor:
    """Nodes whose two best values tie, to rounding or to ``tolerance``; shape (n,), bool.

    Parameters
    ----------
    beliefs : Tensor, shape (n, K)
        Log-beliefs.
    tolerance : float
    """
    best = beliefs.amax(1, keepdim=True)
    largest = torch.nan_to_num(beliefs, neginf=0.0).abs().max().clamp_min(1.0)
    rounding = _ROUNDINGS * torch.finfo(beliefs.dtype).eps * largest
    return (beliefs >= best - rounding.clamp_min(tolerance)).sum(1) > 1


def decode(messages: LogMessages, beliefs: Tensor, tied: Tensor) -> Tensor:
    """The maximising values, shape (n,), int64; ties are broken consistently with neighbours already assigned.

    A node without a tie takes its best value. Tied nodes are assigned in breadth-first order: each maximises its
    log-belief with the message from an assigned neighbour replaced by the potential at that neighbour's value.
    """
    model, graph = messages.model, messages.graph
    assignment = beliefs.argmax(1)
    unassigned = set(torch.nonzero(tied)[:, 0].tolist())
    start, source = graph.start.tolist(), graph.source.tolist()

    def assign(i: int) -> None:
        total = model.unary[i].clone()
        for e in range(start[i], start[i + 1]):
            k = source[e]
            total = total + (messages.message[e] if k in unassigned else model.table[e, assignment[k]])
        assignment[i] = total.argmax()
        unassigned.remove(i)

    for first in sorted(unassigned):
        queue = [first] if first in unassigned else []
        while queue:
            i = queue.pop(0)
            if i in unassigned:
                assign(i)
                queue += [k for k in source[start[i] : start[i + 1]] if k in unassigned]
    return assignment
