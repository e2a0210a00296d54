"""The step from one linearisation: the whole Gauss–Newton step, damped, or within a trust region.

J. Nocedal and S. Wright, *Numerical Optimization*, 2nd edition, Springer (2006), chapters 4 and 10.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from gabp.factors.linear_solves import LinearMethod, SystemSolve
from gabp.factors.linearization import Linearization

_FIRST_DAMPING, _SMALLEST_DAMPING, _LARGEST_DAMPING = 1e-6, 1e-10, 1e16
_LEAST_CHANGE = 0.01  # of the damping, after a step that the model predicted well
_UNDAMPED = 1e-8  # damping up to which a step counts as a Gauss–Newton step
_SMALLEST_RADIUS = 1e-14  # beside the Gauss–Newton step


@dataclass(frozen=True)
class Step:
    """A step, by how much the model decreases in it, and whether it minimises the model."""

    delta: Tensor
    predicted: float
    full: bool


class Policy(ABC):
    """How steps are proposed, and what is learnt from whether they decreased the objective.

    Attributes
    ----------
    takes_every_step : bool
        Whether steps are taken that increase the objective.
    prepared : SystemSolve or None
        Of the system of the last linearisation itself, where there is one.
    """

    takes_every_step: ClassVar[bool] = False
    prepared: SystemSolve | None = None

    def __init__(self, linear: LinearMethod) -> None:
        self.linear = linear

    @abstractmethod
    def begin(self, linearization: Linearization) -> None:
        """Turn to a new linearisation."""

    @abstractmethod
    def propose(self) -> Step:
        """The next step from this linearisation."""

    def accept(self, ratio: float) -> None:  # noqa: B027
        """Learn from a step that decreased the objective by ``ratio`` of what was predicted."""

    def reject(self) -> bool:
        """Learn from a step that did not; whether another one may."""
        return False

    def refine(self) -> bool:
        """Come closer to full steps, as shortened ones decrease the objective little; whether that is possible."""
        return False


class GaussNewton(Policy):
    """The minimiser of the model."""

    takes_every_step = True

    def begin(self, linearization: Linearization) -> None:
        self.linearization = linearization
        self.prepared = self.linear.prepare(linearization.system, linearization.common_motions)

    def propose(self) -> Step:
        return full_step(self.linearization, self.prepared)


class LevenbergMarquardt(Policy):
    """The minimiser of the model with a multiple of its diagonal added, adapted as H. B. Nielsen (1999) proposed."""

    def __init__(self, linear: LinearMethod) -> None:
        super().__init__(linear)
        self.damping, self.growth = _FIRST_DAMPING, 2.0

    def begin(self, linearization: Linearization) -> None:
        self.linearization = linearization
        diagonal = linearization.system.diagonal
        self.scale = diagonal.clamp(min=1e-12 * float(diagonal.max()))

    def propose(self) -> Step:
        loaded = self.linearization.system.loaded(self.damping * self.scale)
        prepared = self.linear.prepare(loaded, self.linearization.common_motions)
        delta = -prepared.solve(self.linearization.gradient[:, None])[:, 0]
        # the minimum of the damped model, ½ gᵀδ, without the damping
        damped = 0.5 * self.damping * _dot(self.scale * delta, delta)
        predicted = -0.5 * _dot(self.linearization.gradient, delta) + damped
        return Step(delta, predicted, self.damping <= _UNDAMPED)

    def accept(self, ratio: float) -> None:
        self.damping = max(self.damping * max(_LEAST_CHANGE, 1 - (2 * ratio - 1) ** 3), _SMALLEST_DAMPING)
        self.growth = 2.0

    def reject(self) -> bool:
        self.damping *= self.growth
        self.growth *= 2
        return self.damping <= _LARGEST_DAMPING

    def refine(self) -> bool:
        if self.damping <= _UNDAMPED:
            return False
        self.damping = max(self.damping / 100, _UNDAMPED)
        return True


class Dogleg(Policy):
    """Powell's path from the steepest descent to the Gauss–Newton step, as far as a trust region goes.

    Lengths are measured beside the diagonal of the model: ``‖δ‖² = Σ A_ii δ_i²``.
    """

    radius: float | None = None

    def begin(self, linearization: Linearization) -> None:
        self.linearization = linearization
        self.prepared = self.linear.prepare(linearization.system, linearization.common_motions)
        self.scale = linearization.system.diagonal
        self.newton = full_step(linearization, self.prepared)
        self.cauchy = cauchy_step(linearization).delta
        if self.radius is None:
            self.radius = self._length(self.newton.delta)

    def propose(self) -> Step:
        assert self.radius is not None
        whole = self._length(self.newton.delta)
        if whole <= self.radius:
            self.length = whole
            return self.newton
        self.length = self.radius
        short = self._length(self.cauchy)
        if short >= self.radius:
            delta = self.cauchy * (self.radius / short)
        else:
            delta = self.cauchy + self._share(self.newton.delta - self.cauchy) * (self.newton.delta - self.cauchy)
        return Step(delta, self.linearization.reduction(delta), False)

    def accept(self, ratio: float) -> None:
        assert self.radius is not None
        if ratio > 0.75:
            self.radius = max(self.radius, 3 * self.length)
        elif ratio < 0.25:
            self.radius = 0.5 * self.length

    def reject(self) -> bool:
        self.radius = 0.25 * self.length
        return self.radius > _SMALLEST_RADIUS * self._length(self.newton.delta)

    def refine(self) -> bool:
        assert self.radius is not None
        self.radius *= 10
        return True

    def _share(self, way: Tensor) -> float:
        """How far along ``way`` from the Cauchy point the trust region ends."""
        assert self.radius is not None
        a, b = _dot(self.scale * way, way), _dot(self.scale * way, self.cauchy)
        c = _dot(self.scale * self.cauchy, self.cauchy) - self.radius**2
        return (-b + (b * b - a * c) ** 0.5) / a

    def _length(self, delta: Tensor) -> float:
        return _dot(self.scale * delta, delta) ** 0.5


def full_step(linearization: Linearization, prepared: SystemSolve | None) -> Step:
    """The minimiser of the model."""
    assert prepared is not None
    delta = -prepared.solve(linearization.gradient[:, None])[:, 0]
    return Step(delta, -0.5 * _dot(linearization.gradient, delta), True)


def cauchy_step(linearization: Linearization) -> Step:
    """The minimiser of the model along the steepest descent beside its diagonal."""
    system, gradient = linearization.system, linearization.gradient
    steepest = gradient / system.diagonal.clamp(min=1e-300)
    slope, curvature = _dot(gradient, steepest), _dot(steepest, system.multiply(steepest[:, None])[:, 0])
    length = slope / curvature if curvature > 0 else 1.0
    return Step(-length * steepest, slope * length - 0.5 * curvature * length**2, False)


def _dot(a: Tensor, b: Tensor) -> float:
    """Not by the BLAS, which starts threads that then spin on the cores that factors need."""
    return float((a * b).sum())
