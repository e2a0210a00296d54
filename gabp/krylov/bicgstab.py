"""Stabilised biconjugate gradients."""

import torch
from torch import Tensor

from gabp.krylov.columns import Operator, dot

_BREAKDOWN = 1e-14  # cosine between residual and shadow residual at which the iteration restarts


class BiCGSTAB:
    """Stabilised biconjugate gradients on ``A y = r`` for every column at once (van der Vorst 1992).

    Preconditioned from the right. A column restarts from its residual where a scalar of the recurrence vanishes.

    Parameters
    ----------
    multiply, precondition : callable
        ``A`` and an approximation of ``A⁻¹``, a fixed linear operator; (n, k) to (n, k).
    r : Tensor, shape (n, k), float64
    target : Tensor, shape (k,)
        Residual norms to stop at.

    Attributes
    ----------
    residual_norms : Tensor, shape (k,)
        By the recurrence.
    """

    def __init__(self, multiply: Operator, r: Tensor, target: Tensor, precondition: Operator) -> None:
        self._multiply, self._precondition, self._target = multiply, precondition, target
        self._y = torch.zeros_like(r)
        self._residual, self._shadow, self._direction = r, r, r
        self._correlation = dot(r, r)
        self.residual_norms = r.norm(dim=0)

    @property
    def active(self) -> Tensor:
        """The columns that have not met their target, shape (k,)."""
        return self.residual_norms > self._target

    def solution(self) -> Tensor:
        """The current ``y``, shape (n, k)."""
        return self._y

    def iterate(self) -> None:
        """One iteration: two products with ``A``."""
        active = self.active
        along = self._precondition(self._direction)
        image = self._multiply(along)
        alpha = torch.where(active, _ratio(self._correlation, dot(self._shadow, image)), 0.0)
        halfway = self._residual - alpha * image
        across = self._precondition(halfway)
        smoothed = self._multiply(across)
        omega = torch.where(active, _ratio(dot(smoothed, halfway), dot(smoothed, smoothed)), 0.0)
        self._y = self._y + alpha * along + omega * across
        self._residual = halfway - omega * smoothed
        self.residual_norms = self._residual.norm(dim=0)
        self._turn(image, alpha, omega)

    def _turn(self, image: Tensor, alpha: Tensor, omega: Tensor) -> None:
        """Set the next direction, or restart."""
        correlation = dot(self._shadow, self._residual)
        beta = _ratio(correlation, self._correlation) * _ratio(alpha, omega)
        direction = self._residual + beta * (self._direction - omega * image)
        orthogonal = correlation.abs() <= _BREAKDOWN * self._shadow.norm(dim=0) * self._residual.norm(dim=0)
        restart = orthogonal | (omega == 0) | (alpha == 0)
        self._shadow = torch.where(restart, self._residual, self._shadow)
        self._direction = torch.where(restart, self._residual, direction)
        self._correlation = torch.where(restart, dot(self._residual, self._residual), correlation)


def _ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    """The quotient, or 0 where it is not finite."""
    quotient = numerator / denominator
    return torch.where(torch.isfinite(quotient), quotient, 0.0)
