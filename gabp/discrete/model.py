"""Discrete pairwise models: coercion of their log-potentials, and scores of assignments."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gabp.kernels.torch.offsets import row_offsets
from gabp.system import EdgeGraph, InvalidSystemError


@dataclass(frozen=True, eq=False)
class DiscreteModel:
    """The model ``log p(x) = Σ_i unary[i, x_i] + Σ_edges table[e, x_source, x_destination]`` up to a constant.

    Attributes
    ----------
    graph : EdgeGraph
    unary : Tensor, shape (n, K)
    table : Tensor, shape (m, K, K)
        Log-potential of each directed edge: rows are values of its source, columns of its destination.
    """

    graph: EdgeGraph
    unary: Tensor
    table: Tensor

    def scores(self, assignments: Tensor) -> Tensor:
        """Log-probabilities up to the constant, shape (r,), of ``assignments`` of shape (r, n)."""
        n = self.graph.n
        source, destination = self.graph.source.long(), self.graph.destination
        total = self.unary[torch.arange(n, device=self.unary.device), assignments].sum(1)
        once = torch.nonzero(source < destination)[:, 0]
        pairs = self.table[once, assignments[:, source[once]], assignments[:, destination[once]]]
        return total + pairs.sum(1)


def read_model(unary: Any, edges: Any, pairwise: Any) -> DiscreteModel:
    """Read a model from the arguments of `gabp.maxproduct`.

    Raises
    ------
    TypeError, InvalidSystemError
        Arguments of the wrong kind, shape or content; messages name the place.
    """
    potentials = _read_potentials(unary, "unary")
    if potentials.ndim != 2 or 0 in potentials.shape:
        raise InvalidSystemError(f"unary has shape {tuple(potentials.shape)}; expected (n, K)")
    n, values = potentials.shape
    pairs = _read_edges(edges, potentials.device)
    tables = _read_potentials(pairwise, "pairwise").to(potentials)
    if tables.numel() == 0:
        tables = tables.reshape(0, values, values)
    if tuple(tables.shape) != (len(pairs), values, values):
        raise InvalidSystemError(
            f"pairwise has shape {tuple(tables.shape)}; expected ({len(pairs)}, {values}, {values})"
        )
    _require_edges(pairs, n)
    return _directed(n, potentials, pairs, tables)


def _read_edges(edges: Any, device: torch.device) -> Tensor:
    """Pairs of nodes, shape (E, 2), int64."""
    try:
        pairs = torch.as_tensor(edges, device=device)
    except (TypeError, ValueError, RuntimeError):
        raise TypeError("edges must be an array of pairs of integers, shape (E, 2)") from None
    if pairs.numel() == 0:
        pairs = pairs.reshape(0, 2).long()
    if pairs.is_floating_point() or pairs.is_complex() or pairs.dtype == torch.bool:
        raise TypeError(f"edges must be integers, not {pairs.dtype}")
    if pairs.ndim != 2 or pairs.shape[1] != 2:
        raise InvalidSystemError(f"edges has shape {tuple(pairs.shape)}; expected (E, 2)")
    return pairs.long()


def _require_edges(pairs: Tensor, n: int) -> None:
    for wrong, reason in (
        (((pairs < 0) | (pairs >= n)).any(1), f"a node outside 0..{n - 1}"),
        (pairs[:, 0] == pairs[:, 1], "the same node twice"),
    ):
        if bool(wrong.any()):
            e = int(wrong.nonzero()[0])
            raise InvalidSystemError(f"edges[{e}] is {pairs[e].tolist()}: {reason}")


def _directed(n: int, unary: Tensor, pairs: Tensor, tables: Tensor) -> DiscreteModel:
    """The model on directed edges, both ways for each pair, with repeated pairs summed."""
    source, destination = torch.cat([pairs[:, 0], pairs[:, 1]]), torch.cat([pairs[:, 1], pairs[:, 0]])
    both = torch.cat([tables, tables.mT])
    key, edge = torch.unique(destination * n + source, return_inverse=True)
    table = both.new_zeros((len(key), *both.shape[1:])).index_add_(0, edge, both)
    start = row_offsets(key // n, n)
    return DiscreteModel(EdgeGraph(n, start, (key % n).int()), unary, table)


def _read_potentials(values: Any, name: str) -> Tensor:
    """Log-potentials as float32 or float64, finite or -inf."""
    if not isinstance(values, (Tensor, np.ndarray)):
        raise TypeError(f"{name} must be a numpy array or a torch tensor, not {type(values).__name__}")
    tensor = torch.as_tensor(values)
    if tensor.is_complex():
        raise InvalidSystemError(f"{name} is complex")
    tensor = tensor.detach() if tensor.dtype in (torch.float32, torch.float64) else tensor.detach().double()
    wrong = torch.isnan(tensor) | torch.isposinf(tensor)
    if bool(wrong.any()):
        place = wrong.nonzero()[0].tolist()
        raise InvalidSystemError(f"{name}{place} is {float(tensor[tuple(place)])}; log-potentials are finite or -inf")
    return tensor
