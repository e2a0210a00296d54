"""From a factor graph to an estimate: analysis, gauge, iteration, result."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from gabp.factors.batches import Factors
from gabp.factors.belief_propagation import Beliefs
from gabp.factors.gauge import Component, free_components
from gabp.factors.linear_solves import LinearMethod
from gabp.factors.linearization import Values
from gabp.factors.optimizers.descent import Descent, Ending, Limits, OptimizationProgress
from gabp.factors.optimizers.policies import Dogleg, GaussNewton, LevenbergMarquardt, Policy
from gabp.factors.optimizers.propagation import Propagation, PropagationOptions
from gabp.factors.optimizers.result import OptimizationResult, OptimizationStatus
from gabp.factors.structure import Structure
from gabp.factors.variables import Variables
from gabp.system import InvalidSystemError

METHODS: dict[str, type[Policy]] = {
    "gauss-newton": GaussNewton,
    "levenberg-marquardt": LevenbergMarquardt,
    "dogleg": Dogleg,
}
MESSAGES = "gbp"
INCREMENTAL = "incremental"  # which has an optimiser of its own
GAUGES = ("error", "hold", "free")


@dataclass(frozen=True)
class Options:
    """How to optimise, in the words of `gabp.FactorGraph.optimize`.

    Attributes
    ----------
    messages : PropagationOptions
        For the method ``"gbp"``, as is ``beliefs``: where messages are taken from and kept.
    """

    method: str
    gauge: str
    linear: str
    maxiter: int
    rtol: float
    callback: Callable[[OptimizationProgress], Any] | None
    messages: PropagationOptions = field(default_factory=PropagationOptions)
    beliefs: Beliefs = field(default_factory=Beliefs)

    def __post_init__(self) -> None:
        if self.method not in (*METHODS, MESSAGES):
            methods = sorted([*METHODS, MESSAGES, INCREMENTAL])
            raise InvalidSystemError(f"there is no method {self.method!r}; choose one of {methods}")
        if self.gauge not in GAUGES:
            raise InvalidSystemError(f"there is no gauge {self.gauge!r}; choose one of {sorted(GAUGES)}")
        if self.gauge == "free" and self.method != "levenberg-marquardt":
            raise InvalidSystemError("gauge='free' needs the damping of method='levenberg-marquardt'")


def optimize(
    sets: Sequence[Variables],
    factors: Sequence[Factors],
    held: Sequence[np.ndarray],
    values: Values,
    options: Options,
) -> OptimizationResult:
    """Minimise the objective from ``values``; see `gabp.FactorGraph.optimize`."""
    began = time.perf_counter()
    free = [] if options.gauge == "free" else free_components(sets, factors, held)
    names: tuple[str, ...] = ()
    if options.gauge == "hold":
        held, names = _hold(sets, held, free)
        free = []
    if free:
        return _refusal(sets, factors, held, values, options, free)
    structure = Structure.of(sets, factors, held)
    linear = LinearMethod.choose(structure, options.linear)
    analysed = time.perf_counter()
    limits = Limits(options.maxiter, options.rtol, check_directions=options.gauge != "free")
    report = None if options.callback is None else _reporter(sets, options.callback)
    if options.method == MESSAGES:
        ending = Propagation(structure, linear, limits, options.messages, report).run(values, options.beliefs)
    else:
        ending = Descent(structure, METHODS[options.method](linear), limits, report).run(values)
    return _result(
        structure.sets, held, ending, options, f"{linear.method} ({linear.reason})", names, (began, analysed)
    )


def _hold(
    sets: Sequence[Variables], held: Sequence[np.ndarray], components: Sequence[Component]
) -> tuple[list[np.ndarray], tuple[str, ...]]:
    """Hold the first variable of each component."""
    held = [mask.copy() for mask in held]
    for component in components:
        position, index = component.first
        held[position][index] = True
    return held, tuple(sets[c.first[0]].named(c.first[1]) for c in components)


def _refusal(
    sets: Sequence[Variables],
    factors: Sequence[Factors],
    held: Sequence[np.ndarray],
    values: Values,
    options: Options,
    free: Sequence[Component],
) -> OptimizationResult:
    """The result for a graph with gauge freedom: its initial values."""
    position, index = free[0].first
    more = f", and {len(free) - 1} more components" if len(free) > 1 else ""
    plural = "s" if free[0].size > 1 else ""
    detail = f"the component of {free[0].size} variable{plural} that {sets[position].named(index)} is in{more}"
    start = sum(float(batch.objective(values).sum()) for batch in factors)
    ending = Ending(values, None, OptimizationStatus.GAUGE_FREEDOM, detail, 0, (start,))
    now = time.perf_counter()
    return _result(tuple(sets), held, ending, options, "none", (), (now, now), start)


def _reporter(
    sets: Sequence[Variables], callback: Callable[[OptimizationProgress], Any]
) -> Callable[[int, float, float, Values], Any]:
    def report(iteration: int, current: float, decrease: float, values: Values) -> bool:
        def of(variables: Variables) -> Any:
            return variables.restore(values[variables.position])

        return callback(OptimizationProgress(iteration, current, decrease, of)) is True

    return report


def _result(
    sets: tuple[Variables, ...],
    held: Sequence[np.ndarray],
    ending: Ending,
    options: Options,
    linear: str,
    names: tuple[str, ...],
    began: tuple[float, float],
    start: float | None = None,
) -> OptimizationResult:
    at_end = ending.linearization
    known = math.nan if start is None else start
    return OptimizationResult(
        objective=known if at_end is None else at_end.objective,
        converged=ending.status.converged,
        status=ending.status,
        detail=ending.detail,
        iterations=ending.iterations,
        history=ending.history,
        gradient_norm=math.nan if at_end is None else float(torch.linalg.vector_norm(at_end.gradient)),
        method=options.method,
        linear=linear,
        held=names,
        setup_seconds=began[1] - began[0],
        solve_seconds=time.perf_counter() - began[1],
        estimate=ending.values,
        sets=sets,
        fixed=tuple(mask.copy() for mask in held),
    )
