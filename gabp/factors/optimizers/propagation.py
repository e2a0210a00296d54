"""Belief propagation as an optimiser: sweeps of messages, judged as the steps of the other methods are."""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

from gabp.factors.belief_propagation import SCHEDULES, Beliefs, InvalidMessageError, PropagationState, Schedule
from gabp.factors.gauge import undetermined
from gabp.factors.linear_solves import LinearMethod
from gabp.factors.linearization import Linearization, NonFiniteResidualError, Values, linearize, objective
from gabp.factors.optimizers.descent import Ending, Limits, gradient_vanishes, is_negligible
from gabp.factors.optimizers.policies import Step, cauchy_step, full_step
from gabp.factors.optimizers.result import OptimizationStatus
from gabp.factors.structure import Structure
from gabp.system import InvalidSystemError, NotPositiveDefiniteError, require_nonnegative
from gabp.system.scalars import require_damping

_GROWTH = 1e3  # of the objective beside the largest of start and best, from which messages diverge
_WITHOUT_GAIN = 30  # sweeps without a new best objective, at least, before that is decided


@dataclass(frozen=True)
class PropagationOptions:
    """How messages are passed, in the words of `gabp.FactorGraph.optimize`.

    Raises
    ------
    TypeError, InvalidSystemError
        An option is of the wrong kind or out of range.
    """

    schedule: str = "flooding"
    damping: float | None = None
    beta: float = 0.1

    def __post_init__(self) -> None:
        if self.schedule not in SCHEDULES:
            raise InvalidSystemError(f"there is no schedule {self.schedule!r}; choose one of {sorted(SCHEDULES)}")
        if self.damping is not None:
            require_damping(self.damping)
        require_nonnegative(self.beta, "beta")

    @staticmethod
    def read(applies: bool, given: dict[str, Any]) -> "PropagationOptions":
        """The options of a call, of which another method takes none.

        Raises
        ------
        TypeError, InvalidSystemError
        """
        known = sorted(field.name for field in fields(PropagationOptions))
        for name in given:
            if not applies or name not in known:
                raise TypeError(
                    f"optimize takes no option {name!r} with this method; those of method='gbp' are {known}"
                )
        return PropagationOptions(**given)

    def start(self, state: PropagationState) -> Schedule:
        """The schedule of the messages of ``state``."""
        kind = SCHEDULES[self.schedule]
        return kind(state, kind.usual_damping if self.damping is None else self.damping)


class Propagation:
    """The state of one optimisation by messages."""

    def __init__(
        self,
        structure: Structure,
        linear: LinearMethod,
        limits: Limits,
        options: PropagationOptions,
        report: Callable[[int, float, float, Values], Any] | None,
    ) -> None:
        self.structure, self.linear, self.limits = structure, linear, limits
        self.options, self.report = options, report
        self.history: list[float] = []
        self.iterations, self.best_at, self.next_check = 0, 0, 1

    def run(self, values: Values, beliefs: Beliefs) -> Ending:
        """Pass messages from ``values`` and the messages in ``beliefs``, and store there what they have become."""
        self.best_values = self.values = values
        try:
            self.history.append(linearize(self.structure, values).objective)
            status, detail = self._iterate(beliefs)
            if status.converged:
                self.best_values = self.values
            at_end = linearize(self.structure, self.best_values)
        except NonFiniteResidualError as error:
            self.history, at_end = self.history or [math.nan], None
            status, detail = OptimizationStatus.NON_FINITE, str(error)
        except InvalidMessageError as error:
            at_end = linearize(self.structure, self.best_values)
            status, detail = OptimizationStatus.INVALID_MESSAGE, str(error)
        if status in (OptimizationStatus.NON_FINITE, OptimizationStatus.INVALID_MESSAGE, OptimizationStatus.DIVERGED):
            beliefs.clear()
        return Ending(self.best_values, at_end, status, detail, self.iterations, tuple(self.history))

    def _iterate(self, beliefs: Beliefs) -> tuple[OptimizationStatus, str]:
        structure = self.structure
        self.state = PropagationState(structure.sets, structure.factors, structure.held, self.values)
        self.state.restore(beliefs)
        schedule = self.options.start(self.state)
        ended = self._judge()
        while ended is None and self.iterations < self.limits.maxiter:
            self.state.settle()
            schedule.relinearized(self.state.move_references(min(self.options.beta, self.state.change)))
            schedule.sweep()
            self.iterations += 1
            ended = self._advance()
        self.state.keep(beliefs)
        return ended or (OptimizationStatus.MAX_ITERATIONS, "")

    def _advance(self) -> tuple[OptimizationStatus, str] | None:
        """Turn to the new means; the end, if it is reached."""
        before, best = self.history[-1], min(self.history)
        self.values = self.state.estimate()
        after = objective(self.structure, self.values)
        if not math.isfinite(after):
            linearize(self.structure, self.values)  # names the factor
        self.history.append(after)
        if after < best:
            self.best_values, self.best_at = self.values, self.iterations
        decrease = (before - after) / before if before else 0.0
        if self.report is not None and self.report(self.iterations, after, decrease, self.values):
            return OptimizationStatus.STOPPED_BY_CALLBACK, ""
        if self._diverges(after, best):
            where = undetermined(self.structure, linearize(self.structure, self.best_values), self.linear)
            return (OptimizationStatus.INDETERMINATE, where) if where else (OptimizationStatus.DIVERGED, "")
        return self._judge() if self.iterations >= self.next_check else None

    def _diverges(self, after: float, best: float) -> bool:
        lost = self.iterations - self.best_at >= _WITHOUT_GAIN
        return lost and after > _GROWTH * self.history[0] and after > _GROWTH * best

    def _judge(self) -> tuple[OptimizationStatus, str] | None:
        """Whether the gradient vanishes, or the whole Gauss–Newton step would gain nothing; it is not taken.

        No step gains more than that one, so it is not computed while the steepest descent still gains enough.
        """
        self.next_check = self.iterations + 1 + self.iterations // 8
        current = linearize(self.structure, self.values)
        if gradient_vanishes(current, self.values):
            return self._converged(OptimizationStatus.CONVERGED_GRADIENT, current)
        if self.iterations == 0 or self._gains(cauchy_step(current), current):
            return None
        try:
            step = full_step(current, self.linear.prepare(current.system))
        except NotPositiveDefiniteError:
            where = undetermined(self.structure, current, self.linear)
            return (OptimizationStatus.INDETERMINATE, where) if where else None
        if is_negligible(step.delta, self.values):
            return self._converged(OptimizationStatus.CONVERGED_STEP, current)
        if self._gains(step, current):
            return None
        return self._converged(OptimizationStatus.CONVERGED_DECREASE, current)

    def _gains(self, step: Step, current: Linearization) -> bool:
        """Whether a step is predicted to decrease the objective, and moves a variable.

        The prediction is no difference of objectives, so that it has a meaning below their rounding.
        """
        small = step.predicted <= self.limits.rtol * current.objective
        return not small and not is_negligible(step.delta, self.values)

    def _converged(self, status: OptimizationStatus, current: Linearization) -> tuple[OptimizationStatus, str]:
        """A converged status, unless a direction is undetermined at the values reached."""
        where = undetermined(self.structure, current, self.linear) if self.structure.n else ""
        return (OptimizationStatus.INDETERMINATE, where) if where else (status, "")
