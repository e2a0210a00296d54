"""The way every method is driven to a solution: looks at the true residual, refinement, and the stopping test."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from gabp.solvers.protocol import MethodSetup
from gabp.solvers.solution import Status
from gabp.system import System
from gabp.system.vectors import column_norms, largest_entries

_GROWTH_OF_DIVERGENCE = 1e10
_ROUNDING_UNITS = 10
_AT_ROUNDING = 4.0  # of `rounding_units`: no method can be expected to gain more
_NEAR_ROUNDING = 2000.0  # the same, from where on a singular matrix is no reason to call x bad
_HOPELESS = 1e16  # residual of a starting point over that of zero, past which its digits hide the answer's
_CAREFUL_ROUNDS, _CAREFUL_SHARE = 3, 0.01  # what each of them leaves of its residual
_FIRST_LOOK = 8  # sweeps
_LOOKS_WITHOUT_GAIN = 3
# a correction is good to about half its digits; past that a new one for the true residual gains more
_WORTH_REFINING = {torch.float32: 1e-4, torch.float64: 1e-11}


@dataclass(frozen=True)
class Progress:
    """What a callback is shown, once per sweep or step."""

    iteration: int
    relative_residual: float
    _restore: Callable[[], Any] = field(repr=False)

    @property
    def x(self) -> Any:
        """The solution so far, in the caller's form; computed when asked for."""
        return self._restore()


@dataclass(frozen=True)
class Request:
    """One solve: what is wanted, and when to stop.

    ``b`` and ``x0`` are (n, k) in float64; ``answer_dtype`` is the dtype that ``x`` will be given back in,
    and the residual that counts is that of ``x`` after this rounding. After ``patience`` steps, and
    each time that these have doubled, ``give_up`` is asked with the number of steps that the target seems to be away:
    if it is True, the solve ends as if at ``maxiter``.
    """

    b: Tensor
    x0: Tensor | None
    tolerance: Tensor
    maxiter: int
    answer_dtype: torch.dtype
    callback: Callable[[Progress], Any] | None
    restore: Callable[[Tensor], Any]
    patience: int = 0
    give_up: Callable[[float], bool] = lambda steps: False


@dataclass(frozen=True)
class Outcome:
    """The best ``x`` met, (n, k) in float64 but representable in the answer's dtype, and how it was reached."""

    x: Tensor
    residual: Tensor
    status: Status
    iterations: int
    history: tuple[float, ...]


def iterate(system: System, prepared: MethodSetup, request: Request, working: torch.dtype) -> Outcome:
    """Solve ``A x = b``: correct ``x`` by the method's answer to its true residual until that meets the tolerance."""
    return _Iteration(system, prepared, request, working).run()


def backward_errors(system: System, x: Tensor, b: Tensor, residual: Tensor) -> Tensor:
    """``‖r‖_∞ / (‖A‖_∞ ‖x‖_∞ + ‖b‖_∞)`` of each column, shape (k,) (Rigal and Gaches 1967)."""
    size = system.norm * largest_entries(x) + largest_entries(b)
    return largest_entries(residual) / torch.where(size > 0, size, 1.0)


def rounding_units(system: System, x: Tensor, b: Tensor, residual: Tensor) -> float:
    """The residual norm of the worst column in units of what rounding makes of it: of order 1 where no more can be had.

    Rounding in float64 leaves a sum of ``m`` terms uncertain by about ``√m eps`` of their sizes. Row by row: unlike a
    backward error in norms, this does not take the small parts of a badly scaled x for solved when the large ones are.
    """
    terms = (system.graph.start.diff() + 2.0).sqrt()[:, None]
    rounding = column_norms(torch.finfo(torch.float64).eps * terms * system.term_sizes(x, b))
    return float((column_norms(residual) / torch.where(rounding > 0, rounding, 1.0)).max())


def is_at_rounding(system: System, x: Tensor, b: Tensor, residual: Tensor) -> bool:
    """Whether ``x`` is as good as float64 can make it."""
    return rounding_units(system, x, b, residual) <= _AT_ROUNDING


