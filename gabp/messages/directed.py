"""The elimination sweep of a nonsymmetric matrix: belief propagation forward, substitution back."""

from dataclasses import dataclass

import torch
from torch import Tensor

from gabp.kernels import dispatch
from gabp.system import System


@dataclass(frozen=True, eq=False)
class DirectedSweep:
    """``((J + L) J⁻¹ (J + U))⁻¹``, an approximate inverse of ``A = L + D + U``; exact on a forest in elimination order.

    The forward half is a sequential pass from zero messages, each node updated from the messages of its earlier
    neighbours (precisions ``-A_ik A_ki / J_k`` for nonsymmetric A: Fanaskov 2019, arXiv:1904.04093), the backward half
    is substitution. It runs on the CPU wherever the system is.

    Attributes
    ----------
    start, source, weight : Tensor
        The directed edges of A; see `gabp.system.EdgeGraph`.
    pivot : Tensor, shape (n,)
    invalid_node : int or None
        A node with a zero on the diagonal.
    """

    start: Tensor
    source: Tensor
    weight: Tensor
    pivot: Tensor
    invalid_node: int | None

    @staticmethod
    def of(system: System) -> "DirectedSweep":
        """Set up for one matrix."""
        graph = system.graph
        start, source, weight = graph.start.cpu(), graph.source.cpu(), system.weight.cpu()
        diagonal = system.diagonal.cpu()
        pivot = torch.empty_like(diagonal)
        bad = dispatch.backend("cpu").sequential.directed_pivots(
            diagonal, weight, start, source, graph.reverse.cpu(), pivot
        )
        return DirectedSweep(start, source, weight, pivot, None if bad < 0 else bad)

    def apply(self, r: Tensor) -> Tensor:
        """The sweep on ``r`` of shape (n, k), in float64 outside."""
        columns = r.to("cpu", self.pivot.dtype).contiguous()
        y = torch.empty_like(columns)
        kernels = dispatch.backend("cpu").sequential
        kernels.directed_elimination_sweep(self.weight, self.start, self.source, self.pivot, columns, y)
        return y.to(r.device, torch.float64)
