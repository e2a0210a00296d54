"""Aggregation multigrid of Gaussian models as the preconditioner of conjugate gradients: one method, several storages.

Strongly coupled variables are aggregated by double pairwise matching (Notay 2010); the coarse matrix ``PᵀAP`` is a
Gaussian model again. Elimination sweeps of its messages are the smoother. Coarse levels are accelerated by up to two
iterations of conjugate gradients (the K-cycle), the coarsest is eliminated. `CompiledHierarchy` stores rows for the
CPU, `DeviceHierarchy` tensors on any device. For vector-valued nodes `CompiledBlockHierarchy` is smoothed aggregation
with a near-null space; `BlockHierarchy` aggregates pairs by tensors where the compiled kernels are missing.
"""

from gabp.solvers.hierarchy.base import Hierarchy, LevelSummary
from gabp.solvers.hierarchy.blocks import BlockHierarchy
from gabp.solvers.hierarchy.compiled import CompiledHierarchy
from gabp.solvers.hierarchy.compiled_blocks import CompiledBlockHierarchy
from gabp.solvers.hierarchy.device import DeviceHierarchy
from gabp.solvers.hierarchy.selection import block_hierarchy_class, hierarchy_class, hierarchy_solve, m_matrix_solver

__all__ = [
    "BlockHierarchy",
    "CompiledBlockHierarchy",
    "CompiledHierarchy",
    "DeviceHierarchy",
    "Hierarchy",
    "LevelSummary",
    "block_hierarchy_class",
    "hierarchy_class",
    "hierarchy_solve",
    "m_matrix_solver",
]
