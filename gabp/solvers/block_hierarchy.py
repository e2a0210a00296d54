"""Conjugate gradients on a hierarchy of models with vector-valued nodes."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import scipy.sparse
import scipy.sparse.linalg
import torch
from torch import Tensor

from gabp.messages.blocks import BlockSweep
from gabp.solvers.conjugate_gradients import ConjugateGradients
from gabp.solvers.device_factorization import RunsOnCPU
from gabp.solvers.protocol import InnerSolve
from gabp.solvers.solution import Status
from gabp.system import System, make_system, read_matrix
from gabp.system.blocks import BlockSystem, Partition

_COARSEST = 400  # blocks that are solved exactly
_SLOW = 0.8  # share of the blocks left by a coarsening that is not worth going on with
_ENOUGH = 0.25  # of the residual, down to which one step on a coarse level suffices


@dataclass(frozen=True, eq=False)
class _Level:
    """One model of the hierarchy, its elimination sweep, and how its blocks are tied on the next level."""

    matrix: scipy.sparse.csr_array
    sweep: BlockSweep
    tie: scipy.sparse.csr_array  # (unknowns here, unknowns on the next level)


@dataclass(frozen=True, eq=False)
class BlockHierarchy(RunsOnCPU):
    """Flexible conjugate gradients preconditioned by elimination sweeps on coarser and coarser models.

    Twice in a row, blocks are matched with the neighbour that they are most strongly coupled to, and the two vectors of
    a pair are tied to be equal: the coarse model ``Pᵀ A P`` is one of vector-valued nodes again. A level sweeps
    before and after its correction; coarse levels take up to two steps of conjugate gradients (the K-cycle
    of Notay 2010).

    Parameters
    ----------
    system : System
    blocks : BlockSystem
    """

    system: System
    blocks: BlockSystem
    broken: Status | None = field(default=None, init=False, repr=False)
    levels: tuple[_Level, ...] = field(init=False)
    coarsest: scipy.sparse.csr_array = field(init=False)
    solve_coarsest: Callable[[np.ndarray], np.ndarray] | None = field(init=False, repr=False)

    @property
    def failure(self) -> Status | None:
        return self.broken

    def __post_init__(self) -> None:
        levels, blocks = [], self.blocks
        matrix = _as_rows(self.system)
        while blocks.partition.blocks > _COARSEST:
            sweep = BlockSweep.of(blocks)
            if sweep.invalid_node is not None:
                object.__setattr__(self, "broken", Status.NOT_POSITIVE_DEFINITE)
                break
            tie, coarse, coarse_blocks = _tied_in_pairs(matrix, blocks)
            again, coarse, coarse_blocks = _tied_in_pairs(coarse, coarse_blocks)
            if coarse_blocks.partition.blocks > _SLOW * blocks.partition.blocks:
                break
            levels.append(_Level(matrix, sweep, (tie @ again).tocsr()))
            matrix, blocks = coarse, coarse_blocks
        object.__setattr__(self, "levels", tuple(levels))
        object.__setattr__(self, "coarsest", matrix)
        object.__setattr__(self, "solve_coarsest", self._factorised(matrix) if self.broken is None else None)

    def _factorised(self, matrix: scipy.sparse.csr_array) -> Callable[[np.ndarray], np.ndarray] | None:
        try:
            return scipy.sparse.linalg.splu(matrix.tocsc()).solve
        except RuntimeError:  # "Factor is exactly singular"
            object.__setattr__(self, "broken", Status.SINGULAR)
            return None

    def correct(self, r: Tensor, target: Tensor) -> InnerSolve:
        return ConjugateGradients(self.system, self.precondition, r, target)

    def precondition(self, r: Tensor) -> Tensor:
        """One cycle for ``r`` of shape (n, k)."""
        return torch.from_numpy(self._cycle(0, r.cpu().numpy())).to(r.device)

    def __reduce__(self) -> tuple:  # the factor of the coarsest model cannot be pickled, but it can be made again
        return BlockHierarchy, (self.system, self.blocks)

    def _cycle(self, depth: int, r: np.ndarray) -> np.ndarray:
        if depth == len(self.levels):
            assert self.solve_coarsest is not None
            return self.solve_coarsest(r)
        level = self.levels[depth]
        x = _swept(level, r)
        x += level.tie @ self._coarse(depth + 1, level.tie.T @ (r - level.matrix @ x))
        return x + _swept(level, r - level.matrix @ x)

    def _coarse(self, depth: int, r: np.ndarray) -> np.ndarray:
        """Up to two steps of flexible conjugate gradients, each preconditioned by a cycle."""
        first = self._cycle(depth, r)
        if depth == len(self.levels):
            return first
        matrix = self.levels[depth].matrix
        image = matrix @ first
        curvature = _positive(first, image)
        step = _dot(first, r) / curvature
        remaining = r - step * image
        if (np.linalg.norm(remaining, axis=0) <= _ENOUGH * np.linalg.norm(r, axis=0)).all():
            return step * first
        second = self._cycle(depth, remaining)
        overlap = _dot(second, image) / curvature
        second -= overlap * first
        image = matrix @ second
        return step * first + (_dot(second, remaining) / _positive(second, image)) * second


def _tied_in_pairs(
    matrix: scipy.sparse.csr_array, blocks: BlockSystem
) -> tuple[scipy.sparse.csr_array, scipy.sparse.csr_array, BlockSystem]:
    """Tie each block to the free neighbour of strongest coupling, strongest pairs first."""
    pair = _matching(blocks)
    partition, d = blocks.partition, blocks.partition.size
    column = pair[partition.block.numpy()] * d + partition.within.numpy()
    used, column = np.unique(column, return_inverse=True)  # where blocks are small, some places stay empty
    tie = scipy.sparse.csr_array((np.ones(partition.n), (np.arange(partition.n), column)), (partition.n, len(used)))
    coarse = (tie.T @ matrix @ tie).tocsr()
    coarse_system = make_system(read_matrix(0.5 * (coarse + coarse.T)))
    return tie, coarse, BlockSystem.of(coarse_system, Partition.of(used // d))


def _matching(blocks: BlockSystem) -> np.ndarray:
    """The pair of each block, shape (N,); numbered in the order of their first blocks."""
    graph = blocks.graph
    source, destination = graph.source.long(), graph.destination
    root = torch.linalg.cholesky(blocks.diagonal)
    scaled = torch.linalg.solve_triangular(root[destination], blocks.weight, upper=False)
    scaled = torch.linalg.solve_triangular(root[source], scaled.mT, upper=False)
    strength = torch.linalg.matrix_norm(scaled)
    once = destination < source
    order = torch.argsort(strength[once], descending=True, stable=True)
    partner = np.full(graph.n, -1)
    for i, k in zip(destination[once][order].tolist(), source[once][order].tolist(), strict=True):
        if partner[i] < 0 and partner[k] < 0:
            partner[i], partner[k] = k, i
    first = np.where(partner < 0, np.arange(graph.n), np.minimum(np.arange(graph.n), partner))
    return np.unique(first, return_inverse=True)[1]


def _swept(level: _Level, r: np.ndarray) -> np.ndarray:
    return level.sweep.apply(torch.from_numpy(np.ascontiguousarray(r))).numpy()


def _as_rows(system: System) -> scipy.sparse.csr_array:
    graph = system.graph
    off_diagonal = scipy.sparse.csr_array(
        (system.weight.double().cpu().numpy(), graph.source.cpu().numpy(), graph.start.cpu().numpy()),
        (system.n, system.n),
    )
    return (off_diagonal + scipy.sparse.diags_array(system.diagonal.double().cpu().numpy())).tocsr()


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.einsum("nk,nk->k", a, b)


def _positive(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """``aᵀ b``, for a division: 1 where it is not positive, as a column of zeros has it."""
    product = _dot(a, b)
    return np.where(product > 0, product, 1.0)
