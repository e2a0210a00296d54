"""Plain belief propagation as solvers: the flooding and the sequential schedule, and the tree pass."""

from dataclasses import dataclass, field

from torch import Tensor

from gabp.messages import (
    FloodingSweeps,
    PotentialSweeps,
    Precisions,
    SequentialSweeps,
    TreeFactor,
    settle_precisions,
)
from gabp.messages.precision import Start
from gabp.solvers.protocol import Correction
from gabp.solvers.solution import Status
from gabp.system import InvalidSystemError, System, require_positive_diagonal


class SweepCorrection:
    """Sweeps of potential messages, as a correction."""

    def __init__(self, sweeps: PotentialSweeps) -> None:
        self.sweeps = sweeps

    def advance(self, steps: int) -> tuple[int, Status | None]:
        self.sweeps.sweep(steps)
        return steps, None

    def estimate(self) -> Tensor:
        return self.sweeps.mean().double()


@dataclass(frozen=True, eq=False)
class Flooding:
    """Synchronous sweeps. Converges where ρ(M) < 1 (theory: walk-summability is sufficient).

    Parameters
    ----------
    system : System
        In the dtype that the messages shall have.
    start : {"zero", "constant"}
        Where the precision iteration starts; see `gabp.messages.settle_precisions`.
    damping : float in [0, 1)
        Share of the old potential message that is kept.
    """

    system: System
    start: Start = "zero"
    damping: float = 0.0
    precisions: Precisions = field(init=False)
    exact = False

    def __post_init__(self) -> None:
        if not 0.0 <= self.damping < 1.0:
            raise InvalidSystemError(f"damping must be in [0, 1), not {self.damping}")
        if self.start not in ("zero", "constant"):
            raise InvalidSystemError(f"start must be 'zero' or 'constant', not {self.start!r}")
        if self.system.symmetric:
            require_positive_diagonal(self.system, "flooding")
        object.__setattr__(self, "precisions", settle_precisions(self.system, start=self.start))

    @property
    def failure(self) -> Status | None:
        return None if self.precisions.invalid_node is None else Status.INVALID_PRECISION

    def correct(self, r: Tensor, target: Tensor) -> Correction:
        r = r.to(self.system.dtype)
        return SweepCorrection(FloodingSweeps(self.system, self.precisions, r, self.damping))


@dataclass(frozen=True, eq=False)
class Sequential:
    """In-place sweeps in row order: about half the sweeps of flooding where both converge."""

    system: System
    precisions: Precisions = field(init=False)
    exact = False

    def __post_init__(self) -> None:
        if self.system.symmetric:
            require_positive_diagonal(self.system, "sequential")
        object.__setattr__(self, "precisions", settle_precisions(self.system))

    @property
    def failure(self) -> Status | None:
        return None if self.precisions.invalid_node is None else Status.INVALID_PRECISION

    def correct(self, r: Tensor, target: Tensor) -> Correction:
        return SweepCorrection(SequentialSweeps(self.system, self.precisions, r.to(self.system.dtype)))


class DirectCorrection:
    """A correction that one step of an exact method completes."""

    def __init__(self, solution: Tensor) -> None:
        self.solution = solution

    def advance(self, steps: int) -> tuple[int, Status | None]:
        return 1, None

    def estimate(self) -> Tensor:
        return self.solution


@dataclass(frozen=True, eq=False)
class Tree:
    """Two passes on a forest, exact for any nonsingular system on it."""

    system: System
    factor: TreeFactor = field(init=False)
    exact = True

    def __post_init__(self) -> None:
        graph = self.system.graph
        if not graph.is_forest:
            cycles = graph.edges // 2 - graph.n + graph.components
            raise InvalidSystemError(
                f"method 'tree' needs a forest, and the graph of A has {cycles} independent "
                f"cycle{'s' if cycles > 1 else ''}; try method='auto'"
            )
        object.__setattr__(self, "factor", TreeFactor.of(self.system))

    @property
    def failure(self) -> Status | None:
        return None if self.factor.singular_node is None else Status.SINGULAR

    def correct(self, r: Tensor, target: Tensor) -> Correction:
        return DirectCorrection(self.factor.solve(r))
