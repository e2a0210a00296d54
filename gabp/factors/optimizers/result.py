"""The result of an optimisation."""

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import numpy as np

from gabp.factors.linearization import Values
from gabp.factors.variables import Variables
from gabp.solvers import ConvergenceError
from gabp.system import InvalidSystemError


class OptimizationStatus(Enum):
    """How an optimisation ended; the value is a message with a remedy."""

    CONVERGED_DECREASE = "converged: the relative decrease of the objective is below rtol, as is the predicted one"
    CONVERGED_GRADIENT = "converged: the gradient is zero beside the residuals"
    CONVERGED_STEP = "converged: the step no longer changes the variables"
    MAX_ITERATIONS = "stopped at maxiter before a stopping test was met; raise maxiter or loosen rtol"
    STOPPED_BY_CALLBACK = "stopped because the callback returned True"
    DIVERGED = (
        "the objective does not decrease any more from the best values found; try method='levenberg-marquardt' or "
        "init='spanning-tree'"
    )
    STAGNATED = (
        "no step decreases the objective, although the model predicts it; check the derivatives of your own functions "
        "for errors and discontinuities"
    )
    GAUGE_FREEDOM = (
        "a connected component has only relative factors, so it can be moved as a whole; add a Prior, or hold a "
        "variable: graph.hold(x, 0) or gauge='hold'"
    )
    INDETERMINATE = (
        "the factors leave a direction undetermined; add factors on the variable named, a Prior for example, or hold it"
    )
    NON_FINITE = "a residual, or its derivative, is not finite at the values reached; check the factor named"

    @property
    def converged(self) -> bool:
        """Whether it is one of the stopping tests."""
        return self.name.startswith("CONVERGED")


@dataclass(frozen=True, eq=False, repr=False)
class OptimizationResult:
    """The estimate of a factor graph's variables.

    Attributes
    ----------
    objective : float
        ``½ Σ ρ(rᵀΩr)`` at the values returned, recomputed.
    converged : bool
    status : OptimizationStatus
    detail : str
        The factor, variable or component that the status is about, if any.
    iterations : int
        Steps that were tried.
    history : tuple of float
        The objective at the start and after each iteration.
    gradient_norm : float
        ``‖Σ JᵀΩr‖₂`` in the tangent spaces at the values returned.
    method : str
    linear : str
        How the linear systems were solved, and why.
    held : tuple of str
        The variables held to remove gauge freedom.
    setup_seconds, solve_seconds : float
        For what depends on the connections alone, and for the iterations.
    estimate : tuple of Tensor
        The values of all sets in float64, from which `values` reads.
    sets : tuple of Variables
        The graph's handles.
    fixed : tuple of ndarray, shape (N,), bool
        Which variables of each set kept their values.
    """

    objective: float
    converged: bool
    status: OptimizationStatus
    detail: str
    iterations: int
    history: tuple[float, ...]
    gradient_norm: float
    method: str
    linear: str
    held: tuple[str, ...]
    setup_seconds: float
    solve_seconds: float
    estimate: Values = field(repr=False)
    sets: tuple[Variables, ...] = field(repr=False)
    fixed: tuple[np.ndarray, ...] = field(repr=False)

    def values(self, variables: Variables) -> Any:
        """The values of a set of variables, shape (N, width).

        Parameters
        ----------
        variables : Variables
            What `gabp.FactorGraph.variables` returned.

        Returns
        -------
        array
            In the array library, device and float dtype of the initial values.

        Raises
        ------
        InvalidSystemError
            The variables are of another graph.
        """
        if variables.position >= len(self.sets) or self.sets[variables.position] is not variables:
            raise InvalidSystemError(f"{variables!r} is no set of the graph that was optimised")
        return variables.restore(self.estimate[variables.position])

    def __repr__(self) -> str:
        count = sum(map(len, self.estimate))
        lines = [
            f"OptimizationResult: {self.status.name} after {self.iterations} iterations of {self.method}",
            f"  status         {self.status.value}",
            f"  objective      {self.objective:.9g} (from {self.history[0]:.6g}), {count} variables",
            f"  gradient norm  {self.gradient_norm:.2e}",
            f"  linear solves  {self.linear}",
            f"  seconds        {self.setup_seconds:.3g} set-up + {self.solve_seconds:.3g} solve",
        ]
        if self.detail:
            lines.insert(2, f"  about          {self.detail}")
        if self.held:
            more = f" and {len(self.held) - 3} more" if len(self.held) > 3 else ""
            lines.append(f"  held           {', '.join(self.held[:3])}{more}, to remove gauge freedom")
        return "\n".join(lines)


class OptimizationError(ConvergenceError):
    """An optimisation ended without convergence.

    Attributes
    ----------
    result, solution : OptimizationResult
        The best values found.
    """

    def __init__(self, result: OptimizationResult) -> None:
        about = f" ({result.detail})" if result.detail else ""
        ArithmeticError.__init__(self, f"{result.status.name}: {result.status.value}{about}\n{result!r}")
        self.result = self.solution = result  # type: ignore[assignment]

    def __reduce__(self) -> tuple:
        return OptimizationError, (self.result,)
