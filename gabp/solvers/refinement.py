"""Iterative refinement: every method solves for corrections, the true residual decides when to stop."""

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gabp.solvers.protocol import MethodSetup
from gabp.solvers.residual_monitor import ResidualMonitor
from gabp.solvers.solution import Status
from gabp.system import System, require_nonnegative
from gabp.system.vectors import column_norms, largest_entries

_MAXITER = 10_000
_GROWTH_OF_DIVERGENCE = 1e10
_ROUNDING_OF_MESSAGES = 10  # units of rounding, as a backward error of a correction
_AT_ROUNDING = 4.0  # of `normalised_residual`: no method can be expected to reduce it further
_NEAR_ROUNDING = 2000.0  # the same, below which x may be accurate although A is singular
_LARGEST_START = 1e16  # residual of a starting point over that of zero, past which its digits hide the solution's
_EXTENDED_CORRECTIONS, _EXTENDED_REDUCTION = 3, 0.01  # by residuals in extended precision, and what each leaves of its
_CHECKS_WITHOUT_GAIN = 3
# a correction is good to about half its digits; past that a new one for the true residual gains more
_WORTH_REFINING = {torch.float32: 1e-4, torch.float64: 1e-11}


@dataclass(frozen=True)
class Progress:
    """What a callback is given, once per sweep or iteration.

    Attributes
    ----------
    iteration : int
    relative_residual : float
        ``‖b - A x‖₂ / ‖b‖₂`` of the worst column.
    """

    iteration: int
    relative_residual: float
    _restore: Callable[[], Any] = field(repr=False)

    @property
    def x(self) -> Any:
        """The solution so far, in b's array library, device and dtype; computed when asked for."""
        return self._restore()


@dataclass(frozen=True)
class Tolerances:
    """The stopping criteria of a solve as its caller states them; None for the default."""

    rtol: float | None = None
    atol: float = 0.0
    maxiter: int | None = None

    def checked(self, dtype: torch.dtype) -> tuple[float, float, int]:
        """``rtol``, ``atol`` and ``maxiter`` for an ``x`` of this dtype.

        Raises
        ------
        TypeError, InvalidSystemError
            One of them is no finite number from 0.
        """
        rtol, maxiter = self.rtol, self.maxiter
        if rtol is None:
            rtol = 1e-5 if dtype == torch.float32 else 1e-8
        else:
            require_nonnegative(rtol, "rtol")
        require_nonnegative(self.atol, "atol")
        if maxiter is None:
            maxiter = _MAXITER
        else:
            require_nonnegative(maxiter, "maxiter", integer=True)
        return rtol, self.atol, int(maxiter)


@dataclass(frozen=True)
class Request:
    """One solve: its right-hand sides, tolerances and limits.

    Attributes
    ----------
    b, x0 : Tensor, shape (n, k), float64
    b_norm, tolerance : list of float
        The norms of the columns of ``b``, and the residual norms to be met.
    maxiter : int
    answer_dtype : torch.dtype
        Of the ``x`` returned; the residual that decides is that of ``x`` rounded to it.
    callback, restore : callable
        `restore` maps (n, k) to the caller's array library, device and shape.
    """

    b: Tensor
    x0: Tensor | None
    b_norm: list[float]
    tolerance: list[float]
    maxiter: int
    answer_dtype: torch.dtype
    callback: Callable[[Progress], Any] | None
    restore: Callable[[Tensor], Any]


@dataclass(frozen=True)
class Review:
    """When an iteration that converges slowly is left to another method.

    Attributes
    ----------
    after : int
        After so many iterations, and each time that they have doubled, `should_abandon` is evaluated; 0 for never.
    should_abandon : callable
        From the predicted number of iterations to the tolerance to whether the solve ends as if at ``maxiter``.
    """

    after: int
    should_abandon: Callable[[float], bool]


class Iterate(NamedTuple):
    """A point of an iteration, (n, k) in float64, its residual and the norms of the residual's columns."""

    x: Tensor
    residual: Tensor
    norm: list[float]


class IterationResult(NamedTuple):
    """The best iterate found, representable in the answer's dtype, and how it was reached."""

    best: Iterate
    status: Status
    iterations: int
    history: tuple[float, ...]


def iterate(
    system: System, method: MethodSetup, request: Request, working: torch.dtype, review: Review
) -> IterationResult:
    """Solve ``A x = b``: correct ``x`` by the method's solution for its residual until that meets the tolerance."""
    return _Refinement(system, method, request, working, review).run()


def backward_errors(system: System, x: Tensor, b: Tensor, residual: Tensor) -> list[float]:
    """``‖r‖_∞ / (‖A‖_∞ ‖x‖_∞ + ‖b‖_∞)`` of each column (Rigal and Gaches 1967)."""
    r, y, c = (largest_entries(columns).tolist() for columns in (residual, x, b))
    return _quotients(r, [system.norm * y_k + c_k for y_k, c_k in zip(y, c, strict=True)])


