"""Which hierarchy for which system, and conjugate gradients on it as others ask for them."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from gabp.kernels import dispatch
from gabp.solvers.hierarchy.blocks import BlockHierarchy
from gabp.solvers.hierarchy.compiled import CompiledHierarchy, CompiledSolve
from gabp.solvers.hierarchy.compiled_blocks import LARGEST_NODE, CompiledBlockHierarchy
from gabp.solvers.hierarchy.device import DeviceHierarchy, DeviceSolve
from gabp.system import System
from gabp.system.blocks import BlockSystem


def hierarchy_class(system: System) -> type[CompiledHierarchy] | type[DeviceHierarchy]:
    """The hierarchy for a scalar system: the compiled one where it can run, else tensor operations on any device."""
    return DeviceHierarchy if dispatch.backend(system.device).hierarchy is None else CompiledHierarchy


def block_hierarchy_class(blocks: BlockSystem) -> type[CompiledBlockHierarchy] | type[BlockHierarchy]:
    """The hierarchy for vector-valued nodes: the compiled one where it can run, else by tensors on the CPU."""
    compiled = dispatch.backend("cpu").hierarchy is not None and blocks.partition.size <= LARGEST_NODE
    return CompiledBlockHierarchy if compiled else BlockHierarchy


def hierarchy_solve(system: System, r: Tensor, target: Tensor) -> CompiledSolve | DeviceSolve:
    """Set up for ``A`` and start on ``A y = r``, for ``r`` of shape (n, k) and residual norms ``target``, (k,)."""
    return hierarchy_class(system)(system).correct(r, target)


def m_matrix_solver(system: System) -> Callable[[Tensor], Iterator[Tensor]]:
    """Set up for ``A x = b`` with a symmetric M-matrix A.

    The solver that a proof of walk-summability is handed (`gabp.conditions.MMatrixSolver`).

    Returns
    -------
    callable
        From ``b``, shape (n,), to an iterator of closer and closer ``x``, shape (n,). Where A turns out to be no
        M-matrix, the last of them is a direction ``p`` with ``pᵀAp < 0``.
    """
    hierarchy = hierarchy_class(system)(system)

    def approximations(b: Tensor) -> Iterator[Tensor]:
        solve = hierarchy.correct(b[:, None], torch.zeros(1))
        while True:
            done, _ = solve.advance(1)
            if solve.negative_curvature is not None:
                yield solve.negative_curvature
            if done == 0 or solve.negative_curvature is not None:
                return
            yield solve.estimate()[:, 0]

    return approximations
