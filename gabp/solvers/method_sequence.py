"""The methods to try on one system in turn, and the fallback from one to the next."""

import logging
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from gabp.solvers.auto import Choice, can_eliminate, choose, elimination_is_faster
from gabp.solvers.methods import METHODS, require_options
from gabp.solvers.near_nullspace import TAKE_NEAR_NULLSPACE
from gabp.solvers.protocol import MethodSetup
from gabp.solvers.refinement import IterationResult, Request, Review, is_at_rounding, iterate
from gabp.solvers.solution import Status
from gabp.system import InvalidSystemError, System, working_dtype
from gabp.system.blocks import BlockPartition, BlockSystem

_log = logging.getLogger("gabp")


@dataclass(frozen=True, eq=False)
class Settings:
    """How a system is to be solved, in the words of `gabp.Solver`; ``partition`` is its ``blocks``, read."""

    method: str
    dtype: Any = None
    device: Any = None
    partition: BlockPartition | None = None
    near_nullspace: Tensor | None = None
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class MethodFactory:
    """Sets up methods for one system.

    Attributes
    ----------
    system : System
    blocks : BlockSystem or None
    dtype : torch.dtype
        Of the messages, where a choice names no other.
    method : str
        The one that ``options`` are for.
    options : dict
    """

    system: System
    blocks: BlockSystem | None
    dtype: torch.dtype
    method: str
    options: dict[str, Any]
    near_nullspace: Tensor | None = None

    def set_up(self, choice: Choice, reuse: MethodSetup | None = None) -> MethodSetup:
        """The method of a choice, which takes over from ``reuse`` what depends on the pattern alone, if it can."""
        row = METHODS[choice.method]
        blocks = self.blocks if choice.blocks is None else choice.blocks
        method = row.class_for(self.system, blocks)
        options = self.options if choice.method == self.method else {}
        require_options(choice.method, method, options)
        if blocks is not None and row.blocks is not None:
            if self.near_nullspace is not None and "near_nullspace" in {field.name for field in fields(method)}:
                options = {**options, "near_nullspace": self.near_nullspace}
            return method(self.system, blocks, **options)
        system = self.system if method.exact else self.system.astype(choice.dtype or self.dtype)
        if method.reuses_setup and isinstance(reuse, method):
            options = {**options, "reuse": reuse}
        return method(system, **options)


class MethodSequence:
    """Methods to try on one system in turn, best first; all but the first are set up when first needed.

    Parameters
    ----------
    system : System
    choices : list of Choice
    first : MethodSetup
        The method of the first choice, set up.
    factory : MethodFactory, optional
        For the choices after the first.
    """

    def __init__(
        self, system: System, choices: list[Choice], first: MethodSetup, factory: MethodFactory | None = None
    ) -> None:
        self.system, self.choices, self.first = system, choices, first
        self._factory = factory
        self._later: dict[Choice, MethodSetup] = {}

    @classmethod
    def of(cls, system: System, settings: Settings, reuse: MethodSetup | None = None) -> "MethodSequence":
        """The sequence for a system, the first method set up.

        Raises
        ------
        TypeError, InvalidSystemError
            The settings do not go with each other or with the system; see `gabp.solve`.
        """
        dtype = system.dtype if settings.dtype is None else working_dtype(settings.dtype)
        blocks = None if settings.partition is None else BlockSystem.of(system, settings.partition)
        if settings.near_nullspace is not None and settings.method not in TAKE_NEAR_NULLSPACE:
            raise InvalidSystemError(
                f"near_nullspace goes with method 'auto' or 'hierarchy', not with {settings.method!r}"
            )
        may_round = settings.dtype is None and settings.options.get("joint", False) is False
        choices = choose(system, settings.method, blocks, may_round)
        factory = MethodFactory(system, blocks, dtype, choices[0].method, settings.options, settings.near_nullspace)
        first = factory.set_up(choices[0], reuse)
        if choices[0].dtype is not None and first.failure is not None:  # float32 may be the cause
            choices = choices[1:]
            first = factory.set_up(choices[0])
        return cls(system, choices, first, factory)

    def run(self, request: Request) -> tuple[IterationResult, str, str]:
        """Try the methods until one converges, each from the best ``x`` so far.

        Returns
        -------
        IterationResult
            With the iterations and the history of all of them.
        method, reason : str
            The last that was tried, and why: the reason of the first, with the fallbacks since.
        """
        iterations, reason = 0, self.choices[0].reason
        history: tuple[float, ...] = ()
        for position, choice in enumerate(self.choices):
            method = self.first if position == 0 else self._set_up_later(choice)
            review_after = 0 if method.lacks_locality else choice.review_after
            review = Review(review_after, partial(elimination_is_faster, self.system, choice.blocks is not None))
            result = iterate(self.system, method, request, choice.dtype or self.dtype, review)
            iterations += result.iterations
            history += result.history
            reason += f"; {method.notes}" if method.notes else ""
            if position == len(self.choices) - 1 or not self._may_fall_back(result, request):
                break
            following = self.choices[position + 1]
            if following.method == "elimination" and not can_eliminate(self.system):
                reason += f"; {result.status.name}, and a factor would take too much memory or time"
                break
            if following.method == choice.method and result.status is Status.DIVERGED:
                break  # independent of the precision
            why = "slow convergence" if result.status is Status.MAX_ITERATIONS else result.status.name
            reason += f"; {why}: fallback after {iterations} iterations to {following.method}, {following.reason}"
            _log.info("%s: %s; fallback to %s", choice.method, why, following.method)
            request = replace(request, x0=result.best.x, maxiter=request.maxiter - result.iterations)
        return IterationResult(result.best, result.status, iterations, history), choice.method, reason

    @property
    def dtype(self) -> torch.dtype:
        """Of the messages, where a choice names no other."""
        return self.system.dtype if self._factory is None else self._factory.dtype

    def _may_fall_back(self, result: IterationResult, request: Request) -> bool:
        """Whether the next method may succeed where this one failed, or was abandoned."""
        if result.status is Status.STAGNATED:  # not where x is as accurate as float64 allows
            return not is_at_rounding(self.system, result.best.x, request.b, result.best.residual)
        if result.status is Status.MAX_ITERATIONS:
            return result.iterations < request.maxiter
        return result.status not in (Status.CONVERGED, Status.STOPPED_BY_CALLBACK)

    def _set_up_later(self, choice: Choice) -> MethodSetup:
        if choice not in self._later:
            assert self._factory is not None
            self._later[choice] = self._factory.set_up(choice)
        return self._later[choice]
