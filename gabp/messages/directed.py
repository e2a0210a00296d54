"""The elimination sweep of a nonsymmetric matrix: belief propagation forward, substitution back."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gabp.kernels import cpu, reference
from gabp.system import System


@dataclass(frozen=True, eq=False)
class DirectedSweep:
    """``((J + L) J⁻¹ (J + U))⁻¹``, an approximate inverse of ``A = L + D + U``; exact on a forest in elimination order.

    The forward half of a sequential pass from zero messages, each node using what its earlier neighbours sent
    (precisions ``-A_ik A_ki / J_k``, as Fanaskov 2019, arXiv:1904.04093, has them for nonsymmetric A), and the
    backward half by substitution.

    Attributes
    ----------
    system : System
    pivot : Tensor, shape (n,)
    invalid_node : int or None
        A node with a zero on the diagonal: there is no such sweep.
    """

    system: System
    pivot: Tensor
    invalid_node: int | None

    @staticmethod
    def of(system: System) -> "DirectedSweep":
        """Set up for one matrix."""
        graph = system.graph
        pivot = torch.empty_like(system.diagonal)
        bad = _kernels(system).directed_pivots(
            system.diagonal, system.weight, graph.start, graph.source, graph.reverse, pivot
        )
        return DirectedSweep(system, pivot, None if bad < 0 else bad)

    def apply(self, r: Tensor) -> Tensor:
        """The sweep on ``r`` of shape (n, k), in float64 outside."""
        r = r.to(self.pivot.dtype).contiguous()
        y = torch.empty_like(r)
        graph = self.system.graph
        _kernels(self.system).directed_elimination_sweep(
            self.system.weight, graph.start, graph.source, self.pivot, r, y
        )
        return y.double()


def _kernels(system: System) -> Any:
    return cpu.extension if cpu.extension is not None and system.device.type == "cpu" else reference
