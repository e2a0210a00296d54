"""Conjugate gradients as inner solves: on a symmetric system, with a termination status."""

from collections.abc import Callable

from torch import Tensor

from gabp.conditions import Curvature, curvature_certificate
from gabp.krylov import ConjugateGradients
from gabp.solvers.protocol import RECURRENCE_TARGET
from gabp.solvers.solution import Status
from gabp.system import System

_STATUS = {
    Curvature.NEGATIVE: Status.NOT_POSITIVE_DEFINITE,
    Curvature.ZERO: Status.SINGULAR,
    Curvature.POSITIVE: None,
}


class SymmetricSolve:
    """What all inner solves by conjugate gradients share.

    Attributes
    ----------
    system : System
    negative_curvature : Tensor, shape (n,), or None
        After NOT_POSITIVE_DEFINITE a direction ``p`` with ``pᵀAp < 0``.
    """

    def __init__(self, system: System) -> None:
        self.system = system
        self.negative_curvature: Tensor | None = None

    def certified(self, direction: Tensor) -> Status | None:
        """The status that the curvature along ``direction``, shape (n,), proves; None where it is positive."""
        direction = direction / direction.norm()
        curvature = curvature_certificate(self.system, direction)
        if curvature is Curvature.NEGATIVE:
            self.negative_curvature = direction
        return _STATUS[curvature]


class PreconditionedSolve(SymmetricSolve):
    """Flexible conjugate gradients around any approximate inverse, on ``A y = r`` for every column at once.

    Parameters
    ----------
    system : System
    precondition : callable
        An approximation of ``A⁻¹``, (n, k) to (n, k); it may vary from iteration to iteration.
    r : Tensor, shape (n, k), float64
    target : Tensor, shape (k,)
        Residual norms to stop at.
    """

    def __init__(self, system: System, precondition: Callable[[Tensor], Tensor], r: Tensor, target: Tensor) -> None:
        super().__init__(system)
        self._iteration = ConjugateGradients(system.multiply, r, RECURRENCE_TARGET * target, precondition)

    def advance(self, iterations: int) -> tuple[int, Status | None]:
        for done in range(iterations):
            if self._iteration.converged:
                return done, None
            self._iteration.iterate()
            if self._iteration.negative_curvature is not None:
                return done + 1, self.certified(self._iteration.negative_curvature) or Status.STAGNATED
        return iterations, None

    def estimate(self) -> Tensor:
        return self._iteration.solution.clone()
