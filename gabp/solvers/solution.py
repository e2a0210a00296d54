"""The result of a solve."""

from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np


class Status(Enum):
    """How a solve ended; the value is a message with a remedy."""

    CONVERGED = "converged: the true residual meets the tolerance"
    MAX_ITERATIONS = "stopped at maxiter before the tolerance was met; raise maxiter, loosen rtol or try method='auto'"
    STOPPED_BY_CALLBACK = "stopped because the callback returned True"
    DIVERGED = "the messages diverge on this matrix; gabp.check explains why, method='auto' avoids it"
    STAGNATED = (
        "the residual stopped decreasing above the tolerance; where backward_error is near 1e-16 (1e-7 in float32), "
        "x is as accurate as the arithmetic allows: loosen rtol or set atol, or use float64 if this was float32; "
        "elsewhere try method='elimination'"
    )
    INVALID_PRECISION = (
        "a cavity, belief or pivot precision is not positive: belief propagation alone cannot solve this "
        "matrix; try method='auto' or method='elimination', or method='double-loop' where A is symmetric"
    )
    NOT_POSITIVE_DEFINITE = (
        "A is not positive definite (a direction of nonpositive curvature was found), so it is no precision "
        "matrix; method='elimination' solves indefinite systems"
    )
    SINGULAR = (
        "A is singular to working precision; check for empty rows, and for components without a grounding or "
        "Dirichlet term"
    )


@dataclass(frozen=True, eq=False, repr=False)
class Solution:
    """The result of a solve.

    Attributes
    ----------
    x : array, shape (n,) or (n, k)
        In the array library, dtype, device and shape of ``b``. The best found where the solve did not converge.
    converged : bool
        The true residual of ``x``, evaluated in float64, meets the tolerance in every column.
    status : Status
    iterations : int
        Sweeps, or iterations of conjugate gradients.
    residual_norm : array, shape () or (k,)
        ``‖b - A x‖₂``, recomputed from ``x``.
    backward_error : array, shape () or (k,)
        ``‖b - A x‖_∞ / (‖A‖_∞ ‖x‖_∞ + ‖b‖_∞)`` (Rigal and Gaches 1967).
    method : str
    method_reason : str
        Why this method was chosen, and the fallbacks to it.
    backend : str
        The kernels that ran.
    history : tuple of float
        Relative residual of the worst column at each residual check.
    setup_seconds, solve_seconds : float
    """

    x: Any
    converged: bool
    status: Status
    iterations: int
    residual_norm: np.ndarray
    backward_error: np.ndarray
    method: str
    method_reason: str
    backend: str
    history: tuple[float, ...]
    setup_seconds: float
    solve_seconds: float

    def __repr__(self) -> str:
        columns = f", worst of {self.residual_norm.size} columns" if self.residual_norm.ndim else ""
        relative = f"{self.history[-1]:.2e}" if self.history else "unknown"
        return "\n".join(
            [
                f"Solution: {self.status.name} after {self.iterations} iterations of {self.method}",
                f"  status             {self.status.value}",
                f"  method             {self.method} ({self.method_reason})",
                f"  relative residual  {relative}{columns}",
                f"  residual norm      {self.residual_norm.max():.2e}{columns}",
                f"  backward error     {self.backward_error.max():.2e}{columns}",
                f"  seconds            {self.setup_seconds:.3g} set-up + {self.solve_seconds:.3g} solve",
                f"  backend            {self.backend}",
            ]
        )


class ConvergenceError(ArithmeticError):
    """A solve ended without convergence.

    Attributes
    ----------
    solution : Solution
        The best ``x`` found, and its residual.
    """

    def __init__(self, solution: Solution) -> None:
        super().__init__(f"{solution.status.name}: {solution.status.value}\n{solution!r}")
        self.solution = solution

    def __reduce__(self) -> tuple:
        return ConvergenceError, (self.solution,)
