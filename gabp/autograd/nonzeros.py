"""The nonzeros of a matrix as torch tensors on the autograd graph: where gradients reach the caller's A."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gabp.autograd.stored_values import stored_values
from gabp.kernels import reference
from gabp.system import System


@dataclass(frozen=True, eq=False)
class Nonzeros:
    """Diagonal and off-diagonal nonzeros of a matrix, attached to the tensor from which they were read.

    Attributes
    ----------
    diagonal : Tensor, shape (n,), float64
    weight : Tensor, shape (m,), float64
        One per directed edge, in the order of the system's graph.
    """

    diagonal: Tensor
    weight: Tensor

    @property
    def requires_grad(self) -> bool:
        return self.diagonal.requires_grad or self.weight.requires_grad

    def detach(self) -> "Nonzeros":
        """The same values without an autograd graph."""
        return Nonzeros(self.diagonal.detach(), self.weight.detach())

    def multiply(self, x: Tensor, system: System) -> Tensor:
        """``A x`` for ``x`` of shape (n, k), differentiable in both."""
        graph = system.graph
        return reference.multiply(self.diagonal, self.weight, graph.source.long(), graph.destination, x)

    @staticmethod
    def of(A: Any, system: System) -> "Nonzeros":
        """Read the nonzeros of ``A``, from which ``system`` was made.

        A symmetric system is symmetrised: each of two mirrored nonzeros receives half the sum of both gradients.
        """
        if not (isinstance(A, Tensor) and A.requires_grad and torch.is_grad_enabled()):
            return Nonzeros(system.diagonal.double(), system.weight.double())
        row, column, value = _coordinates(A)
        row, column, value = row.to(system.device), column.to(system.device), value.to(system.device).double()
        graph, n = system.graph, system.n
        on_diagonal = row == column
        diagonal = torch.zeros(n, dtype=torch.float64, device=system.device)
        diagonal = diagonal.index_add(0, row[on_diagonal], value[on_diagonal])
        weight = torch.zeros(graph.edges, dtype=torch.float64, device=system.device)
        if graph.edges:
            edge, exists = edge_indices(system, row, column)  # stored zeros are no edges
            weight = weight.index_add(0, edge[exists], value[exists])
            if system.symmetric:
                weight = (weight + weight[graph.reverse]) / 2
        return Nonzeros(diagonal, weight)


def edge_indices(system: System, row: Tensor, column: Tensor) -> tuple[Tensor, Tensor]:
    """The directed edges ``column → row`` of a graph with edges, shape (e,), and whether each exists, shape (e,)."""
    graph, n = system.graph, system.n
    key, edge_keys = row * n + column, graph.destination * n + graph.source.long()
    edge = torch.searchsorted(edge_keys, key).clamp(max=graph.edges - 1)
    return edge, edge_keys[edge] == key


def as_tensor(system: System, kept: Tensor | None = None, nonzeros: Nonzeros | None = None) -> Tensor:
    """The matrix of ``system``, or its principal submatrix of the ``kept`` nodes, as a torch COO tensor.

    Parameters
    ----------
    system : System
    kept : Tensor, shape (n,), bool, optional
        Nodes of the submatrix, renumbered in their order.
    nonzeros : Nonzeros, optional
        Values that are attached to an autograd graph; those of ``system`` by default.
    """
    graph = system.graph
    node = torch.arange(system.n, device=system.device)
    place = torch.stack([torch.cat([node, graph.destination]), torch.cat([node, graph.source.long()])])
    value = torch.cat([system.diagonal, system.weight])
    if nonzeros is not None:
        value = torch.cat([nonzeros.diagonal, nonzeros.weight]).to(value.dtype)
    size = system.n
    if kept is not None:
        inside = kept[place].all(0)
        place, value = (torch.cumsum(kept, 0) - 1)[place[:, inside]], value[inside]
        size = int(kept.sum())
    return torch.sparse_coo_tensor(place, value, (size, size), check_invariants=False)


def _coordinates(A: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Row, column and value of every stored nonzero; the values belong to the autograd graph of ``A``."""
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
