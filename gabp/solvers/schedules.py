"""Plain belief propagation as solvers: the flooding and the sequential schedule, and the tree pass."""

from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor

from gabp.messages import (
    STARTS,
    FloodingSweeps,
    GeneralFloodingSweeps,
    GeneralPrecisions,
    JointFloodingSweeps,
    Precisions,
    Start,
    TreeFactor,
    sequential_sweeps,
    solve_general_fixed_point,
    solve_precision_fixed_point,
)
from gabp.solvers.host_only import HostOnly
from gabp.solvers.protocol import InnerSolve, MethodSetup
from gabp.solvers.solution import Status
from gabp.system import InvalidSystemError, System, require_damping, require_positive_diagonal


class Sweeps(Protocol):
    """Messages of one model for one set of right-hand sides."""

    def sweep(self, count: int) -> None: ...

    def mean(self) -> Tensor: ...


class SweepCorrection:
    """Sweeps of potential messages at the fixed point of the precisions, as a correction."""

    def __init__(self, sweeps: Sweeps) -> None:
        self._sweeps = sweeps

    def advance(self, iterations: int) -> tuple[int, Status | None]:
        self._sweeps.sweep(iterations)
        return iterations, None

    def estimate(self) -> Tensor:
        return self._sweeps.mean()


class JointCorrection:
    """Sweeps of precision and potential messages together, as a correction."""

    def __init__(self, sweeps: JointFloodingSweeps) -> None:
        self._sweeps = sweeps

    def advance(self, iterations: int) -> tuple[int, Status | None]:
        done, invalid_node = self._sweeps.sweep(iterations)
        return done, None if invalid_node is None else Status.INVALID_PRECISION

    def estimate(self) -> Tensor:
        return self._sweeps.mean()


def _fixed_point(system: System, start: Start = "zero") -> Precisions | GeneralPrecisions:
    return solve_precision_fixed_point(system, start=start) if system.symmetric else solve_general_fixed_point(system)


@dataclass(frozen=True, eq=False)
class Flooding(MethodSetup):
    """Synchronous sweeps (Weiss and Freeman 2001). Converge where ρ(M) < 1, for which walk-summability suffices.

    Parameters
    ----------
    system : System
        In the dtype of the messages.
    start : {"zero", "constant"}
        Where the precision iteration starts; see `gabp.messages.solve_precision_fixed_point`.
    damping : float in [0, 1)
        Share of the old potential message that is kept.
    joint : bool
        Update precision and potential messages together in every sweep, as the algorithm is usually stated. By default
        the precisions, which do not depend on ``b``, are iterated to their fixed point in the set-up.
    """

    system: System
    start: Start = "zero"
    damping: float = 0.0
    joint: bool = False
    precisions: Precisions | GeneralPrecisions | None = field(init=False)
    needs_positive_diagonal = True

    def __post_init__(self) -> None:
        require_damping(self.damping)
        if self.start not in STARTS:
            raise InvalidSystemError(f"start must be one of {STARTS}, not {self.start!r}")
        if self.system.symmetric:
            require_positive_diagonal(self.system, "flooding")
        elif self.start != "zero" or self.joint:
            raise InvalidSystemError("for a nonsymmetric system start must be 'zero' and joint must be False")
        if self.damping and self.joint:
            raise InvalidSystemError("damping goes with precisions at their fixed point only (joint=False)")
        object.__setattr__(self, "precisions", None if self.joint else _fixed_point(self.system, self.start))

    @property
    def failure(self) -> Status | None:
        if self.precisions is None or self.precisions.invalid_node is None:
            return None
        return Status.INVALID_PRECISION

    def correct(self, r: Tensor, target: Tensor) -> InnerSolve:
        r = r.to(self.system.dtype)
        if self.precisions is None:
            return JointCorrection(JointFloodingSweeps(self.system, r, self.start))
        if isinstance(self.precisions, Precisions):
            return SweepCorrection(FloodingSweeps(self.precisions, r, self.damping))
        return SweepCorrection(GeneralFloodingSweeps(self.precisions, r, self.damping))


@dataclass(frozen=True, eq=False)
class Sequential(MethodSetup):
    """In-place sweeps in row order: where both converge, about half as many as of flooding."""

    system: System
    precisions: Precisions | GeneralPrecisions = field(init=False)
    needs_positive_diagonal = True

    def __post_init__(self) -> None:
        if self.system.symmetric:
            require_positive_diagonal(self.system, "sequential")
        object.__setattr__(self, "precisions", _fixed_point(self.system))

    @property
    def failure(self) -> Status | None:
        return None if self.precisions.invalid_node is None else Status.INVALID_PRECISION

    def correct(self, r: Tensor, target: Tensor) -> InnerSolve:
        return SweepCorrection(sequential_sweeps(self.precisions, r.to(self.system.dtype)))


class DirectCorrection:
    """The correction by an exact method, in one iteration."""

    def __init__(self, solution: Tensor) -> None:
        self.solution = solution

    def advance(self, iterations: int) -> tuple[int, Status | None]:
        return 1, None

    def estimate(self) -> Tensor:
        return self.solution


@dataclass(frozen=True, eq=False)
class Tree(HostOnly):
    """Two passes on a forest, exact for any nonsingular system on it."""

    system: System
    factor: TreeFactor = field(init=False)
    exact = True
    stops_itself = True

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

    def correct(self, r: Tensor, target: Tensor) -> InnerSolve:
        return DirectCorrection(self.factor.solve(r))
