"""The derivative of a selected inverse as a selected inverse: of two copies of the model, barely coupled.

With ``Z = A⁻¹``, any G on A's pattern and t → 0,

    [[A, t G], [t Gᵀ, A]]⁻¹ = [[Z, -t Z G Z], [-t Z Gᵀ Z, Z]] + O(t²) .

No digit is lost to a small t: what couples the copies is computed apart from what does not, in floating point
as in dual numbers, and the second order is far below rounding. So the derivative along G costs one
factorisation, where columns of the inverse would take n solves.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from gabp.kernels.torch.offsets import row_offsets
from gabp.messages import SparseFactor
from gabp.system import EdgeGraph, System

_COUPLING = 2.0**-80  # of the copies, relative to A's diagonal; its square times any condition number is rounding


@dataclass(frozen=True, eq=False)
class PairGraph:
    """Nodes ``2i`` and ``2i + 1`` for the two copies of every node ``i`` of a graph, all of a pair joined to all.

    Attributes
    ----------
    graph : EdgeGraph
        2n nodes; 4m + 2n slots.
    order : Tensor, shape (4m + 2n,), int64
        Where each slot's value comes from in ``[A, t G, t Gᵀ, A]`` (m each) and the diagonal of ``t G`` (n, twice).
    """

    graph: EdgeGraph
    order: Tensor

    @staticmethod
    def of(single: EdgeGraph) -> "PairGraph":
        n, device = single.n, single.start.device
        row, column, node = 2 * single.destination, 2 * single.source.long(), 2 * torch.arange(n, device=device)
        rows = torch.cat([row, row, row + 1, row + 1, node, node + 1])
        columns = torch.cat([column, column + 1, column, column + 1, node + 1, node])
        order = torch.argsort(rows * 2 * n + columns)
        start = row_offsets(rows, 2 * n)
        return PairGraph(EdgeGraph(2 * n, start, columns[order].to(torch.int32)), order)

    def sandwich(self, system: System, g_diagonal: Tensor, g_weight: Tensor) -> tuple[Tensor, Tensor]:
        """``-A⁻¹ G A⁻¹`` on A's pattern: its diagonal (n,), and its entries in A's slots (m,).

        Parameters
        ----------
        system : System
            Of A, on the graph that these are the pairs of; symmetric positive definite.
        g_diagonal, g_weight : Tensor, shapes (n,) and (m,)
            G, which need not be symmetric.
        """
        diagonal, weight = system.diagonal.double(), system.weight.double()
        graph, m = system.graph, system.graph.edges
        unit = diagonal.sqrt()
        on_edges = g_weight / (unit[graph.destination] * unit[graph.source.long()])
        largest = float(torch.cat([(g_diagonal / diagonal).abs(), on_edges.abs()]).max())
        if largest == 0:
            return torch.zeros_like(g_diagonal), torch.zeros_like(g_weight)
        coupling = _COUPLING / largest
        across, own = coupling * g_weight, coupling * g_diagonal
        values = torch.cat([weight, across, across[graph.reverse], weight, own, own])[self.order]
        pairs = System(self.graph, diagonal.repeat_interleave(2), values, symmetric=True)
        _, inverse = SparseFactor(pairs).selected_inverse
        found = torch.empty_like(inverse)
        found[self.order] = inverse
        return found[4 * m : 4 * m + system.n] / coupling, found[m : 2 * m] / coupling
