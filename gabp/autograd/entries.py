"""The entries of a matrix as torch sees them: the path on which gradients flow back to the caller's A."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gabp.autograd.stored_values import stored_values
from gabp.kernels import reference
from gabp.system import System


@dataclass(frozen=True, eq=False)
class Entries:
    """A matrix in the slots of its graph, attached to the autograd graph of the tensor it was read from.

    Attributes
    ----------
    diagonal : Tensor, shape (n,), float64
    weight : Tensor, shape (m,), float64
    """

    diagonal: Tensor
    weight: Tensor

    @property
    def requires_grad(self) -> bool:
        return self.diagonal.requires_grad or self.weight.requires_grad

    def multiply(self, x: Tensor, system: System) -> Tensor:
        """``A x`` for ``x`` of shape (n, k), differentiable in both."""
        graph = system.graph
        return reference.multiply(self.diagonal, self.weight, graph.source.long(), graph.destination, x)

    @staticmethod
    def of(A: Any, system: System) -> "Entries":
        """The entries of ``A``, whose working form is ``system``.

        A symmetric system is symmetrised, so each of two mirrored entries gets half of the gradient of both.
        """
        if not (isinstance(A, Tensor) and A.requires_grad and torch.is_grad_enabled()):
            return Entries(system.diagonal.double(), system.weight.double())
        row, column, value = _attached(A)
        row, column, value = row.to(system.device), column.to(system.device), value.to(system.device).double()
        graph, n = system.graph, system.n
        on_diagonal = row == column
        diagonal = torch.zeros(n, dtype=torch.float64, device=system.device)
        diagonal = diagonal.index_add(0, row[on_diagonal], value[on_diagonal])
        weight = torch.zeros(graph.edges, dtype=torch.float64, device=system.device)
        if graph.edges:
            place = row * n + column
            slots = graph.destination * n + graph.source.long()
            slot = torch.searchsorted(slots, place).clamp(max=graph.edges - 1)
            known = slots[slot] == place  # stored zeros are no edges
            weight = weight.index_add(0, slot[known], value[known])
            if system.symmetric:
                weight = (weight + weight[graph.reverse]) / 2
        return Entries(diagonal, weight)


def as_tensor(system: System, kept: Tensor | None = None, entries: Entries | None = None) -> Tensor:
    """The matrix of ``system`` as a torch COO tensor; of the ``kept`` nodes (n,) only, renumbered in their order.

    Its values are attached to the autograd graph of ``entries``, where these are given.
    """
    graph = system.graph
    node = torch.arange(system.n, device=system.device)
    place = torch.stack([torch.cat([node, graph.destination]), torch.cat([node, graph.source.long()])])
    value = torch.cat([system.diagonal, system.weight])
    if entries is not None:
        value = torch.cat([entries.diagonal, entries.weight]).to(value.dtype)
    size = system.n
    if kept is not None:
        inside = kept[place].all(0)
        place, value = (torch.cumsum(kept, 0) - 1)[place[:, inside]], value[inside]
        size = int(kept.sum())
    return torch.sparse_coo_tensor(place, value, (size, size), check_invariants=False)


def _attached(A: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Row, column and value of every stored entry; the values belong to the autograd graph of ``A``."""
    if A.layout == torch.strided:
        row, column = A.detach().nonzero(as_tuple=True)
        return row, column, A[row, column]
    values = stored_values(A)
    A = A.detach()
    if A.layout == torch.sparse_coo:
        row, column = A.coalesce().indices()
        return row, column, values
    by_rows = A.layout == torch.sparse_csr
    start, inner = (A.crow_indices(), A.col_indices()) if by_rows else (A.ccol_indices(), A.row_indices())
    outer = torch.repeat_interleave(torch.arange(len(start) - 1, device=start.device), start.diff())
    return (outer, inner, values) if by_rows else (inner, outer, values)
