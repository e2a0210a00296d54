"""Flexible conjugate gradients: the outer loop around any approximate inverse made of messages."""

from collections.abc import Callable

import torch
from torch import Tensor

from gabp.solvers.curvature_certificate import proven_by
from gabp.solvers.solution import Status
from gabp.system import System

_SAFETY = 0.5  # stop a little below the target: the true residual differs from the recurrence by rounding


class ConjugateGradients:
    """Flexible (Polak–Ribière) conjugate gradients on ``A y = r`` for every column at once.

    Parameters
    ----------
    system : System
    precondition : callable
        An approximation of ``A⁻¹``, (n, k) to (n, k); it may vary from step to step (Notay 2000).
    r : Tensor, shape (n, k), float64
    target : Tensor, shape (k,)
        Residual norms to stop at.

    Attributes
    ----------
    witness : Tensor, shape (n,), or None
        After NOT_POSITIVE_DEFINITE a direction ``p`` with ``pᵀAp < 0``.
    """

    def __init__(self, system: System, precondition: Callable[[Tensor], Tensor], r: Tensor, target: Tensor) -> None:
        self.system, self.precondition = system, precondition
        self.residual = r.clone()
        self.target = _SAFETY * target
        self.y = torch.zeros_like(r)
        self.direction = torch.zeros_like(r)
        self.previous_residual = torch.zeros_like(r)
        self.previous_zr = r.new_ones(r.shape[1])
        self.witness: Tensor | None = None

    def advance(self, steps: int) -> tuple[int, Status | None]:
        for done in range(steps):
            active = self.residual.norm(dim=0) > self.target
            if not bool(active.any()):
                return done, None
            failure = self._step(active)
            if failure is not None:
                return done + 1, failure
        return steps, None

    def estimate(self) -> Tensor:
        return self.y

    def _step(self, active: Tensor) -> Status | None:
        z = self.precondition(self.residual)
        zr = _dot(z, self.residual)
        beta = (zr - _dot(z, self.previous_residual)) / self.previous_zr
        direction = z + torch.where(active, beta, 0.0) * self.direction
        image = self.system.multiply(direction)
        curvature = _dot(direction, image)
        flat = active & (curvature <= 0)
        if bool(flat.any()):
            lowest = torch.where(flat, curvature / _dot(direction, direction), 1.0).argmin()
            status = proven_by(self.system, direction[:, lowest])
            if status is Status.NOT_POSITIVE_DEFINITE:
                self.witness = direction[:, lowest]
            return status or Status.STAGNATED
        step = torch.where(active, _dot(direction, self.residual) / curvature, 0.0)
        self.y = self.y + step * direction
        self.previous_residual, self.residual = self.residual, self.residual - step * image
        self.previous_zr = torch.where(active, zr, 1.0)
        self.direction = direction
        return None


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return torch.linalg.vecdot(a, b, dim=0)
