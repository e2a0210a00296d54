"""Gauss–Newton steps on an incremental model until the objective, evaluated for all factors, decreases no more."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from gabp.factors.incremental.model import Evaluation, IncrementalModel
from gabp.factors.linearization import NonFiniteResidualError, Values
from gabp.factors.optimizers.result import OptimizationStatus

_ROUNDING = 1e-13  # of an objective, relative
_GRADIENT = 1e-12  # of a derivative beside the root of its curvature and of the objective
_STEP = 1e-13  # beside the largest value, and beside 1
_NULL = 1e-14  # of an eigenvalue beside the diagonal: rounding of A alone makes up to 1e-15
_WITHOUT_GAIN = 8  # steps that increase the objective, after which the iteration diverges
_FIRST_LIMIT, _FINER = 1e-3, 0.1  # of what is not linearised anew, and from an iteration to the next

_FAITHFUL = 0.1  # of the diagonal

_End = tuple[OptimizationStatus, str]
Report = Callable[[int, float, float, Values], bool]


@dataclass(frozen=True)
class Converged:
    """How an iteration ended, at the best values."""

    values: Values
    evaluation: Evaluation | None
    status: OptimizationStatus
    detail: str
    history: tuple[float, ...]
    left: bool  # whether the model is at other values


class Newton:
    """Steps of a model whose factor is complete.

    Every factor is evaluated at every estimate, so that objective and gradient are the true ones; only variables whose
    steps are beyond a limit are linearised anew. The limit shrinks from one iteration to the next.
    """

    def __init__(self, model: IncrementalModel, rtol: float, report: Report | None) -> None:
        self._model, self._rtol, self._report = model, max(rtol, _ROUNDING), report
        self._history: list[float] = []
        self._best: tuple[Values, Evaluation] | None = None
        self._without_gain = 0  # steps since the best

    def run(self, maxiter: int) -> Converged:
        """Iterate from the estimate that the model has."""
        status, detail = OptimizationStatus.MAX_ITERATIONS, ""
        try:
            self._evaluate()
            for iteration in range(maxiter + 1):
                ended = self._judge(_FIRST_LIMIT * _FINER**iteration) or self._advance(iteration, maxiter)
                if ended is not None:
                    status, detail = ended
                    break
        except NonFiniteResidualError as error:
            status, detail = OptimizationStatus.NON_FINITE, str(error)
        return self._ending(status, detail)

    def _advance(self, iteration: int, maxiter: int) -> _End | None:
        """One step, or why there is none."""
        if iteration == maxiter:
            return OptimizationStatus.MAX_ITERATIONS, ""
        self._model.tree.substitute(0.0)
        before = self._history[-1]
        self._evaluate()
        after = self._history[-1]
        if self._without_gain >= _WITHOUT_GAIN:
            return OptimizationStatus.DIVERGED, ""
        decrease = (before - after) / before if before else 0.0
        if self._report is not None and self._report(iteration + 1, after, decrease, self._values):
            return OptimizationStatus.STOPPED_BY_CALLBACK, ""
        return None

    def _linearize(self, limit: float) -> str:
        """Bring the factor to the estimate; the variable that is not determined there, if any."""
        self._model.relinearize(limit)
        bad = self._model.tree.eliminate()
        return "" if bad < 0 else self._model.points.named(bad)

    def _evaluate(self) -> None:
        self._values = tuple(self._model.estimate())
        self._now = self._model.evaluate(self._values)
        self._history.append(self._now.objective)
        self._without_gain += 1
        if self._best is None or self._now.objective <= self._best[1].objective:
            self._best, self._without_gain = (self._values, self._now), 0

    def _judge(self, limit: float) -> _End | None:
        """Whether the estimate is a minimum, by the factor at points within ``limit`` of it."""
        where = self._linearize(limit)
        if where:
            return OptimizationStatus.INDETERMINATE, where
        status = self._stationary()
        if status is not None and limit > 0 and not self._is_faithful():
            return self._judge(0.0)
        if status is None:
            return None
        where = self._undetermined()
        return (OptimizationStatus.INDETERMINATE, where) if where else (status, "")

    def _stationary(self) -> OptimizationStatus | None:
        """The stopping test that the estimate meets."""
        objective, gradient, diagonal = self._now
        if len(gradient) == 0:
            return OptimizationStatus.CONVERGED_GRADIENT
        step = -self._model.solve(gradient)
        predicted = -0.5 * float((gradient * step).sum())
        largest = max(1.0, *(float(value.abs().max()) for value in self._values if value.numel()))
        if float((gradient * gradient / np.maximum(diagonal, 1e-300)).max()) <= _GRADIENT**2 * 2 * objective:
            return OptimizationStatus.CONVERGED_GRADIENT
        if predicted <= self._rtol * objective:
            return OptimizationStatus.CONVERGED_DECREASE
        if float(np.abs(step).max()) <= _STEP * largest:
            return OptimizationStatus.CONVERGED_STEP
        return None

    def _is_faithful(self) -> bool:
        """Whether the curvature at the points of linearisation is that at the estimate."""
        there, here = self._model.diagonal(), self._now.diagonal
        return bool((np.abs(there - here) <= _FAITHFUL * here).all())

    def _undetermined(self) -> str:
        """The variable that a direction without information moves most: see `gabp.factors.linear_solves`."""
        diagonal = self._model.diagonal()
        if len(diagonal) == 0:
            return ""
        generator = torch.Generator().manual_seed(0)
        v = torch.randn(len(diagonal), dtype=torch.float64, generator=generator).numpy()
        smallest = math.inf
        for _ in range(2):
            before = v
            v = self._model.solve(diagonal * before)
            size = float((diagonal * v * v).sum())
            if not (math.isfinite(size) and size > 0):
                break
            smallest = float((v * diagonal * before).sum()) / size  # A v = D v before
            v = v / math.sqrt(size)
        if smallest > _NULL and math.isfinite(smallest):
            return ""
        points = self._model.points
        return points.named(points.number_of(int(np.nanargmax(np.abs(v) * np.sqrt(diagonal)))))

    def _ending(self, status: OptimizationStatus, detail: str) -> Converged:
        if self._best is None:
            return Converged(tuple(self._model.estimate()), None, status, detail, (math.nan,), False)
        values, evaluation = (self._values, self._now) if status.converged else self._best
        left = values is not self._values
        return Converged(values, evaluation, status, detail, tuple(self._history), left)
