"""The hierarchy of vector-valued nodes."""

from dataclasses import dataclass, field
from functools import partial

import numpy as np
import scipy.sparse
import scipy.sparse.linalg
import torch
from torch import Tensor

from gabp.kernels.torch.aggregation import dominant_matching, edge_preference
from gabp.krylov import ConjugateGradients
from gabp.messages.blocks import BlockSweep
from gabp.solvers.conjugate_gradients import PreconditionedSolve
from gabp.solvers.hierarchy.base import Hierarchy, LevelSummary
from gabp.solvers.host_only import HostOnly
from gabp.solvers.protocol import InnerSolve
from gabp.solvers.solution import Status
from gabp.system import System, make_system, read_matrix
from gabp.system.blocks import BlockPartition, BlockSystem

_COARSEST = 400  # nodes of a level that is eliminated
_LEAST_COARSENING = 0.8  # coarse over fine nodes, above which a coarser level is not worth it
_MATCHING_ROUNDS = 100  # far more than any but a line of steadily growing couplings takes
_ENOUGH = 0.25  # of the residual, down to which one iteration on a coarse level suffices


@dataclass(frozen=True, eq=False)
class _Level:
    """One level: its matrix, its elimination sweep, and the interpolation from the next level."""

    matrix: scipy.sparse.csr_array
    sweep: BlockSweep
    interpolation: scipy.sparse.csr_array  # (unknowns here, unknowns on the next level)

    def smooth(self, r: np.ndarray) -> np.ndarray:
        """One sweep from zero, (n, k)."""
        return self.sweep.apply(torch.from_numpy(np.ascontiguousarray(r))).numpy()

    @property
    def nbytes(self) -> int:
        sparse = _nbytes(self.matrix) + _nbytes(self.interpolation)
        return sparse + self.sweep.inverse.nbytes + self.sweep.system.weight.nbytes

    @property
    def summary(self) -> LevelSummary:
        n, nodes = self.matrix.shape[0], self.sweep.system.partition.count
        return LevelSummary(n, self.matrix.nnz - n, nodes, 0, False)


@dataclass(frozen=True, eq=False, repr=False)
class BlockHierarchy(HostOnly, Hierarchy):
    """The hierarchy of a system of vector-valued nodes, with elimination sweeps node by node.

    Nodes are matched with the neighbour of strongest coupling, and the components of the two vectors are aggregated one
    by one: the coarse matrix ``PᵀAP`` is one of vector-valued nodes again.

    Parameters
    ----------
    system : System
    blocks : BlockSystem
    """

    system: System
    blocks: BlockSystem
    stored: tuple[_Level, ...] = field(init=False)
    coarsest: scipy.sparse.csr_array = field(init=False)
    factor: "scipy.sparse.linalg.SuperLU | None" = field(init=False)  # of the coarsest level
    invalid_node: int | None = field(init=False)
    groups = "nodes"
    is_linear = False

    def __post_init__(self) -> None:
        levels, blocks, invalid_node = [], self.blocks, None
        matrix = self.system.to_scipy()
        while blocks.partition.count > _COARSEST:
            sweep = BlockSweep.of(blocks)
            if sweep.invalid_node is not None:
                invalid_node = sweep.invalid_node
                break
            interpolation, coarse, coarse_blocks = _aggregated_twice(matrix, blocks)
            if coarse_blocks.partition.count > _LEAST_COARSENING * blocks.partition.count:
                break
            levels.append(_Level(matrix, sweep, interpolation))
            matrix, blocks = coarse, coarse_blocks
        for name, value in {
            "stored": tuple(levels),
            "coarsest": matrix,
            "factor": _factorised(matrix) if invalid_node is None else None,
            "invalid_node": invalid_node,
        }.items():
            object.__setattr__(self, name, value)

    @property
    def failure(self) -> Status | None:
        if self.invalid_node is not None:
            return Status.NOT_POSITIVE_DEFINITE
        return Status.SINGULAR if self.factor is None else None

    @property
    def levels(self) -> tuple[LevelSummary, ...]:
        n = self.coarsest.shape[0]
        return (*(level.summary for level in self.stored), LevelSummary(n, self.coarsest.nnz - n, 1, 0, True))

    @property
    def nbytes(self) -> int:
        factor = 0 if self.factor is None else 12 * self.factor.nnz  # a float64 and a 32-bit index for each entry
        return sum(level.nbytes for level in self.stored) + _nbytes(self.coarsest) + factor

    def correct(self, r: Tensor, target: Tensor) -> InnerSolve:
        return PreconditionedSolve(self.system, self.precondition, r, target)

    def precondition(self, r: Tensor) -> Tensor:
        """One K-cycle, which varies with ``r`` of shape (n, k), in float64."""
        return self._cycle(r.cpu()).to(r.device)

    def _cycle(self, r: Tensor) -> Tensor:
        return torch.from_numpy(self._descend(0, r.numpy()))

    def _descend(self, depth: int, r: np.ndarray) -> np.ndarray:
        """One cycle from level ``depth`` on."""
        if depth == len(self.stored):
            assert self.factor is not None
            return self.factor.solve(r)
        level = self.stored[depth]
        x = level.smooth(r)
        x += level.interpolation @ self._accelerated(depth + 1, level.interpolation.T @ (r - level.matrix @ x))
        return x + level.smooth(r - level.matrix @ x)

    def _accelerated(self, depth: int, r: np.ndarray) -> np.ndarray:
        """Up to two iterations of flexible conjugate gradients, each preconditioned by a cycle."""
        if depth == len(self.stored):
            return self._descend(depth, r)
        iteration = ConjugateGradients(self.stored[depth].matrix.__matmul__, r, 0.0, partial(self._descend, depth))
        enough = _ENOUGH * iteration.residual_norms
        iteration.iterate()
        if not (iteration.residual_norms <= enough).all():
            iteration.iterate()
        return iteration.solution


