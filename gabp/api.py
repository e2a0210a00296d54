"""Floor 5: the public functions."""

from collections.abc import Callable
from typing import Any

from gabp import conditions
from gabp.conditions import ConvergenceReport
from gabp.solvers import Progress, Solution, Solver, solve_m_matrix


def solve(
    A: Any,
    b: Any,
    x0: Any = None,
    *,
    method: str = "auto",
    rtol: float | None = None,
    atol: float = 0.0,
    maxiter: int | None = None,
    symmetric: bool = True,
    blocks: Any = None,
    dtype: Any = None,
    device: Any = None,
    callback: Callable[[Progress], Any] | None = None,
    throw: bool = True,
    **options: Any,
) -> Solution:
    """Solve the sparse system ``A x = b`` by Gaussian belief propagation.

    Where A is symmetric positive definite, ``x`` is the mean of ``p(x) ∝ exp(-½ xᵀA x + bᵀx)``.

    Parameters
    ----------
    A : scipy sparse, torch sparse (COO, CSR, CSC) or dense, or 2-D numpy array, shape (n, n)
        float32 or float64; integers and booleans are read as float64. Duplicates are summed. Never modified.
    b : numpy array or torch tensor, shape (n,) or (n, k)
    x0 : numpy array or torch tensor, shape of b, optional
        Starting point; zero by default.
    method : str
        ``"auto"`` picks from the structure of A and says why in ``Solution.method_reason``. ``"tree"`` is
        exact on forests, ``"elimination"`` everywhere a factor fits; ``"flooding"`` and ``"sequential"`` are the
        plain schedules, certain to converge on walk-summable matrices (Malioutov, Johnson and Willsky 2006);
        ``"double-loop"`` converges for every positive definite A.
    rtol, atol : float
        Converged means ``‖b - A x‖₂ <= max(rtol ‖b‖₂, atol)`` in every column, with the true residual of the
        returned x evaluated in float64. ``rtol`` is 1e-8 by default, 1e-5 where x is float32.
    maxiter : int, optional
        Sweeps, or steps of conjugate gradients, at most (10,000 by default).
    symmetric : bool
        ``False`` for a general matrix of any pattern.
    blocks : optional
        Vector-valued nodes.
    dtype : float32 or float64, optional
        Of the messages; A's own by default.
    device : torch device, optional
    callback : callable, optional
        Called with a `Progress` once per sweep or step; returning True stops the solve.
    throw : bool
        Raise `ConvergenceError` where the solve does not converge; ``False`` returns the solution as it is.
    **options
        Of the method: ``start`` ("zero" or "constant") and ``damping`` of flooding.

    Returns
    -------
    Solution
        ``x`` comes back in b's family, device, shape and float dtype.

    Raises
    ------
    TypeError
        An argument of the wrong kind.
    InvalidSystemError
        Bad content: not square, shapes that differ, NaN or infinite entries, asymmetry, a nonpositive
        diagonal where the method needs it positive. The message names the place.
    ConvergenceError
        See ``throw``.

    References
    ----------
    Y. Weiss and W. T. Freeman, "Correctness of belief propagation in Gaussian graphical models of arbitrary
    topology", Neural Computation 13 (2001).

    Examples
    --------
    >>> import numpy as np, gabp
    >>> A = np.array([[1.0, -2.0, 3.0], [-2.0, 1.0, 0.0], [3.0, 0.0, 1.0]])
    >>> solution = gabp.solve(A, np.array([-6.0, 0.0, 2.0]))
    >>> solution.x
    array([ 1.,  2., -1.])
    >>> solution.method, solution.converged
    ('tree', True)
    """
    solver = Solver(A, method=method, symmetric=symmetric, blocks=blocks, dtype=dtype, device=device, **options)
    return solver.solve(b, x0, rtol=rtol, atol=atol, maxiter=maxiter, callback=callback, throw=throw)


def check(A: Any) -> ConvergenceReport:
    """Find out whether Gaussian belief propagation converges on ``A``, with proofs where that is possible.

    Parameters
    ----------
    A : as in `solve`
        Asymmetry, nonpositive diagonals and indefiniteness are reported, not raised.

    Returns
    -------
    ConvergenceReport
        Verdicts are YES or NO only where that is proven, rounding included; its repr is readable.

    Raises
    ------
    TypeError, InvalidSystemError
        There is no real, finite, square matrix to look at.

    References
    ----------
    D. M. Malioutov, J. K. Johnson and A. S. Willsky, "Walk-sums and belief propagation in Gaussian graphical
    models", JMLR 7 (2006).

    Examples
    --------
    >>> import numpy as np, gabp
    >>> r = 0.395  # a 4-cycle with a chord, one sign flipped: not walk-summable, and yet flooding converges
    >>> A = np.array([[1, r, r, r], [r, 1, r, 0], [r, r, 1, -r], [r, 0, -r, 1]])
    >>> report = gabp.check(A)
    >>> report.walk_summable, report.precision_messages, report.flooding_converges
    (<Verdict.NO: 'no'>, 'converged', <Verdict.YES: 'yes'>)
    """
    return conditions.check(A, solver=solve_m_matrix)
