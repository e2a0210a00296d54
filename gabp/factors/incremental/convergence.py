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
_FIRST_LIMIT, _FINER = 1e-3, 0.1  # of steps without linearisation, and from an iteration to the next

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

    def run(self, maxiter: int, limit: float) -> Converged:
        """Iterate, with variables that have not moved by more than ``limit`` where they were linearised."""
        status, detail = OptimizationStatus.MAX_ITERATIONS, ""
        try:
            self._evaluate()
            limit, without_gain = min(limit, _FIRST_LIMIT), 0
            for iteration in range(maxiter + 1):
                ended = self._judge()
                if ended is not None:
                    status, detail = ended
                    break
                if iteration == maxiter:
                    break
                detail = self._step(limit)
                if detail:
                    status = OptimizationStatus.INDETERMINATE
                    break
                limit *= _FINER
                before = self._history[-1]
                self._evaluate()
                decrease = before - self._history[-1]
                without_gain = 0 if self._history[-1] <= min(self._history) else without_gain + 1
                if without_gain >= _WITHOUT_GAIN:
                    status = OptimizationStatus.DIVERGED
                    break
                if self._report is not None and self._report(
                    iteration + 1, self._history[-1], decrease / before if before else 0.0, self._values
                ):
                    status = OptimizationStatus.STOPPED_BY_CALLBACK
                    break
        except NonFiniteResidualError as error:
            status, detail = OptimizationStatus.NON_FINITE, str(error)
        return self._ending(status, detail)

    def _step(self, limit: float) -> str:
        """Linearise anew and move; the variable that is not determined, if any."""
        model = self._model
        model.relinearize(limit)
        bad = model.tree.eliminate()
        if bad >= 0:
            return model.points.named(bad)
        model.tree.substitute(0.0)
        return ""

    def _evaluate(self) -> None:
        self._values = tuple(self._model.estimate())
        self._now = self._model.evaluate(self._values)
        self._history.append(self._now.objective)
        if self._best is None or self._now.objective <= self._best[1].objective:
            self._best = self._values, self._now

    def _judge(self) -> tuple[OptimizationStatus, str] | None:
        """Whether the estimate is a minimum; not where a direction is undetermined."""
        objective, gradient, diagonal = self._now
        if len(gradient) == 0:
            return OptimizationStatus.CONVERGED_GRADIENT, ""
        step = -self._model.solve(gradient)
        predicted = -0.5 * float((gradient * step).sum())
        largest = max(1.0, *(float(value.abs().max()) for value in self._values if value.numel()))
        squared = float((gradient * gradient / np.maximum(diagonal, 1e-300)).max())
        if squared <= _GRADIENT**2 * 2 * objective:
            status = OptimizationStatus.CONVERGED_GRADIENT
        elif predicted <= self._rtol * objective:
            status = OptimizationStatus.CONVERGED_DECREASE
        elif float(np.abs(step).max()) <= _STEP * largest:
            status = OptimizationStatus.CONVERGED_STEP
        else:
            return None
        where = self._undetermined()
        return (OptimizationStatus.INDETERMINATE, where) if where else (status, "")

    def _undetermined(self) -> str:
        """The variable that a direction without information moves most: see `gabp.factors.linear_solves`."""
        diagonal = self._now.diagonal
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