def normalised_residual(system: System, x: Tensor, b: Tensor, residual: Tensor) -> float:
    """The residual norm of the worst column over the norm of the componentwise bound of its rounding error.

    Of order 1 where no more accuracy can be had. The bound of a sum of ``m`` terms in float64 is ``√m eps`` of their
    sizes. Componentwise: unlike a normwise backward error, this does not take the small parts of a badly scaled x for
    solved when the large ones are.
    """
    terms = (system.graph.start.diff() + 2.0).sqrt()[:, None]
    rounding = column_norms(torch.finfo(torch.float64).eps * terms * system.term_sizes(x, b))
    return _worst(_quotients(column_norms(residual).tolist(), rounding.tolist()))


def is_at_rounding(system: System, x: Tensor, b: Tensor, residual: Tensor) -> bool:
    """Whether ``x`` is as accurate as float64 allows."""
    return normalised_residual(system, x, b, residual) <= _AT_ROUNDING


def _quotients(numerators: list[float], denominators: list[float]) -> list[float]:
    """Column by column; by 1 where a denominator is not positive."""
    return [a / b if b > 0 else a for a, b in zip(numerators, denominators, strict=True)]


def _worst(values: list[float]) -> float:
    """The largest value; NaN where there is one."""
    return math.nan if any(map(math.isnan, values)) else max(values)


