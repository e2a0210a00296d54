"""The iteration: linearise, step, and decide by the true objective whether to go on."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from gabp.factors.gauge import undetermined
from gabp.factors.linear_solves import SystemSolve
from gabp.factors.linearization import (
    Linearization,
    NonFiniteResidualError,
    Values,
    linearize,
    objective,
    retract,
)
from gabp.factors.optimizers.policies import Policy, Step
from gabp.factors.optimizers.result import OptimizationStatus
from gabp.factors.structure import Structure
from gabp.system import NotPositiveDefiniteError

_ROUNDING = 1e-13  # of an objective, relative
_GRADIENT = 1e-12  # of a derivative beside the root of its curvature and of the objective
_ROUNDING_OF_VALUES = 1e-15  # relative to the largest
_STEP = 1e-13  # of a step beside the largest value, and of one beside 1
_WITHOUT_GAIN = 8  # steps that increase the objective, after which Gauss–Newton diverges


@dataclass(frozen=True)
class OptimizationProgress:
    """What a callback is given, once per iteration.

    Attributes
    ----------
    iteration : int
    objective : float
        Of the current values.
    decrease : float
        Relative, by the last iteration; 0 where its step was rejected, negative where the objective increased.
    """

    iteration: int
    objective: float
    decrease: float
    _values: Callable[[Any], Any] = field(repr=False)

    def values(self, variables: Any) -> Any:
        """The current values of a set of variables, as `OptimizationResult.values`."""
        return self._values(variables)


@dataclass(frozen=True)
class Ending:
    """How an iteration ended: the best values, and why no further step was made."""

    values: Values
    linearization: Linearization | None
    status: OptimizationStatus
    detail: str
    iterations: int
    history: tuple[float, ...]


@dataclass(frozen=True)
class Limits:
    """When to stop, and what to check."""

    maxiter: int
    rtol: float
    check_directions: bool


class Descent:
    """The state of one optimisation."""

    def __init__(
        self,
        structure: Structure,
        policy: Policy,
        limits: Limits,
        report: Callable[[int, float, float, Values], Any] | None,
    ) -> None:
        self.structure, self.policy, self.limits, self.report = structure, policy, limits, report
        self.history: list[float] = []
        self.iterations = 0

    def run(self, values: Values) -> Ending:
        """Iterate from ``values``."""
        self.values = self.best_values = values
        self.best: Linearization | None = None
        try:
            self.best = self.current = linearize(self.structure, values)
            self.history.append(self.current.objective)
            status, detail = self._iterate()
            if status.converged:  # at a stationary point, whatever was passed on the way
                self.best_values, self.best = self.values, self.current
        except NonFiniteResidualError as error:
            self.history = self.history or [math.nan]
            status, detail = OptimizationStatus.NON_FINITE, str(error)
        return Ending(self.best_values, self.best, status, detail, self.iterations, tuple(self.history))

    def _iterate(self) -> tuple[OptimizationStatus, str]:
        if gradient_vanishes(self.current, self.values):
            return self._check(OptimizationStatus.CONVERGED_GRADIENT)
        checked = not self.limits.check_directions
        while self.iterations < self.limits.maxiter:
            try:
                self.policy.begin(self.current)
                where = "" if checked else self._undetermined(self.policy.prepared)
                checked = True
                status = None if where else self._advance()
            except NotPositiveDefiniteError:
                where = self._undetermined(None)
            if where:
                return OptimizationStatus.INDETERMINATE, where
            if status is not None:
                return self._check(status)
        return OptimizationStatus.MAX_ITERATIONS, ""

    def _advance(self) -> OptimizationStatus | None:
        """One accepted step, or the end."""
        shortened = False
        while self.iterations < self.limits.maxiter:
            step = self.policy.propose()
            self.iterations += 1
            before = self.current.objective
            candidate = retract(self.structure, self.values, step.delta)
            taken = self._try(candidate, step)
            self.history.append(self.current.objective)
            decrease = before - self.current.objective if taken else 0.0
            if self.report is not None and self.report(
                self.iterations, self.current.objective, decrease / before if before else 0.0, self.values
            ):
                return OptimizationStatus.STOPPED_BY_CALLBACK
            if taken:
                return self._judge(step, before)
            if step.predicted <= _ROUNDING * before and step.full:
                return OptimizationStatus.CONVERGED_DECREASE
            negligible = step.predicted <= _ROUNDING * before or is_negligible(step.delta, self.values)
            if step.full and negligible:
                return OptimizationStatus.CONVERGED_STEP
            if negligible and not shortened and self.policy.refine():
                continue
            shortened = True
            if not self.policy.reject():
                return OptimizationStatus.STAGNATED
        return None

    def _try(self, candidate: Values, step: Step) -> bool:
        """Move to the candidate, unless it increases the objective and the policy minds."""
        before = self.current.objective
        if self.policy.takes_every_step:
            self.values, self.current = candidate, linearize(self.structure, candidate)
            if self.current.objective <= self._best_objective():
                self.best_values, self.best = candidate, self.current
                self.without_gain = 0
            else:
                self.without_gain += 1
            return True
        after = objective(self.structure, candidate)
        if not after < before:
            return False
        self.policy.accept((before - after) / step.predicted if step.predicted > 0 else 1.0)
        self.values, self.current = candidate, linearize(self.structure, candidate)
        self.best_values, self.best = candidate, self.current
        return True

    without_gain = 0

    def _best_objective(self) -> float:
        return math.inf if self.best is None else self.best.objective

    def _judge(self, step: Step, before: float) -> OptimizationStatus | None:
        """Whether the step just taken was the last."""
        after = self.current.objective
        if gradient_vanishes(self.current, self.values):
            return OptimizationStatus.CONVERGED_GRADIENT
        small = is_small(before - after, before, self.limits.rtol)
        if small and is_small(step.predicted, before, self.limits.rtol):
            if step.full:
                return OptimizationStatus.CONVERGED_DECREASE
            self.policy.refine()
            return None
        if step.full and is_negligible(step.delta, self.values):
            return OptimizationStatus.CONVERGED_STEP
        if self.without_gain >= _WITHOUT_GAIN:
            return OptimizationStatus.DIVERGED
        return None

    def _check(self, status: OptimizationStatus) -> tuple[OptimizationStatus, str]:
        """A converged status, unless a direction is undetermined at the values reached."""
        if status.converged and self.limits.check_directions and self.structure.n:
            where = self._undetermined(self.policy.prepared)
            if where:
                return OptimizationStatus.INDETERMINATE, where
        return status, ""

    def _undetermined(self, prepared: SystemSolve | None) -> str:
        return undetermined(self.structure, self.current, self.policy.linear, prepared)


def gradient_vanishes(linearization: Linearization, values: Values) -> bool:
    """Whether the gradient is 0 to rounding, beside curvature and objective."""
    system, gradient = linearization.system, linearization.gradient
    if system.n == 0:
        return True
    diagonal = system.diagonal.clamp(min=1e-300)
    if float((gradient * gradient / diagonal).max()) <= _GRADIENT**2 * 2 * linearization.objective:
        return True
    # where all residuals are zero, what is left of them and of the objective is the rounding of the values
    return float((gradient.abs() / diagonal).max()) <= _ROUNDING_OF_VALUES * _largest(values)


def is_small(decrease: float, objective: float, rtol: float) -> bool:
    """Whether a decrease, or an increase, is at most ``rtol`` of the objective, or rounding."""
    return abs(decrease) <= max(rtol, _ROUNDING) * objective


def is_negligible(delta: Tensor, values: Values) -> bool:
    """Whether a step changes the values by rounding alone."""
    return float(delta.abs().max()) <= _STEP * _largest(values)


def _largest(values: Values) -> float:
    return max(1.0, *(float(value.abs().max()) for value in values if value.numel()))
