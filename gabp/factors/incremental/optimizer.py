"""Gauss–Newton on a graph that grows: the estimate after each change, at the cost of what the change reaches.

M. Kaess, H. Johannsson, R. Roberts, V. Ila, J. Leonard and F. Dellaert, *iSAM2: Incremental smoothing and mapping using
the Bayes tree*, International Journal of Robotics Research 31 (2012).
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from gabp.factors.incremental.convergence import Converged, Newton, Report
from gabp.factors.incremental.growth import Contents, GrowingModel
from gabp.factors.linearization import NonFiniteResidualError, Values
from gabp.factors.optimizers.descent import OptimizationProgress
from gabp.factors.optimizers.optimize import GAUGES
from gabp.factors.optimizers.result import OptimizationError, OptimizationResult, OptimizationStatus
from gabp.factors.reading import read_index
from gabp.factors.variables import Variables
from gabp.system import InvalidSystemError, require_nonnegative


@dataclass(frozen=True)
class IncrementalUpdate:
    """What an update did.

    Attributes
    ----------
    status : OptimizationStatus or None
        Why there is no estimate of all variables; None where there is one.
    detail : str
        The component, variable or factor that the status is about.
    eliminated : int
        Variables whose part of the factor was computed anew.
    linearized : int
        Factors that were linearised, new ones among them.
    """

    status: OptimizationStatus | None
    detail: str
    eliminated: int
    linearized: int


class IncrementalOptimizer:
    """The optimum of a graph that grows, of which `update` computes anew what additions and removals reach.

    Made by `gabp.FactorGraph.incremental`. The factor of the linear system is a Bayes tree: a change of a few factors
    eliminates their variables anew, and those above them in the elimination tree, in an order of their own with new
    variables last; variables that have moved far are linearised anew, with the factors on them alone.

    Examples
    --------
    A robot that drives along a line and sees its start again:

    >>> import gabp
    >>> graph = gabp.FactorGraph()
    >>> x = graph.variables(gabp.SE2, [[0.0, 0.0, 0.0]])
    >>> prior = graph.add(gabp.factors.Prior, x, [0], [[0.0, 0.0, 0.0]], 1e4)
    >>> optimizer = graph.incremental()
    >>> for k in range(3):
    ...     (new,) = graph.extend(x, [[k + 1.0, 0.0, 0.0]])
    ...     step = graph.add(gabp.factors.Between, (x, x), ([new - 1], [new]), [[1.1, 0.0, 0.0]], 1.0)
    ...     update = optimizer.update()
    >>> optimizer.values(x, [3])[0].round(3)
    array([3.3, 0. , 0. ])
    >>> loop = graph.add(gabp.factors.Between, (x, x), ([0], [3]), [[3.0, 0.0, 0.0]], 1.0)
    >>> optimizer.update().eliminated
    4
    >>> optimizer.values(x, [3])[0].round(3)
    array([3.075, 0.   , 0.   ])
    """

    def __init__(self, contents: Contents, gauge: str, relinearize: float, tolerance: float) -> None:
        if gauge not in GAUGES:
            raise InvalidSystemError(f"there is no gauge {gauge!r}; choose one of {sorted(GAUGES)}")
        if gauge == "free":
            raise InvalidSystemError("gauge='free' needs the damping of method='levenberg-marquardt'")
        require_nonnegative(relinearize, "relinearize")
        require_nonnegative(tolerance, "tolerance")
        self.gauge, self.relinearize, self.tolerance = gauge, relinearize, tolerance
        self._last: OptimizationResult | None = None
        self._growing = GrowingModel(contents, gauge)

    def update(self, *, throw: bool = True) -> IncrementalUpdate:
        """Take in what the graph gained and lost since the last update, and make one Gauss–Newton step.

        Parameters
        ----------
        throw : bool
            Raise where there is no estimate; ``False`` returns the update with its status.

        Returns
        -------
        IncrementalUpdate

        Raises
        ------
        OptimizationError
            A component is not held by anything, a direction is not determined, or a residual is not finite; named in
            the error's result. The next update goes on from here, so that factors may be added or removed.
        """
        update, self._last = self._update(self.relinearize, self.tolerance), None
        if throw and update.status is not None:
            raise OptimizationError(self._unfinished(update, time.perf_counter()))
        return update

    def values(self, variables: Variables, indices: Any = None) -> Any:
        """The estimate of a set of variables at the last update, shape (N, width).

        Parameters
        ----------
        variables : Variables
            What `gabp.FactorGraph.variables` returned.
        indices : integer array, shape (m,), optional
            Which ones; all by default.

        Returns
        -------
        array
            In the array library, device and float dtype of the initial values.

        Raises
        ------
        TypeError, InvalidSystemError
            The variables are of another graph or were added later, or an index is out of range.
        """
        known = self._growing.known(variables)
        if not known:
            raise InvalidSystemError(f"{variables!r} is no set of the graph at the last update")
        index = None if indices is None else read_index(indices, known, "index").numpy()
        model = self._growing.model
        return variables.restore(model.points.estimate(model.tree, variables.position, index))

    def optimize(
        self,
        *,
        maxiter: int = 100,
        rtol: float = 1e-9,
        callback: Callable[[OptimizationProgress], Any] | None = None,
        throw: bool = True,
    ) -> OptimizationResult:
        """Update, and go on until the objective, evaluated for all factors, decreases no more.

        Parameters
        ----------
        maxiter : int
            Steps to try at most; 0 evaluates the estimate as it is.
        rtol, callback, throw
            As in `gabp.FactorGraph.optimize`.

        Returns
        -------
        OptimizationResult

        Raises
        ------
        OptimizationError
            See ``throw``.
        """
        require_nonnegative(maxiter, "maxiter", integer=True)
        require_nonnegative(rtol, "rtol")
        if callback is not None and not callable(callback):
            raise TypeError(f"callback must be callable, not {type(callback).__name__}")
        self._last = result = self._optimize(maxiter, rtol, callback)
        if throw and not result.converged and result.status is not OptimizationStatus.STOPPED_BY_CALLBACK:
            raise OptimizationError(result)
        return result

    def is_at(self, result: Any) -> bool:
        """Whether a result is that of the last `optimize`."""
        if self._last is None or not isinstance(result, OptimizationResult):
            return False
        return result.estimate is self._last.estimate  # which results made differentiable share

    def restart(self, values: Values) -> None:
        """Begin anew from values of all sets, (N, width) each in float64, at the next update."""
        self._growing.restart(values)

    def __repr__(self) -> str:
        tree = self._growing.model.tree
        return f"IncrementalOptimizer: {tree.variables} variables, {tree.entries:.3g} nonzeros in the factor"

    def _update(self, limit: float, tolerance: float) -> IncrementalUpdate:
        growing = self._growing
        growing.take_changes()
        status, detail, linearized, model = None, "", 0, growing.model
        free = growing.free_component()
        if free:
            return IncrementalUpdate(OptimizationStatus.GAUGE_FREEDOM, free, 0, 0)
        try:
            linearized = model.relinearize(limit)
        except NonFiniteResidualError as error:
            return IncrementalUpdate(OptimizationStatus.NON_FINITE, str(error), 0, 0)
        bad = model.tree.eliminate()
        if bad >= 0:
            status, detail = OptimizationStatus.INDETERMINATE, model.points.named(bad)
        else:
            model.tree.substitute(tolerance)
        return IncrementalUpdate(status, detail, model.tree.eliminated, linearized)

    def _optimize(
        self, maxiter: int, rtol: float, callback: Callable[[OptimizationProgress], Any] | None
    ) -> OptimizationResult:
        began = time.perf_counter()
        update = self._update(self.relinearize, 0.0)
        updated = time.perf_counter()
        if update.status is not None:
            return self._unfinished(update, began)
        ending = Newton(self._growing.model, rtol, self._reporter(callback)).run(maxiter)
        result = self._result(ending, began, updated)
        if ending.left:
            self.restart(ending.values)
        return result

    def _reporter(self, callback: Callable[[OptimizationProgress], Any] | None) -> Report | None:
        if callback is None:
            return None

        def report(iteration: int, objective: float, decrease: float, values: Values) -> bool:
            def of(variables: Variables) -> Any:
                return variables.restore(values[variables.position])

            return callback(OptimizationProgress(iteration, objective, decrease, of)) is True

        return report

    def _unfinished(self, update: IncrementalUpdate, began: float) -> OptimizationResult:
        """The result of an update that has no estimate: the last one."""
        assert update.status is not None
        values = tuple(self._growing.model.estimate())
        try:
            evaluation = self._growing.model.evaluate(values)
        except NonFiniteResidualError:
            evaluation = None
        objective = math.nan if evaluation is None else evaluation.objective
        ending = Converged(values, evaluation, update.status, update.detail, (objective,), False)
        return self._result(ending, began, began)

    def _result(self, ending: Converged, began: float, updated: float) -> OptimizationResult:
        growing, evaluation = self._growing, ending.evaluation
        tree = growing.model.tree
        return OptimizationResult(
            objective=math.nan if evaluation is None else evaluation.objective,
            converged=ending.status.converged,
            status=ending.status,
            detail=ending.detail,
            iterations=len(ending.history) - 1,
            history=ending.history,
            gradient_norm=math.nan if evaluation is None else float(np.sqrt((evaluation.gradient**2).sum())),
            method="incremental",
            linear=f"elimination (a Bayes tree of {tree.entries:.3g} nonzeros)",
            held=growing.held_by_gauge,
            setup_seconds=updated - began,
            solve_seconds=time.perf_counter() - updated,
            estimate=ending.values,
            sets=tuple(growing.sets),
            fixed=growing.held,
        )