class _Iteration:
    def __init__(self, system: System, prepared: MethodSetup, request: Request, working: torch.dtype) -> None:
        self.system, self.prepared, self.request = system, prepared, request
        self.working, self.worth_refining = working, _WORTH_REFINING[working]
        self.b_norm = column_norms(request.b)
        self.iterations = 0
        self.history: list[float] = []
        self.zero = request.b.new_zeros(()).expand_as(request.b)
        self.best_x = self.zero
        self.best_residual = request.b
        self.best = math.inf
        self.ask_at, self.asked = request.patience, 1.0  # the next question to `give_up`; the residual at the last
        self.at_rounding: tuple[Tensor, Tensor] | None = None  # an iterate of the smallest backward error there is

    def run(self) -> Outcome:
        x = self._start()
        residual = self.request.b if x is self.zero else self.system.residual(x, self.request.b)
        if self._look(x, residual):
            return self._outcome(Status.CONVERGED)
        if self.prepared.failure is not None:
            return self._outcome(self.prepared.failure)
        while True:
            before = self.best
            status, x, residual = self._correct(x, residual)
            if status is not None:
                return self._outcome(self._verdict(status) if status is Status.SINGULAR else status)
            if not self.best < 0.5 * before:
                return self._outcome(self._verdict(Status.STAGNATED))

    def _start(self) -> Tensor:
        """``x0``, but 0 in a column where ``b`` is, or vanishes beside ``A x0``: no tolerance is met from there."""
        request = self.request
        if request.x0 is None:
            return self.zero
        left = column_norms(self.system.residual(request.x0, request.b))
        return torch.where(left <= _HOPELESS * self.b_norm, request.x0, 0.0)

    def _verdict(self, ended: Status) -> Status:
        """The status of a solve that ended as STAGNATED or SINGULAR: neither is said of rounding alone."""
        if rounding_units(self.system, self.best_x, self.request.b, self.best_residual) <= _NEAR_ROUNDING:
            return self._refine_carefully()
        if self.at_rounding is None:
            return ended
        self.best_x, self.best_residual = self.at_rounding  # its residual is large because x is
        return Status.STAGNATED

    def _refine_carefully(self) -> Status:
        """Correct by residuals as of twice the precision: to the float64 numbers nearest to the solution.

        Rounding of the residuals themselves keeps ordinary refinement some units farther away (Demmel et al. 2006).
        """
        request = self.request
        for _ in range(_CAREFUL_ROUNDS):
            before = self.best
            if self.iterations >= request.maxiter:
                break
            r = self.system.extended_precision_residual(self.best_x, request.b)
            status, _, _ = self._correct(self.best_x, r, _CAREFUL_SHARE * column_norms(r))
            if status is not None and status is not Status.SINGULAR:
                return status
            if not self.best < before:
                break
        return Status.STAGNATED

    def _correct(
        self, base: Tensor, r: Tensor, tolerance: Tensor | None = None
    ) -> tuple[Status | None, Tensor, Tensor]:
        """Add one correction to ``base``; ends with a status, or when refining what is left gains more."""
        request = self.request
        first = float((column_norms(r) / self._scale()).max())
        correction = self.prepared.correct(r, request.tolerance if tolerance is None else tolerance)
        looks = _Looks(first, self.worth_refining, every_step=request.callback is not None)
        while True:
            if self.iterations >= request.maxiter:
                return Status.MAX_ITERATIONS, base, r
            steps = request.maxiter - self.iterations
            if self.ask_at > self.iterations:
                steps = min(steps, self.ask_at - self.iterations)
            if request.callback is not None or not self.prepared.stops_itself:
                steps = min(steps, looks.next_steps(self._target()))
            done, failure = correction.advance(steps)
            self.iterations += done
            x = correction.estimate() if base is self.zero else base + correction.estimate()
            residual = self.system.residual(x, request.b)
            converged = self._look(x, residual)
            relative = self.history[-1]
            stopped = done > 0 and self._callback_stops(x, relative)
            if converged:
                return Status.CONVERGED, x, residual
            if stopped:
                return Status.STOPPED_BY_CALLBACK, x, residual
            ended = failure is not None or self.prepared.exact or done < steps
            # where there is gain, rounding is not what ends it, and the look is saved the norms
            no_gain = ended or not relative < looks.best
            at_rounding = no_gain and is_at_rounding(self.system, x, request.b, residual)
            if at_rounding:
                self.at_rounding = x, residual
            if failure is not None:
                return failure, x, residual
            grown = not relative <= _GROWTH_OF_DIVERGENCE * max(first, self.best)
            if not math.isfinite(relative) or (grown and not at_rounding):
                return Status.DIVERGED, x, residual
            looks.saw(done, relative, at_rounding or (no_gain and self._is_spent(x - base, r, residual)))
            if self.iterations == self.ask_at and self._gives_up(relative):
                return Status.MAX_ITERATIONS, self.best_x, self.best_residual
            if ended or looks.exhausted:
                return None, self.best_x, self.best_residual

    def _gives_up(self, relative: float) -> bool:
        """Ask, for the rate since it was asked last; and ask again when the steps have doubled."""
        before, target = self.asked, self._target()
        if 0.0 < target < relative < before:
            since = self.iterations if self.ask_at == self.request.patience else self.iterations / 2
            left = since * math.log(relative / target) / math.log(before / relative)
        else:
            left = math.inf if relative > target else 0.0
        self.asked, self.ask_at = relative, 2 * self.ask_at
        return self.request.give_up(left)

    def _look(self, x: Tensor, residual: Tensor) -> bool:
        """Note the relative residual of the worst column; whether every column meets its tolerance."""
        norm = column_norms(residual)
        converged = bool((norm <= self.request.tolerance).all())
        if converged:
            x, residual = self._as_answered(x, residual)
            norm = column_norms(residual)
            converged = bool((norm <= self.request.tolerance).all())
        relative = float((norm / self._scale()).max())
        self.history.append(relative)
        if converged or relative < self.best:
            self.best_x, self.best_residual, self.best = x, residual, relative
        return converged

    def _is_spent(self, correction: Tensor, r: Tensor, residual: Tensor) -> bool:
        """Whether rounding of the messages, which are coarser than the residual, is all that is left of ``r``."""
        rounding = _ROUNDING_UNITS * torch.finfo(self.working).eps
        return float(backward_errors(self.system, correction, r, residual).max()) <= rounding

    def _scale(self) -> Tensor:
        return torch.where(self.b_norm > 0, self.b_norm, 1.0)

    def _target(self) -> float:
        wanted = (self.request.tolerance / self._scale())[self.b_norm > 0]
        return float(wanted.min()) if len(wanted) else 0.0

    def _callback_stops(self, x: Tensor, relative: float) -> bool:
        callback = self.request.callback
        if callback is None:
            return False
        return bool(callback(Progress(self.iterations, relative, lambda: self.request.restore(x))))

    def _as_answered(self, x: Tensor, residual: Tensor) -> tuple[Tensor, Tensor]:
        """``x`` as the caller gets it, in his dtype, and its residual: what counts."""
        if self.request.answer_dtype == torch.float64:
            return x, residual
        x = x.to(self.request.answer_dtype).double()
        return x, self.system.residual(x, self.request.b)

    def _outcome(self, status: Status) -> Outcome:
        x, residual = self._as_answered(self.best_x, self.best_residual)
        return Outcome(x, residual, status, self.iterations, tuple(self.history))


