"""Graduated non-convexity: from least squares to a loss that ignores outliers, through losses in between.

H. Yang, P. Antonante, V. Tzoumas and L. Carlone, *Graduated non-convexity for robust spatial perception: from
non-minimal solvers to global outlier rejection*, IEEE Robotics and Automation Letters 5 (2020), section IV.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import Tensor

from gabp.factors.batches import Factors
from gabp.factors.linearization import Values
from gabp.factors.losses import Loss, Truncated
from gabp.factors.optimizers.descent import OptimizationProgress
from gabp.factors.optimizers.optimize import Options, optimize
from gabp.factors.optimizers.result import OptimizationResult, OptimizationStatus
from gabp.factors.optimizers.robust import GraduatedNonConvexity, inlier_masks
from gabp.factors.variables import Variables

_FIRST = (30, 1e-4)  # steps and tolerance of least squares, where the way begins
_STAGE = (10, 1e-3)  # of a problem on the way
_MOST_REFITS = 20  # of the inliers
_LAST_CONTROL = 1e6  # from which the surrogate is the truncated loss to six digits
_FAILED = {
    OptimizationStatus.NON_FINITE,
    OptimizationStatus.INDETERMINATE,
    OptimizationStatus.GAUGE_FREEDOM,
    OptimizationStatus.STOPPED_BY_CALLBACK,
}


def optimize_robustly(
    robust: GraduatedNonConvexity,
    sets: Sequence[Variables],
    factors: Sequence[Factors],
    held: Sequence[np.ndarray],
    start: Callable[[Sequence[Factors], Sequence[Factors]], Values],
    options: Options,
) -> OptimizationResult:
    """Minimise a loss that ignores outliers; see `gabp.FactorGraph.optimize`.

    Parameters
    ----------
    start : callable
        From weighted factors, and those of them that are inliers for sure, to the values from which to fit them.

    Raises
    ------
    TypeError, InvalidSystemError
        ``inliers`` does not fit the graph, or a factor in doubt has a loss of its own.
    """
    problem = _Problem(robust, sets, factors, held, start, options)
    way = _Way(problem)
    way.fit([np.ones(len(part.batch)) for part in problem.parts], _FIRST)
    control = problem.first_control(way.values)
    while control is not None and not way.is_blocked:
        way.fit(problem.weights(control, way.values), _STAGE)
        control = problem.next_control(control, way.values)
    return way.finish()


@dataclass(frozen=True, eq=False)
class _Part:
    """Factors of one handle that are all taken as inliers, or all in doubt."""

    handle: Factors
    mask: np.ndarray
    batch: Factors
    in_doubt: bool


class _Problem:
    """The factors in doubt, the losses on them, and how a weighted least-squares problem is solved."""

    def __init__(
        self,
        robust: GraduatedNonConvexity,
        sets: Sequence[Variables],
        factors: Sequence[Factors],
        held: Sequence[np.ndarray],
        start: Callable[[Sequence[Factors], Sequence[Factors]], Values],
        options: Options,
    ) -> None:
        self.robust, self.sets, self.held, self.start, self.options = robust, sets, held, start, options
        masks = inlier_masks(robust.inliers, factors)
        self.parts = [part for batch, mask in zip(factors, masks, strict=True) for part in _parts(batch, mask)]

    def weighted(self, weights: Sequence[np.ndarray]) -> list[Factors]:
        """The factors with a weight, multiplied into their informations."""
        found = []
        for part, weight in zip(self.parts, weights, strict=True):
            kept = weight > 0
            if kept.any():
                batch = part.batch if kept.all() else part.batch.subset(kept)
                found.append(batch.weighted(weight[kept]) if part.in_doubt else batch)
        return found

    def lossy(self) -> list[Factors]:
        """The factors with the last loss."""
        return [
            part.batch.with_loss(self._loss(part, self.robust.last_control)) if part.in_doubt else part.batch
            for part in self.parts
        ]

    def weights(self, control: float, values: Values) -> list[np.ndarray]:
        """The weights of each part under the loss at a value of the control parameter."""
        return [
            self._loss(part, control).weight(part.batch.squared_residuals(values)).numpy()
            if part.in_doubt
            else np.ones(len(part.batch))
            for part in self.parts
        ]

    def by_handle(self, weights: Sequence[np.ndarray]) -> dict[Factors, np.ndarray]:
        """The weights of the factors of each handle, in their order."""
        found: dict[Factors, np.ndarray] = {}
        for part, weight in zip(self.parts, weights, strict=True):
            found.setdefault(part.handle, np.ones(len(part.handle)))[part.mask] = weight
        return found

    def first_control(self, values: Values) -> float | None:
        """Where every residual is in the convex part of the loss; None where all are inliers already."""
        largest = max((float(share.max()) for share in self._shares(values)), default=0.0)
        if not 1 < largest < math.inf:
            return None
        return 1 / (2 * largest - 1) if self.robust.surrogate == "truncated" else 2 * largest

    def next_control(self, control: float, values: Values) -> float | None:
        """The control parameter of the next surrogate; None where the last loss is next."""
        if self.robust.surrogate == "geman-mcclure":
            return control / self.robust.growth if control > 1 else None
        loss = Truncated(1.0, control)
        if control > _LAST_CONTROL or all(loss.is_decided(share) for share in self._shares(values)):
            return None
        return control * self.robust.growth

    def _loss(self, part: _Part, control: float) -> Loss:
        return self.robust.loss(part.batch.kind.dimension, control)

    def _shares(self, values: Values) -> list[Tensor]:
        """The squared residuals of the factors in doubt beside the largest of an inlier."""
        return [
            part.batch.squared_residuals(values) / self.robust.scale(part.batch.kind.dimension) ** 2
            for part in self.parts
            if part.in_doubt
        ]


class _Way:
    """The estimate, from one problem to the next."""

    def __init__(self, problem: _Problem) -> None:
        self.problem = problem
        self.results: list[OptimizationResult] = []

    @property
    def values(self) -> Values:
        return self.results[-1].estimate

    @property
    def is_blocked(self) -> bool:
        """Whether the last problem ended in a way that other weights do not change."""
        return self.results[-1].status in _FAILED

    def fit(self, weights: Sequence[np.ndarray], effort: tuple[int, float]) -> None:
        """Solve a weighted least-squares problem from its own start, with at most so many steps, to a tolerance."""
        factors = self.problem.weighted(weights)
        maxiter, rtol = effort
        sure = [part.batch for part in self.problem.parts if not part.in_doubt]
        self._optimize(factors, self.problem.start(factors, sure), maxiter, rtol)

    def finish(self) -> OptimizationResult:
        """Minimise the last loss from here; where the way is blocked, report that."""
        problem = self.problem
        truncated = problem.robust.surrogate == "truncated"
        if truncated and not self.is_blocked:
            self._refit()
        judged = self.results[-1] if truncated or self.is_blocked else None
        self._optimize(problem.lossy(), self.values, 0 if judged else problem.options.maxiter, problem.options.rtol)
        last = self.results[-1]
        if judged is not None:
            last = replace(last, status=judged.status, detail=judged.detail, converged=judged.converged)
        return replace(
            last,
            iterations=sum(result.iterations for result in self.results),
            history=tuple(value for result in self.results for value in result.history),
            setup_seconds=sum(result.setup_seconds for result in self.results),
            solve_seconds=sum(result.solve_seconds for result in self.results),
            graduated=problem.by_handle(problem.weights(problem.robust.last_control, self.values)),
        )

    def _refit(self) -> None:
        """Least squares on the inliers alone, until they are the same: then the last loss has its minimum there."""
        options = self.problem.options
        before: list[np.ndarray] = []
        for _ in range(_MOST_REFITS):
            weights = self.problem.weights(math.inf, self.values)
            if before and all(map(np.array_equal, weights, before)):
                return
            self._optimize(self.problem.weighted(weights), self.values, options.maxiter, options.rtol)
            if self.is_blocked:
                return
            before = weights
        unsettled = OptimizationStatus.MAX_ITERATIONS
        self.results[-1] = replace(self.results[-1], status=unsettled, converged=False)

    def _optimize(self, factors: Sequence[Factors], values: Values, maxiter: int, rtol: float) -> None:
        problem, done = self.problem, sum(result.iterations for result in self.results)
        options = problem.options
        callback = options.callback

        def report(progress: OptimizationProgress) -> Any:
            assert callback is not None
            return callback(replace(progress, iteration=done + progress.iteration))

        options = replace(
            options, maxiter=min(maxiter, options.maxiter), rtol=max(rtol, options.rtol),
            callback=None if callback is None else report,
        )  # fmt: skip
        self.results.append(optimize(problem.sets, factors, problem.held, values, options))


def _parts(batch: Factors, sure: np.ndarray) -> list[_Part]:
    """The factors of a handle that are in doubt, without a loss, and the others."""
    doubtful = [] if sure.all() else [_Part(batch, ~sure, batch.subset(~sure), True)]
    return doubtful + ([_Part(batch, sure, batch.subset(sure), False)] if sure.any() else [])
