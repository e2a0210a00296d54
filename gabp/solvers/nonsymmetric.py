"""General systems: elimination sweeps of nonsymmetric belief propagation inside a Krylov method."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from gabp.messages.directed import DirectedSweep
from gabp.solvers.device_factorization import RunsOnCPU
from gabp.solvers.protocol import InnerSolve
from gabp.solvers.solution import Status
from gabp.system import InvalidSystemError, System

_SAFETY = 0.5  # stop a little below the target: the true residual differs from the recurrence by rounding
_RESTART = 40  # vectors that GMRES keeps
_PATIENCE = 1000  # steps in which a residual that will ever be small has halved
_BREAKDOWN = 1e-14  # cosine between residual and shadow residual at which BiCGSTAB begins afresh

Operator = Callable[[Tensor], Tensor]
KrylovMethod = Literal["bicgstab", "gmres"]


@dataclass(frozen=True, eq=False)
class Krylov(RunsOnCPU):
    """BiCGSTAB or restarted GMRES, preconditioned from the right by one elimination sweep.

    Parameters
    ----------
    system : System
        Of any symmetry, with nonzero diagonal.
    krylov : {"bicgstab", "gmres"}
        Two products a step in little memory (van der Vorst 1992), or the smallest residual over the last 40
        directions (Saad and Schultz 1986), which is steadier.
    """

    system: System
    krylov: KrylovMethod = "bicgstab"
    sweep: DirectedSweep = field(init=False)
    exact = False
    stops_itself = False

    def __post_init__(self) -> None:
        require_krylov(self.krylov)
        object.__setattr__(self, "sweep", DirectedSweep.of(self.system))

    @property
    def failure(self) -> Status | None:
        return None if self.sweep.invalid_node is None else Status.INVALID_PRECISION

    def correct(self, r: Tensor, target: Tensor) -> InnerSolve:
        return general_correction(self.krylov, self.system, self.sweep.apply, r, target)


def require_krylov(krylov: KrylovMethod) -> None:
    """Refuse a Krylov method that there is not."""
    if krylov not in ("bicgstab", "gmres"):
        raise InvalidSystemError(f"krylov must be 'bicgstab' or 'gmres', not {krylov!r}")


def general_correction(
    krylov: KrylovMethod, system: System, precondition: Operator, r: Tensor, target: Tensor
) -> InnerSolve:
    """Start the Krylov method of this name on ``A y = r``."""
    make = BiCGSTAB if krylov == "bicgstab" else GMRES
    return make(system.multiply, precondition, r, _SAFETY * target)


class _Method:
    """Steps on every column at once, until all residuals are small or the largest has not halved for long."""

    target: Tensor
    remaining: Tensor  # residual norms, shape (k,)
    _least = math.inf
    _waited = 0

    def advance(self, steps: int) -> tuple[int, Status | None]:
        for done in range(steps):
            active = self.remaining > self.target
            if not bool(active.any()):
                return done, None
            if self._waited == _PATIENCE:
                return done, Status.DIVERGED
            self._step(active)
            left = float(self.remaining[active].max())
            halved = left <= 0.5 * self._least
            self._least, self._waited = (left, 0) if halved else (self._least, self._waited + 1)
        return steps, None

    def _step(self, active: Tensor) -> None:
        raise NotImplementedError


class BiCGSTAB(_Method):
    """Stabilised biconjugate gradients on ``A y = r`` for every column at once.

    Parameters
    ----------
    multiply, precondition : callable
        ``A`` and an approximation of ``A⁻¹``, a fixed linear operator; (n, k) to (n, k).
    r : Tensor, shape (n, k), float64
    target : Tensor, shape (k,)
        Residual norms to stop at.
    """

    def __init__(self, multiply: Operator, precondition: Operator, r: Tensor, target: Tensor) -> None:
        self.multiply, self.precondition, self.target = multiply, precondition, target
        self.y = torch.zeros_like(r)
        self.residual, self.shadow, self.direction = r, r, r
        self.correlation = _dot(r, r)
        self.remaining = r.norm(dim=0)

    def estimate(self) -> Tensor:
        return self.y

    def _step(self, active: Tensor) -> None:
        along = self.precondition(self.direction)
        image = self.multiply(along)
        alpha = torch.where(active, _ratio(self.correlation, _dot(self.shadow, image)), 0.0)
        halfway = self.residual - alpha * image
        across = self.precondition(halfway)
        smoothed = self.multiply(across)
        omega = torch.where(active, _ratio(_dot(smoothed, halfway), _dot(smoothed, smoothed)), 0.0)
        self.y = self.y + alpha * along + omega * across
        self.residual = halfway - omega * smoothed
        self.remaining = self.residual.norm(dim=0)
        correlation = _dot(self.shadow, self.residual)
        beta = _ratio(correlation, self.correlation) * _ratio(alpha, omega)
        direction = self.residual + beta * (self.direction - omega * image)
        orthogonal = correlation.abs() <= _BREAKDOWN * self.shadow.norm(dim=0) * self.residual.norm(dim=0)
        afresh = orthogonal | (omega == 0) | (alpha == 0)
        self.shadow = torch.where(afresh, self.residual, self.shadow)
        self.direction = torch.where(afresh, self.residual, direction)
        self.correlation = torch.where(afresh, _dot(self.residual, self.residual), correlation)


class GMRES(_Method):
    """Restarted GMRES on ``A y = r`` for every column at once; the parameters are those of `BiCGSTAB`."""

    def __init__(self, multiply: Operator, precondition: Operator, r: Tensor, target: Tensor) -> None:
        self.multiply, self.precondition, self.target = multiply, precondition, target
        self.r = r
        self.base = torch.zeros_like(r)
        self.basis = r.new_empty((_RESTART + 1, *r.shape))
        self.hessenberg = r.new_zeros((r.shape[1], _RESTART + 1, _RESTART))
        self._restart(r)

    def estimate(self) -> Tensor:
        if self.columns == 0:
            return self.base
        combined = torch.einsum("jnk,kj->nk", self.basis[: self.columns], self._weights()[0])
        return self.base + self.precondition(combined)

    def _restart(self, residual: Tensor) -> None:
        self.size = residual.norm(dim=0)
        self.remaining = self.size
        self.basis[0] = residual / torch.where(self.size > 0, self.size, 1.0)
        self.columns = 0

    def _step(self, active: Tensor) -> None:
        if self.columns == _RESTART:
            self.base = self.estimate()
            self._restart(self.r - self.multiply(self.base))
        j = self.columns + 1
        basis = self.basis[:j]
        w = self.multiply(self.precondition(self.basis[j - 1]))
        projection = torch.zeros_like(self.hessenberg[:, :j, 0])
        for _ in range(2):  # twice is enough (Kahan and Parlett)
            part = torch.einsum("jnk,nk->kj", basis, w)
            w = w - torch.einsum("jnk,kj->nk", basis, part)
            projection = projection + part
        length = w.norm(dim=0)
        self.hessenberg[:, :j, j - 1], self.hessenberg[:, j, j - 1] = projection, length
        self.basis[j] = w / torch.where(length > 0, length, 1.0)
        self.columns = j
        self.remaining = self._weights()[1]

    def _weights(self) -> tuple[Tensor, Tensor]:
        """What of each direction makes the residual smallest, shape (k, columns), and that residual's norm, (k,)."""
        H = self.hessenberg[:, : self.columns + 1, : self.columns]
        first = H.new_zeros((len(H), self.columns + 1, 1))
        first[:, 0, 0] = self.size
        weights = torch.linalg.pinv(H) @ first  # a column that is done early has rows of zeros
        return weights[:, :, 0], (first - H @ weights)[:, :, 0].norm(dim=1)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return torch.linalg.vecdot(a, b, dim=0)


def _ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    """The quotient, or 0 where it is not finite: the column then begins afresh."""
    quotient = numerator / denominator
    return torch.where(torch.isfinite(quotient), quotient, 0.0)
