"""Exact belief propagation on a forest: leaves to roots, and back."""

from dataclasses import dataclass

import torch
from torch import Tensor

from gabp.kernels import cpu, reference
from gabp.system import Forest, System

_kernels = cpu.extension if cpu.extension is not None else reference


@dataclass(frozen=True, eq=False)
class TreeFactor:
    """The pivots of a forest, ready for any right-hand side.

    Attributes
    ----------
    forest : Forest
    up, down : Tensor, shape (n,)
        ``A[parent, i]`` and ``A[i, parent]`` at each position; 0 for roots.
    pivot : Tensor, shape (n,)
        ``J_i`` when only the children have sent their messages.
    partner : Tensor, shape (n,), int32
        The child that is eliminated together with the node (indefinite systems only), or -1.
    singular_node : int or None
    """

    forest: Forest
    up: Tensor
    down: Tensor
    pivot: Tensor
    partner: Tensor
    singular_node: int | None

    @staticmethod
    def of(system: System) -> "TreeFactor":
        """Send the precision messages from the leaves to the roots, in float64."""
        forest = Forest.of(system.graph)
        linked = forest.parent >= 0
        up, down = (torch.zeros(system.n, dtype=torch.float64) for _ in range(2))
        weight = system.weight.double().cpu()
        slot = forest.slot[linked]
        down[linked] = weight[slot]
        up[linked] = weight[system.graph.reverse.cpu()[slot]]
        pivot = system.diagonal.double().cpu()[forest.node].clone()
        partner = torch.empty(system.n, dtype=torch.int32)
        largest = float(torch.cat([weight, pivot]).abs().max())
        bad = _kernels.tree_factor(forest.parent, up, down, largest, pivot, partner)
        return TreeFactor(forest, up, down, pivot, partner, None if bad < 0 else int(forest.node[bad]))

    def solve(self, b: Tensor) -> Tensor:
        """``A⁻¹ b`` for ``b`` of shape (n, k), in float64."""
        node = self.forest.node
        x = b.double().cpu()[node].contiguous()
        _kernels.tree_solve(self.forest.parent, self.up, self.down, self.pivot, self.partner, x)
        solution = torch.empty_like(x)
        solution[node] = x
        return solution.to(b.device)
