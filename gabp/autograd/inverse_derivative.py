"""The derivative of a selected inverse, as the selected inverse of two weakly coupled copies of the model.

With ``Z = A⁻¹``, any G on A's pattern and t → 0,

    [[A, t G], [t Gᵀ, A]]⁻¹ = [[Z, -t Z G Z], [-t Z Gᵀ Z, Z]] + O(t²) .

The derivative along G takes one factorisation, where columns of the inverse would take n solves. A small t
costs no accuracy: the coupling blocks are computed apart from the diagonal ones in floating point, as in dual
numbers, and the second order lies far below rounding.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from gabp.kernels.torch.offsets import row_offsets
from gabp.messages import SparseFactor
from gabp.system import EdgeGraph, System

_COUPLING = 2.0**-80  # of the copies, relative to A's diagonal; its square times any condition number is rounding


@dataclass(frozen=True, eq=False)
class CoupledCopies:
    """The graph of ``[[A, t G], [t Gᵀ, A]]``: nodes ``2i`` and ``2i + 1`` are the copies of node ``i``.

    Attributes
    ----------
    graph : EdgeGraph
        2n nodes and 4m + 2n directed edges: the copies of adjacent nodes, and of one node, are all adjacent.
    order : Tensor, shape (4m + 2n,), int64
        For each directed edge, the position of its value in ``[A, t G, t Gᵀ, A]`` (m each) followed by the
        diagonal of ``t G`` (n, twice).
    """

    graph: EdgeGraph
    order: Tensor

    @staticmethod
    def of(single: EdgeGraph) -> "CoupledCopies":
        n, device = single.n, single.start.device
        row, column, node = 2 * single.destination, 2 * single.source.long(), 2 * torch.arange(n, device=device)
        rows = torch.cat([row, row, row + 1, row + 1, node, node + 1])
        columns = torch.cat([column, column + 1, column, column + 1, node + 1, node])
        order = torch.argsort(rows * 2 * n + columns)
        start = row_offsets(rows, 2 * n)
        return CoupledCopies(EdgeGraph(2 * n, start, columns[order].to(torch.int32)), order)

    def inverse_derivative(self, system: System, g_diagonal: Tensor, g_weight: Tensor) -> tuple[Tensor, Tensor]:
        """``-A⁻¹ G A⁻¹`` on A's pattern: its diagonal, shape (n,), and its off-diagonal part, shape (m,).

        Parameters
        ----------
        system : System
            Of A, symmetric positive definite, on the graph of the single copy.
        g_diagonal, g_weight : Tensor, shapes (n,) and (m,)
            G, symmetric or not.
        """
        diagonal, weight = system.diagonal.double(), system.weight.double()
        graph, m = system.graph, system.graph.edges
        unit = diagonal.sqrt()
        scaled = g_weight / (unit[graph.destination] * unit[graph.source.long()])
        largest = float(torch.cat([(g_diagonal / diagonal).abs(), scaled.abs()]).max())
        if largest == 0:
            return torch.zeros_like(g_diagonal), torch.zeros_like(g_weight)
        t = _COUPLING / largest
        off_diagonal, on_diagonal = t * g_weight, t * g_diagonal
        blocks = [weight, off_diagonal, off_diagonal[graph.reverse], weight, on_diagonal, on_diagonal]
        values = torch.cat(blocks)[self.order]
        copies = System(self.graph, diagonal.repeat_interleave(2), values, symmetric=True)
        _, inverse = SparseFactor(copies).selected_inverse
        by_block = torch.empty_like(inverse)
        by_block[self.order] = inverse
        return by_block[4 * m : 4 * m + system.n] / t, by_block[m : 2 * m] / t