class _Looks:
    """When to look at the residual, and when a correction has given what it can.

    A look costs about a sweep, so the next one is where the observed rate says that the target is met, but
    never more than as many sweeps away as are done: the looks of a solve grow with the logarithm of its sweeps.
    """

    def __init__(self, first: float, worth_refining: float, every_step: bool) -> None:
        self.first, self.worth_refining, self.every_step = first, worth_refining, every_step
        self.steps = 0
        self.relative = first
        self.best = first
        self.without_gain = 0
        self.log_rate = 0.0  # of the relative residual, per step
        self.at_rounding = False

    def next_steps(self, target: float) -> int:
        if self.every_step:
            return 1
        longest = max(_FIRST_LOOK, self.steps)
        if self.log_rate >= 0.0 or not 0.0 < target < self.relative:
            return longest
        return min(longest, math.ceil(math.log(target / self.relative) / self.log_rate))

    def saw(self, done: int, relative: float, at_rounding: bool) -> None:
        if done and relative > 0.0 and self.relative > 0.0:
            self.log_rate = math.log(relative / self.relative) / done
        self.steps += done
        self.relative = relative
        self.at_rounding = at_rounding
        self.without_gain = 0 if relative < self.best else self.without_gain + 1
        self.best = min(self.best, relative)

    @property
    def exhausted(self) -> bool:
        gained = self.best / self.first
        if gained <= self.worth_refining:
            return True
        patience = max(10, self.steps // 2) if self.every_step else _LOOKS_WITHOUT_GAIN
        return self.without_gain >= patience and (gained <= 0.1 or self.at_rounding)