def _factorised(matrix: scipy.sparse.csr_array) -> "scipy.sparse.linalg.SuperLU | None":
    try:
        return scipy.sparse.linalg.splu(matrix.tocsc())
    except RuntimeError:  # "Factor is exactly singular"
        return None


def _aggregated_twice(
    matrix: scipy.sparse.csr_array, blocks: BlockSystem
) -> tuple[scipy.sparse.csr_array, scipy.sparse.csr_array, BlockSystem]:
    """The interpolation from aggregates of up to four nodes, and the coarse matrix with its nodes."""
    first, matrix, blocks = _aggregated(matrix, blocks)
    second, matrix, blocks = _aggregated(matrix, blocks)
    return (first @ second).tocsr(), matrix, blocks


def _aggregated(
    matrix: scipy.sparse.csr_array, blocks: BlockSystem
) -> tuple[scipy.sparse.csr_array, scipy.sparse.csr_array, BlockSystem]:
    """The interpolation from matched pairs of nodes, and the coarse matrix with its nodes."""
    pair = _matching(blocks)
    partition, d = blocks.partition, blocks.partition.size
    column = pair[partition.block.numpy()] * d + partition.within.numpy()
    used, column = np.unique(column, return_inverse=True)  # components that blocks smaller than the largest lack
    shape = (partition.n, len(used))
    interpolation = scipy.sparse.csr_array((np.ones(partition.n), (np.arange(partition.n), column)), shape)
    coarse = (interpolation.T @ matrix @ interpolation).tocsr()
    coarse_system = make_system(read_matrix(0.5 * (coarse + coarse.T)))
    return interpolation, coarse, BlockSystem.of(coarse_system, BlockPartition.of(used // d))


def _matching(blocks: BlockSystem) -> np.ndarray:
    """The pair of each node, shape (N,), by couplings scaled to unit diagonal blocks; numbered by their first nodes."""
    graph = blocks.graph
    source, destination = graph.source.long(), graph.destination
    root = torch.linalg.cholesky(blocks.diagonal)
    scaled = torch.linalg.solve_triangular(root[destination], blocks.weight, upper=False)
    scaled = torch.linalg.solve_triangular(root[source], scaled.mT, upper=False)
    first = greedy_matching(destination, source, torch.linalg.matrix_norm(scaled), graph.reverse, graph.n)
    return torch.unique(first, return_inverse=True)[1].numpy()


def greedy_matching(row: Tensor, column: Tensor, strength: Tensor, reverse: Tensor, n: int) -> Tensor:
    """The strongest edge, then the strongest of those that share no node with it, and so on.

    Parameters
    ----------
    row, column, strength : Tensor, shape (m,)
        Both directions of every edge; its strength is that of the direction with ``row < column``.
    reverse : Tensor, shape (m,)
        The other direction of each edge.
    n : int
        Nodes.

    Returns
    -------
    Tensor, int64, shape (n,)
        The smaller node of each pair, or the node itself where it stays single.
    """
    once = (row < column).nonzero().flatten()
    ties = edge_preference(row[once], column[once], torch.ones_like(strength[once]))
    order = torch.from_numpy(np.lexsort((ties.numpy(), strength[once].numpy())))
    preference = torch.empty_like(row)
    preference[once[order]] = torch.arange(len(order))
    preference[reverse[once]] = preference[once]
    return dominant_matching(row, column, preference, n, _MATCHING_ROUNDS)


def _nbytes(matrix: scipy.sparse.csr_array) -> int:
    return matrix.data.nbytes + matrix.indices.nbytes + matrix.indptr.nbytes