class _Refinement:
    """The state of one solve."""

    def __init__(
        self, system: System, method: MethodSetup, request: Request, working: torch.dtype, review: Review
    ) -> None:
        self.system, self.method, self.request, self.review = system, method, request, review
        self.working = working
        self.iterations = 0
        self.history: list[float] = []
        self.zero = Iterate(request.b.new_zeros(()).expand_as(request.b), request.b, request.b_norm)
        self.best, self.lowest = self.zero, math.inf  # and its relative residual
        self.review_at, self.reviewed = review.after, 1.0  # the next review; the relative residual at the last
        self.at_rounding: Iterate | None = None  # one of the smallest backward error there is

    def run(self) -> IterationResult:
        start = self._start()
        if self._check(start):
            return self._result(Status.CONVERGED)
        if self.method.failure is not None:
            return self._result(self.method.failure)
        while True:
            before = self.lowest
            status = self._correct(start)
            if status is not None:
                return self._result(self._verdict(status) if status is Status.SINGULAR else status)
            if not self.lowest < 0.5 * before:
                return self._result(self._verdict(Status.STAGNATED))
            start = self.best

    def _at(self, x: Tensor) -> Iterate:
        residual = self.system.residual(x, self.request.b)
        return Iterate(x, residual, column_norms(residual).tolist())

    def _start(self) -> Iterate:
        """``x0``, but 0 in a column where ``b`` is, or vanishes beside ``A x0``: no tolerance is met from there."""
        request = self.request
        if request.x0 is None:
            return self.zero
        pairs = zip(self._at(request.x0).norm, request.b_norm, strict=True)
        kept = torch.tensor([norm <= _LARGEST_START * b_norm for norm, b_norm in pairs], device=request.x0.device)
        return self._at(torch.where(kept, request.x0, 0.0))

    def _verdict(self, status: Status) -> Status:
        """The status of a solve that ended as STAGNATED or SINGULAR: neither is reported of rounding alone."""
        if normalised_residual(self.system, self.best.x, self.request.b, self.best.residual) <= _NEAR_ROUNDING:
            return self._refine_in_extended_precision()
        if self.at_rounding is None:
            return status
        self.best = self.at_rounding  # its residual is large because x is
        return Status.STAGNATED

    def _refine_in_extended_precision(self) -> Status:
        """Correct by residuals in extended precision: to the float64 numbers nearest to the solution.

        Rounding of the residuals themselves keeps ordinary refinement some units farther away (Demmel et al. 2006).
        """
        request = self.request
        for _ in range(_EXTENDED_CORRECTIONS):
            before = self.lowest
            if self.iterations >= request.maxiter:
                break
            r = self.system.extended_precision_residual(self.best.x, request.b)
            start = Iterate(self.best.x, r, column_norms(r).tolist())
            status = self._correct(start, [_EXTENDED_REDUCTION * norm for norm in start.norm])
            if status is not None and status is not Status.SINGULAR:
                return status
            if not self.lowest < before:
                break
        return Status.STAGNATED

    def _correct(self, start: Iterate, tolerance: list[float] | None = None) -> Status | None:
        """Add the method's solution for the residual of ``start``, as far as that gains more than starting anew.

        Returns
        -------
        Status or None
            How the solve ends, or None where a correction for the best residual so far gains more.
        """
        request = self.request
        target = torch.tensor(tolerance or request.tolerance, dtype=torch.float64, device=start.residual.device)
        correction = self.method.correct(start.residual, target)
        monitor = ResidualMonitor(self._relative(start))
        while self.iterations < request.maxiter:
            iterations = self._iterations_to_check(monitor)
            done, failure = correction.advance(iterations)
            self.iterations += done
            y = correction.estimate()
            point = self._at(y if start.x is self.zero.x else start.x + y)
            converged = self._check(point)
            stopped = done > 0 and self._callback_stops(point.x)
            if converged or stopped:
                return Status.CONVERGED if converged else Status.STOPPED_BY_CALLBACK
            relative = self.history[-1]
            ended = failure is not None or self.method.exact or done < iterations
            # a correction that still gains is not at rounding, and is spared the norms
            no_gain = ended or not relative < monitor.lowest
            at_rounding = no_gain and is_at_rounding(self.system, point.x, request.b, point.residual)
            if at_rounding:
                self.at_rounding = point
            if failure is not None:
                return failure
            if self._diverges(relative, monitor.initial, at_rounding):
                return Status.DIVERGED
            at_rounding = at_rounding or (no_gain and self._is_exhausted(point, start))
            monitor.record(done, relative)
            if self.iterations == self.review_at and self._should_abandon(relative):
                return Status.MAX_ITERATIONS
            if ended or self._should_restart(monitor, at_rounding):
                return None
        return Status.MAX_ITERATIONS

    def _iterations_to_check(self, monitor: ResidualMonitor) -> int:
        most = self.request.maxiter - self.iterations
        if self.review_at > self.iterations:
            most = min(most, self.review_at - self.iterations)
        if self.request.callback is not None:
            return 1
        return most if self.method.stops_itself else min(most, monitor.next_check(self._target))

    def _relative(self, point: Iterate) -> float:
        """The relative residual of the worst column."""
        return _worst(_quotients(point.norm, self.request.b_norm))

    def _meets_tolerance(self, point: Iterate) -> bool:
        return all(map(operator.le, point.norm, self.request.tolerance))

    def _check(self, point: Iterate) -> bool:
        """Record the relative residual of the worst column; whether every column meets its tolerance."""
        converged = self._meets_tolerance(point)
        if converged and self._is_rounded:
            point = self._as_answered(point)
            converged = self._meets_tolerance(point)
        relative = self._relative(point)
        self.history.append(relative)
        if converged or relative < self.lowest:
            self.best, self.lowest = point, relative
        return converged

    def _callback_stops(self, x: Tensor) -> bool:
        callback = self.request.callback
        if callback is None:
            return False
        return bool(callback(Progress(self.iterations, self.history[-1], lambda: self.request.restore(x))))

    def _diverges(self, relative: float, initial: float, at_rounding: bool) -> bool:
        grown = not relative <= _GROWTH_OF_DIVERGENCE * max(initial, self.lowest)
        return not math.isfinite(relative) or (grown and not at_rounding)

    def _is_exhausted(self, point: Iterate, start: Iterate) -> bool:
        """Whether the residual is what rounding of the messages, coarser than that of residuals, leaves."""
        rounding = _ROUNDING_OF_MESSAGES * torch.finfo(self.working).eps
        errors = backward_errors(self.system, point.x - start.x, start.residual, point.residual)
        return all(error <= rounding for error in errors)

    def _should_restart(self, monitor: ResidualMonitor, at_rounding: bool) -> bool:
        """Whether a correction for the best residual so far is expected to gain more than going on with this one."""
        gained = monitor.lowest / monitor.initial
        if gained <= _WORTH_REFINING[self.working]:
            return True
        every_iteration = self.request.callback is not None
        most = max(10, monitor.iterations // 2) if every_iteration else _CHECKS_WITHOUT_GAIN
        return monitor.checks_since_lowest >= most and (gained <= 0.1 or at_rounding)

    def _should_abandon(self, relative: float) -> bool:
        """Predict from the rate since the last review; the next one is due when the iterations have doubled."""
        before, target = self.reviewed, self._target
        if 0.0 < target < relative < before:
            since = self.iterations if self.review_at == self.review.after else self.iterations / 2
            remaining = since * math.log(relative / target) / math.log(before / relative)
        else:
            remaining = math.inf if relative > target else 0.0
        self.reviewed, self.review_at = relative, 2 * self.review_at
        return self.review.should_abandon(remaining)

    @cached_property
    def _target(self) -> float:
        """The smallest relative tolerance of a column."""
        pairs = zip(self.request.tolerance, self.request.b_norm, strict=True)
        return min((tolerance / b_norm for tolerance, b_norm in pairs if b_norm > 0), default=0.0)

    @property
    def _is_rounded(self) -> bool:
        return self.request.answer_dtype != torch.float64

    def _as_answered(self, point: Iterate) -> Iterate:
        """The point rounded to the dtype it is returned in: its residual decides."""
        return self._at(point.x.to(self.request.answer_dtype).double())

    def _result(self, status: Status) -> IterationResult:
        best = self._as_answered(self.best) if self._is_rounded else self.best
        return IterationResult(best, status, self.iterations, tuple(self.history))
