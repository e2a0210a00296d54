"""Methods for vector-valued nodes."""

from dataclasses import dataclass, field

from torch import Tensor

from gabp.messages.blocks import (
    BlockFloodingSweeps,
    BlockPrecisions,
    BlockSequentialSweeps,
    BlockSweep,
    leaves_first,
    solve_block_fixed_point,
)
from gabp.solvers.conjugate_gradients import PreconditionedSolve
from gabp.solvers.host_only import HostOnly
from gabp.solvers.nonsymmetric import GeneralSolve, KrylovMethod, require_krylov
from gabp.solvers.protocol import InnerSolve
from gabp.solvers.schedules import DirectCorrection, SweepCorrection
from gabp.solvers.solution import Status
from gabp.system import InvalidSystemError, System, require_damping
from gabp.system.blocks import BlockSystem


@dataclass(frozen=True, eq=False)
class BlockFlooding(HostOnly):
    """Synchronous sweeps of d × d precision messages and d-vectors; block walk-summability suffices.

    Parameters
    ----------
    system : System
    blocks : BlockSystem
    damping : float in [0, 1)
        Share of the old potential message that is kept.
    """

    system: System
    blocks: BlockSystem
    damping: float = 0.0
    precisions: BlockPrecisions = field(init=False)

    def __post_init__(self) -> None:
        require_damping(self.damping)
        object.__setattr__(self, "precisions", solve_block_fixed_point(self.blocks))

    @property
    def failure(self) -> Status | None:
        return None if self.precisions.invalid_node is None else Status.INVALID_PRECISION

    def correct(self, r: Tensor, target: Tensor) -> InnerSolve:
        return SweepCorrection(BlockFloodingSweeps(self.blocks, self.precisions, r, self.damping))


@dataclass(frozen=True, eq=False)
class BlockSequential(HostOnly):
    """In-place sweeps in the order of the blocks: where both converge, about half as many as of flooding."""

    system: System
    blocks: BlockSystem
    precisions: BlockPrecisions = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "precisions", solve_block_fixed_point(self.blocks))

    @property
    def failure(self) -> Status | None:
        return None if self.precisions.invalid_node is None else Status.INVALID_PRECISION

    def correct(self, r: Tensor, target: Tensor) -> InnerSolve:
        return SweepCorrection(BlockSequentialSweeps(self.blocks, self.precisions, r))


@dataclass(frozen=True, eq=False)
class BlockTree(HostOnly):
    """Two passes on a forest of blocks, exact for a positive definite matrix."""

    system: System
    blocks: BlockSystem
    sweep: BlockSweep = field(init=False)
    exact = True
    stops_itself = True
    symmetric_only = True

    def __post_init__(self) -> None:
        if not self.blocks.graph.is_forest:
            raise InvalidSystemError("method 'tree' needs a forest, and the graph of the blocks has cycles")
        object.__setattr__(self, "sweep", BlockSweep.of(leaves_first(self.blocks)))

    @property
    def failure(self) -> Status | None:
        return None if self.sweep.invalid_node is None else Status.NOT_POSITIVE_DEFINITE

    def correct(self, r: Tensor, target: Tensor) -> InnerSolve:
        return DirectCorrection(self.sweep.apply(r))


@dataclass(frozen=True, eq=False)
class BlockKrylov(HostOnly):
    """One elimination sweep of block messages inside a Krylov method.

    Conjugate gradients for a symmetric matrix, which converge where it is positive definite; for a general one BiCGSTAB
    or GMRES.

    Parameters
    ----------
    system : System
    blocks : BlockSystem
    krylov : {"bicgstab", "gmres"}
        For a general matrix; see `gabp.solvers.nonsymmetric.Krylov`.
    """

    system: System
    blocks: BlockSystem
    krylov: KrylovMethod = "bicgstab"
    sweep: BlockSweep = field(init=False)

    def __post_init__(self) -> None:
        require_krylov(self.krylov)
        object.__setattr__(self, "sweep", BlockSweep.of(self.blocks))

    @property
    def failure(self) -> Status | None:
        if self.sweep.invalid_node is None:
            return None
        return Status.NOT_POSITIVE_DEFINITE if self.blocks.symmetric else Status.INVALID_PRECISION

    def correct(self, r: Tensor, target: Tensor) -> InnerSolve:
        if self.blocks.symmetric:
            return PreconditionedSolve(self.system, self.sweep.apply, r, target)
        return GeneralSolve(self.krylov, self.system, self.sweep.apply, r, target)
