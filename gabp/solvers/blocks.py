"""Methods for vector-valued nodes."""

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from gabp.messages.blocks import (
    BlockFloodingSweeps,
    BlockPrecisions,
    BlockSweep,
    leaves_first,
    settle_block_precisions,
)
from gabp.solvers.auto import Choice
from gabp.solvers.block_hierarchy import BlockHierarchy
from gabp.solvers.conjugate_gradients import ConjugateGradients
from gabp.solvers.protocol import Correction
from gabp.solvers.schedules import DirectCorrection, SweepCorrection
from gabp.solvers.solution import Status
from gabp.system import InvalidSystemError, System, require_damping
from gabp.system.blocks import BlockSystem


@dataclass(frozen=True, eq=False)
class BlockFlooding:
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
        object.__setattr__(self, "precisions", settle_block_precisions(self.blocks))

    @property
    def failure(self) -> Status | None:
        return None if self.precisions.invalid_node is None else Status.INVALID_PRECISION

    def correct(self, r: Tensor, target: Tensor) -> Correction:
        return SweepCorrection(BlockFloodingSweeps(self.blocks, self.precisions, r, self.damping))


@dataclass(frozen=True, eq=False)
class BlockTree:
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

    def correct(self, r: Tensor, target: Tensor) -> Correction:
        return DirectCorrection(self.sweep.apply(r))


@dataclass(frozen=True, eq=False)
class BlockKrylov:
    """Conjugate gradients preconditioned by one elimination sweep of block messages. Any positive definite matrix."""

    system: System
    blocks: BlockSystem
    sweep: BlockSweep = field(init=False)
    exact = False
    stops_itself = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "sweep", BlockSweep.of(self.blocks))

    @property
    def failure(self) -> Status | None:
        return None if self.sweep.invalid_node is None else Status.NOT_POSITIVE_DEFINITE

    def correct(self, r: Tensor, target: Tensor) -> Correction:
        return ConjugateGradients(self.system, self.sweep.apply, r, target)


BLOCK_METHODS: dict[str, Any] = {
    "tree": BlockTree,
    "flooding": BlockFlooding,
    "krylov": BlockKrylov,
    "hierarchy": BlockHierarchy,
}


def choose_blocks(blocks: BlockSystem, method: str) -> list[Choice]:
    """The methods to try on a model of vector-valued nodes, best first.

    Raises
    ------
    InvalidSystemError
        There is no such method for blocks, or it cannot treat such a system.
    """
    count, size = blocks.partition.blocks, blocks.partition.size
    nodes = f"{count} nodes of up to {size} unknowns"
    if method == "elimination":
        return [Choice("elimination", "chosen by the caller; blocks make no difference to it")]
    if method != "auto":
        if method not in BLOCK_METHODS:
            raise InvalidSystemError(f"blocks go with 'auto', 'elimination' or {sorted(BLOCK_METHODS)}, not {method!r}")
        if method != "flooding" and not blocks.symmetric:
            raise InvalidSystemError(f"method {method!r} with blocks needs symmetric=True")
        return [Choice(method, f"chosen by the caller, with {nodes}")]
    exact = Choice("elimination", "message passing between blocks stopped short of the tolerance")
    if not blocks.symmetric:
        return [Choice("flooding", nodes), exact]
    if blocks.graph.is_forest:
        return [Choice("tree", f"{nodes} on a forest, where two passes are exact"), exact]
    return [Choice("hierarchy", f"{nodes}: a hierarchy of block models inside conjugate gradients"), exact]
