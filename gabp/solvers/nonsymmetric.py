"""General systems: elimination sweeps of nonsymmetric belief propagation inside a Krylov method."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, get_args

from torch import Tensor

from gabp.krylov import GMRES, BiCGSTAB
from gabp.messages.directed import DirectedSweep
from gabp.solvers.host_only import HostOnly
from gabp.solvers.protocol import RECURRENCE_TARGET, InnerSolve
from gabp.solvers.solution import Status
from gabp.system import InvalidSystemError, System

_STALLED = 1000  # iterations in which the residual of a solve that ever ends has halved

KrylovMethod = Literal["bicgstab", "gmres"]


@dataclass(frozen=True, eq=False)
class Krylov(HostOnly):
    """BiCGSTAB or restarted GMRES, preconditioned from the right by one elimination sweep.

    Parameters
    ----------
    system : System
        Of any symmetry, with nonzero diagonal.
    krylov : {"bicgstab", "gmres"}
        Two products an iteration in little memory (van der Vorst 1992), or the smallest residual over the last 40
        directions (Saad and Schultz 1986), which is steadier.
    """

    system: System
    krylov: KrylovMethod = "bicgstab"
    sweep: DirectedSweep = field(init=False)

    def __post_init__(self) -> None:
        require_krylov(self.krylov)
        object.__setattr__(self, "sweep", DirectedSweep.of(self.system))

    @property
    def failure(self) -> Status | None:
        return None if self.sweep.invalid_node is None else Status.INVALID_PRECISION

    def correct(self, r: Tensor, target: Tensor) -> InnerSolve:
        return GeneralSolve(self.krylov, self.system, self.sweep.apply, r, target)


def require_krylov(krylov: KrylovMethod) -> None:
    """Refuse an unknown Krylov method."""
    if krylov not in get_args(KrylovMethod):
        raise InvalidSystemError(f"krylov must be 'bicgstab' or 'gmres', not {krylov!r}")


class GeneralSolve:
    """A Krylov method for general matrices on ``A y = r``, for every column at once.

    Parameters
    ----------
    krylov : {"bicgstab", "gmres"}
    system : System
    precondition : callable
        A fixed linear approximation of ``A⁻¹``, (n, k) to (n, k).
    r : Tensor, shape (n, k), float64
    target : Tensor, shape (k,)
        Residual norms to stop at.
    """

    def __init__(
        self,
        krylov: KrylovMethod,
        system: System,
        precondition: Callable[[Tensor], Tensor],
        r: Tensor,
        target: Tensor,
    ) -> None:
        method = BiCGSTAB if krylov == "bicgstab" else GMRES
        self._iteration: BiCGSTAB | GMRES = method(system.multiply, r, RECURRENCE_TARGET * target, precondition)
        self._halved = math.inf  # the residual norm when it was last halved
        self._since_halved = 0

    def advance(self, iterations: int) -> tuple[int, Status | None]:
        for done in range(iterations):
            active = self._iteration.active
            if not bool(active.any()):
                return done, None
            if self._since_halved == _STALLED:
                return done, Status.DIVERGED
            self._iteration.iterate()
            largest = float(self._iteration.residual_norms[active].max())
            halved = largest <= 0.5 * self._halved
            self._halved, self._since_halved = (largest, 0) if halved else (self._halved, self._since_halved + 1)
        return iterations, None

    def estimate(self) -> Tensor:
        return self._iteration.solution()
