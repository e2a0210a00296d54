"""Methods for vector-valued nodes."""

from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from gabp.messages.blocks import (
    BlockFloodingSweeps,
    BlockPrecisions,
    BlockSequentialSweeps,
    BlockSweep,
    leaves_first,
    solve_block_fixed_point,
)
from gabp.solvers.auto import Choice, factor_is_quicker, little_fill, nonsymmetric_choices
from gabp.solvers.conjugate_gradients import PreconditionedSolve
from gabp.solvers.device_factorization import RunsOnCPU
from gabp.solvers.hierarchy import BlockHierarchy
from gabp.solvers.nonsymmetric import GeneralSolve, KrylovMethod, require_krylov
from gabp.solvers.protocol import InnerSolve
from gabp.solvers.schedules import DirectCorrection, SweepCorrection
from gabp.solvers.solution import Status
from gabp.system import InvalidSystemError, System, require_damping
from gabp.system.blocks import BlockSystem


@dataclass(frozen=True, eq=False)
class BlockFlooding(RunsOnCPU):
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
    exact = False
    stops_itself = False

    def __post_init__(self) -> None:
        require_damping(self.damping)
        object.__setattr__(self, "precisions", solve_block_fixed_point(self.blocks))

    @property
    def failure(self) -> Status | None:
        return None if self.precisions.invalid_node is None else Status.INVALID_PRECISION

    def correct(self, r: Tensor, target: Tensor) -> InnerSolve:
        return SweepCorrection(BlockFloodingSweeps(self.blocks, self.precisions, r, self.damping))


@dataclass(frozen=True, eq=False)
class BlockSequential(RunsOnCPU):
    """In-place sweeps in the order of the blocks: about half the sweeps of flooding where both converge."""

    system: System
    blocks: BlockSystem
    precisions: BlockPrecisions = field(init=False)
    exact = False
    stops_itself = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "precisions", solve_block_fixed_point(self.blocks))

    @property
    def failure(self) -> Status | None:
        return None if self.precisions.invalid_node is None else Status.INVALID_PRECISION

    def correct(self, r: Tensor, target: Tensor) -> InnerSolve:
        return SweepCorrection(BlockSequentialSweeps(self.blocks, self.precisions, r))


@dataclass(frozen=True, eq=False)
class BlockTree(RunsOnCPU):
    """Two passes on a forest of blocks, exact for a positive definite matrix."""

    system: System
    blocks: BlockSystem
    sweep: BlockSweep = field(init=False)
    exact = True
    stops_itself = True

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
class BlockKrylov(RunsOnCPU):
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
    exact = False
    stops_itself = False

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


BLOCK_METHODS: dict[str, Any] = {
    "tree": BlockTree,
    "flooding": BlockFlooding,
    "sequential": BlockSequential,
    "krylov": BlockKrylov,
    "hierarchy": BlockHierarchy,
}
_SYMMETRIC_ONLY = {"tree", "hierarchy"}
_SECONDS_PER_BLOCK = 1e-4  # of the hierarchy of blocks, set-up and some 30 iterations


def choose_blocks(system: System, blocks: BlockSystem, method: str) -> list[Choice]:
    """The methods to try on a model of vector-valued nodes, best first.

    Raises
    ------
    InvalidSystemError
        There is no such method for blocks, or it cannot treat such a system.
    """
    nodes = f"{blocks.partition.count} nodes of up to {blocks.partition.size} unknowns"
    if method == "elimination":
        return [Choice("elimination", "chosen by the caller; blocks make no difference to it")]
    if method == "auto":
        return _block_choices(system, blocks, nodes)
    possible = sorted(set(BLOCK_METHODS) - (set() if blocks.symmetric else _SYMMETRIC_ONLY))
    if method in _SYMMETRIC_ONLY and not blocks.symmetric:
        raise InvalidSystemError(
            f"method {method!r} with blocks needs symmetric=True; without it there are 'auto', 'elimination' and "
            f"{possible}"
        )
    if method not in BLOCK_METHODS:
        raise InvalidSystemError(f"blocks go with 'auto', 'elimination' or {possible}, not {method!r}")
    return [Choice(method, f"chosen by the caller, with {nodes}")]


def _block_choices(system: System, blocks: BlockSystem, nodes: str) -> list[Choice]:
    if not blocks.symmetric:
        return nonsymmetric_choices(system)
    exact = Choice("elimination", "message passing between blocks stopped short of the tolerance")
    if blocks.graph.is_forest:
        return [Choice("tree", f"{nodes} on a forest, where two passes are exact"), exact]
    if factor_is_quicker(system, _SECONDS_PER_BLOCK * blocks.partition.count):
        messages = Choice("hierarchy", "elimination found A singular; a consistent b may still be solved")
        return [replace(exact, reason=little_fill(system)), messages]
    return [Choice("hierarchy", f"{nodes}: a hierarchy of block models inside conjugate gradients"), exact]
