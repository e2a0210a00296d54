"""The elimination sweep of a nonsymmetric matrix: belief propagation forward, substitution back."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gabp.kernels import cpu, reference
from gabp.system import System

_kernels: Any = reference if cpu.extension is None else cpu.extension


@dataclass(frozen=True, eq=False)
class DirectedSweep:
    """``((J + L) J⁻¹ (J + U))⁻¹``, an approximate inverse of ``A = L + D + U``; exact on a forest in elimination order.

    The forward half of a sequential pass from zero messages, each node using what its earlier neighbours sent
    (precisions ``-A_ik A_ki / J_k``, as Fanaskov 2019, arXiv:1904.04093, has them for nonsymmetric A), and the
    backward half by substitution. One node follows another, so it runs on the CPU wherever the system is.

    Attributes
    ----------
    start, source, weight : Tensor
        The slots of A; see `gabp.system.EdgeGraph`.
    pivot : Tensor, shape (n,)
    invalid_node : int or None
        A node with a zero on the diagonal: there is no such sweep.
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
        bad = _kernels.directed_pivots(diagonal, weight, start, source, graph.reverse.cpu(), pivot)
        return DirectedSweep(start, source, weight, pivot, None if bad < 0 else bad)

    def apply(self, r: Tensor) -> Tensor:
        """The sweep on ``r`` of shape (n, k), in float64 outside."""
        columns = r.to("cpu", self.pivot.dtype).contiguous()
        y = torch.empty_like(columns)
        _kernels.directed_elimination_sweep(self.weight, self.start, self.source, self.pivot, columns, y)
        return y.to(r.device, torch.float64)
