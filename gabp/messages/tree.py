"""Exact belief propagation on a forest: from the leaves to the roots, and back."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gabp.kernels import dispatch
from gabp.system import Forest, System


@dataclass(frozen=True, eq=False)
class TreeFactor:
    """The pivots of a forest, for any right-hand side.

    Attributes
    ----------
    forest : Forest
    up, down : Tensor, shape (n,)
        ``A[parent, i]`` and ``A[i, parent]`` at each position; undefined for roots.
    pivot : Tensor, shape (n,)
        ``J_i`` with the messages of the children only.
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
        """Pass the precision messages from the leaves to the roots, in float64."""
        forest = Forest.of(system.graph)
        weight, diagonal = (values.detach().double().cpu().numpy() for values in (system.weight, system.diagonal))
        up, down = (_at_edges(weight, edge) for edge in (forest.child_edge, forest.parent_edge))
        pivot = torch.from_numpy(diagonal[forest.node.numpy()])
        partner = torch.empty(system.n, dtype=torch.int32)
        largest = max(float(np.abs(values).max(initial=0.0)) for values in (weight, diagonal))
        bad = dispatch.backend("cpu").sequential.tree_factor(forest.parent, up, down, largest, pivot, partner)
        return TreeFactor(forest, up, down, pivot, partner, None if bad < 0 else int(forest.node[bad]))

    def solve(self, b: Tensor) -> Tensor:
        """``A⁻¹ b`` for ``b`` of shape (n, k), in float64."""
        node = self.forest.node.numpy()
        x = torch.from_numpy(b.detach().double().cpu().numpy()[node])
        dispatch.backend("cpu").sequential.tree_solve(
            self.forest.parent, self.up, self.down, self.pivot, self.partner, x
        )
        solution = np.empty(x.shape)
        solution[node] = x.numpy()
        return torch.from_numpy(solution).to(b.device)


def _at_edges(weight: np.ndarray, edge: Tensor) -> Tensor:
    """The weights of edges, one for each node; undefined where a node has none (-1)."""
    return torch.from_numpy(weight[edge.numpy()] if len(weight) else np.zeros(len(edge)))
