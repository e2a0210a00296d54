"""The result of an optimisation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import numpy as np

from gabp.factors.batches import Factors
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
    INVALID_MESSAGE = (
        "a message or belief is not finite, or its precision is not positive definite; add a Prior on the variables "
        "named, or try damping=0.5 or method='levenberg-marquardt'"
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
    objective : float, or Tensor of shape ()
        ``½ Σ ρ(rᵀΩr)`` at the values returned, recomputed; a tensor where it is differentiable.
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
    attached : tuple of Tensor, or None
        The estimate on the autograd graphs of the factors' parameters, where it is differentiable.
    graduated : mapping from Factors to ndarray, or None
        The weights of all factors under ``robust=``, from which `weights` reads.

    Notes
    -----
    Where measurements, informations or the scale of a loss are torch tensors that require grad, the values of a
    converged result, of sets whose initial values are torch tensors, and its objective are differentiable in them,
    once, by the implicit function theorem with the true Hessian; not under ``robust=``. A gradient is as accurate as
    the optimum, so that a tight ``rtol`` of `gabp.FactorGraph.optimize` is worth its steps. The backward pass raises
    InvalidSystemError where a component or a direction is undetermined, ArithmeticError where the optimum is no strict
    minimum.

    Examples
    --------
    How a weighted mean answers to each measurement:

    >>> import torch, gabp
    >>> z = torch.tensor([[1.0], [2.0], [6.0]], requires_grad=True)
    >>> graph = gabp.FactorGraph()
    >>> x = graph.variables(gabp.Euclidean(1), torch.zeros(1, 1))
    >>> priors = graph.add(gabp.factors.Prior, x, [0, 0, 0], z, [[[1.0]], [[2.0]], [[1.0]]])
    >>> graph.optimize().values(x).sum().backward()
    >>> z.grad.ravel()
    tensor([0.2500, 0.5000, 0.2500])
    """

    objective: Any
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
    attached: Values | None = field(default=None, repr=False)
    graduated: Mapping[Factors, np.ndarray] | None = field(default=None, repr=False)

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
        self._require_own(variables)
        return variables.restore((self.attached or self.estimate)[variables.position])

    def weights(self, factors: Factors) -> np.ndarray:
        """By how much the losses let each factor count at the values returned: ``ρ'(rᵀΩr)``.

        Parameters
        ----------
        factors : Factors
            What `gabp.FactorGraph.add` returned.

        Returns
        -------
        ndarray, shape (m,)
            1 for a full weight, as every factor without a loss has; 0 for an outlier that is ignored.

        Raises
        ------
        TypeError, InvalidSystemError
            The factors are of another graph, or were added later to one that was optimised with ``robust=``.
        """
        if not isinstance(factors, Factors):
            raise TypeError(f"a handle must be what `add` returned, not {type(factors).__name__}")
        if self.graduated is not None:
            if factors not in self.graduated:
                raise InvalidSystemError(f"{factors!r} was not in the graph that was optimised")
            return self.graduated[factors].copy()
        for variables in factors.variables:
            self._require_own(variables)
        return factors.weights(self.estimate).numpy()

    def is_of(self, sets: Sequence[Variables]) -> bool:
        """Whether it has values of all variables of these sets, and of no others."""
        if len(sets) != len(self.sets):
            return False
        known = zip(self.sets, self.estimate, sets, strict=True)
        return all(own is other and len(values) == other.count for own, values, other in known)

    def weighed(self, factors: Sequence[Factors]) -> tuple[Factors, ...]:
        """A graph's factors as this result counts them: under ``robust=``, with the weights in their informations."""
        if self.graduated is None:
            return tuple(factors)
        return tuple(batch.weighted(self.weights(batch)) for batch in factors)

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

    def _require_own(self, variables: Variables) -> None:
        if variables.position >= len(self.sets) or self.sets[variables.position] is not variables:
            raise InvalidSystemError(f"{variables!r} is no set of the graph that was optimised")


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
