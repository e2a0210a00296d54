"""The hierarchy of vector-valued nodes by the compiled kernels of the CPU."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from gabp.solvers.hierarchy.base import LevelSummary
from gabp.solvers.hierarchy.compiled import CompiledLevels, require_compiled
from gabp.solvers.host_only import HostOnly
from gabp.system import System, require_positive_diagonal
from gabp.system.blocks import BlockSystem
from gabp.system.vectors import largest_entries

LARGEST_NODE = 64  # unknowns of a node that the compiled kernels hold in registers and on the stack


@dataclass(frozen=True, eq=False, repr=False)
class CompiledBlockHierarchy(HostOnly, CompiledLevels):
    """Smoothed aggregation of vector-valued nodes (Vaněk, Mandel and Brezina 1996), with block Gauss-Seidel sweeps.

    Strongly coupled nodes are aggregated, and the near-null vectors on each aggregate, orthonormalised, are its coarse
    unknowns: as messages, the variables of an aggregate move together along these vectors. One Jacobi step smooths the
    interpolation. The V-cycle is fixed, linear, symmetric and positive definite.

    Parameters
    ----------
    system : System
        Symmetric, with a positive diagonal.
    blocks : BlockSystem
    near_nullspace : Tensor, shape (n, k), float64, optional
        Vectors that A nearly annihilates; by default those that are constant on each component of the nodes.

    Raises
    ------
    InvalidSystemError
        A diagonal entry is not positive.
    ModuleNotFoundError
        The compiled kernels are missing.
    """

    system: System
    blocks: BlockSystem
    near_nullspace: Tensor | None = None
    _levels: Any = field(init=False)
    _unit: float = field(init=False)
    _root: Tensor | None = field(init=False)
    groups = "row ranges"

    def __post_init__(self) -> None:
        require_positive_diagonal(self.system, "hierarchy")
        graph, partition = self.system.graph, self.blocks.partition
        levels = require_compiled().BlockHierarchy(
            graph.start.cpu(),
            graph.source.cpu(),
            self.system.weight.detach().double().cpu(),
            self.system.diagonal.detach().double().cpu(),
            partition.member,
            partition.padded_index,
            None if self.near_nullspace is None else self.near_nullspace.contiguous(),
            torch.get_num_threads(),
        )
        ends = self.system.smallest_diagonal, float(largest_entries(self.system.diagonal[:, None]))
        self._keep(levels, 1.0, ends)  # it scales the unknowns itself

    @property
    def levels(self) -> tuple[LevelSummary, ...]:
        return tuple(
            LevelSummary(nodes * size, (blocks - nodes) * size**2, ranges, loaded, exact)
            for nodes, size, blocks, ranges, loaded, exact in self._levels.levels()
        )
