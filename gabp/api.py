"""Floor 6: the public functions."""

from collections.abc import Callable
from typing import Any

from gabp import conditions
from gabp.autograd import Solver
from gabp.conditions import ConvergenceReport
from gabp.gaussian import Gaussian
from gabp.kernels import dispatch
from gabp.marginals import Marginals, VarianceKind
from gabp.solvers import Progress, Solution, m_matrix_solver, recommended_method


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
        ``"double-loop"`` and ``"hierarchy"`` converge for every positive definite A; ``"krylov"``, elimination sweeps
        inside BiCGSTAB or GMRES, is for general matrices. With ``symmetric=False`` there are all but ``"double-loop"``
        and ``"hierarchy"``.
    rtol, atol : float
        Converged means ``‖b - A x‖₂ <= max(rtol ‖b‖₂, atol)`` in every column, with the true residual of the
        returned x evaluated in float64. ``rtol`` is 1e-8 by default, 1e-5 where x is float32.
    maxiter : int, optional
        Sweeps, or steps of conjugate gradients, at most (10,000 by default).
    symmetric : bool
        ``False`` for a general matrix of any pattern.
    blocks : int, "auto" or integer array of shape (n,), optional
        Vector-valued nodes: the size of all blocks, or the block of each unknown; ``"auto"`` puts together what has
        the same neighbours. Messages are then d × d matrices and d-vectors, which converge on more matrices. The
        methods are all but ``"double-loop"``, and ``"krylov"`` is conjugate gradients for a symmetric A; with
        ``symmetric=False`` they are ``"flooding"``, ``"sequential"``, ``"krylov"`` and ``"elimination"``.
    dtype : float32 or float64, optional
        Of the messages; A's own by default, but float32 in ``"flooding"`` of a float64 system from a million
        directed edges on: faster, and refined to the same residual. Residuals are always evaluated in float64.
    device : "cpu", "cuda" or a torch device of these, optional
        Where to compute; where A is, by default. `gabp.backends` tells what is there.
    callback : callable, optional
        Called with a `Progress` once per sweep or step; returning True stops the solve.
    throw : bool
        Raise `ConvergenceError` where the solve does not converge; ``False`` returns the solution as it is.
    **options
        Of the method: ``start`` ("zero" or "constant") and ``damping`` of flooding; ``krylov`` ("bicgstab" or
        "gmres") of krylov.

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
    RuntimeError
        ``device`` is CUDA and cannot be used here.
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


def check(A: Any, *, blocks: Any = None) -> ConvergenceReport:
    """Find out whether Gaussian belief propagation converges on ``A``, with proofs where that is possible.

    Parameters
    ----------
    A : as in `solve`
        Asymmetry, nonpositive diagonals and indefiniteness are reported, not raised.
    blocks : as in `solve`, optional
        Vector-valued nodes; the report then has their ``block_walk_radius`` too.

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
    return conditions.check(A, blocks=blocks, solver=m_matrix_solver, recommend=recommended_method)


def marginals(
    A: Any,
    b: Any,
    *,
    variance: VarianceKind = "bethe",
    rtol: float | None = None,
    probes: int | None = None,
    seed: int | None = None,
) -> Marginals:
    """Mean and variance of every variable of ``p(x) ∝ exp(-½ xᵀA x + bᵀx)``.

    Parameters
    ----------
    A : matrix, shape (n, n)
        Symmetric positive definite; any kind that `gabp.solve` takes.
    b : numpy array or torch tensor, shape (n,)
    variance : {"bethe", "exact", "corrected"}
        ``"bethe"``: from the messages, cheap; exact on a forest (and then labelled ``"exact"``), an approximation
        elsewhere. ``"exact"``: ``diag(A⁻¹)`` by the selected inverse of a sparse factor. ``"corrected"``: an
        unbiased estimate with a standard error, for matrices whose factor does not fit; from samples of the model
        or, where it cannot be sampled, from coloured probing.
    rtol : float, optional
        Of ``corrected``: the standard error wanted, relative to the variance, at the worst node; 0.02 by default.
    probes : int, optional
        Of ``corrected``: the number of samples or probes to use, whatever the error.
    seed : int, optional
        Of ``corrected``.

    Returns
    -------
    Marginals

    Raises
    ------
    NotPositiveDefiniteError (an InvalidSystemError)
        There is no Gaussian with this precision matrix.
    ArithmeticError
        ``"bethe"``: the precision messages have no valid fixed point.
    MemoryError
        ``"exact"``: the factor would not fit; the message says how large it is.

    References
    ----------
    K. Takahashi, J. Fagan and M.-S. Chen, "Formation of a sparse bus impedance matrix and its application to
    short circuit study", PICA 1973. P. Sidén, F. Lindgren, D. Bolin and M. Villani, "Efficient covariance
    approximations for large sparse precision matrices", J. Comput. Graph. Stat. 27 (2018). J. M. Tang and Y. Saad,
    "A probing method for computing the diagonal of a matrix inverse", Numer. Linear Algebra Appl. 19 (2012).

    Examples
    --------
    >>> import numpy as np, gabp
    >>> A = np.array([[6.4228, 2.0845, 2.1617], [2.0845, 4.7798, 1.2418], [2.1617, 1.2418, 5.5250]])
    >>> b = np.ones(3)
    >>> gabp.marginals(A, b, variance="exact").variance.round(4)
    array([0.1996, 0.2474, 0.2116])
    >>> gabp.marginals(A, b).variance.round(5)
    array([0.22042, 0.27313, 0.23361])
    """
    return Gaussian(A, b).marginals(variance, rtol=rtol, probes=probes, seed=seed)


def logdet(A: Any, *, kind: str = "exact") -> Any:
    """``log det A`` of a symmetric positive definite matrix: a float, or a 0-d tensor for a torch matrix.

    Parameters
    ----------
    A : matrix, shape (n, n)
        Any kind that `gabp.solve` takes. Where it is a tensor that requires grad, so does the result.
    kind : {"exact", "bethe"}
        From the pivots of a sparse factor, or from the messages: exact on a forest, an approximation elsewhere.

    Raises
    ------
    NotPositiveDefiniteError, ArithmeticError, MemoryError
        See `gabp.marginals`.

    Examples
    --------
    >>> import numpy as np, gabp
    >>> round(gabp.logdet(np.array([[2.0, -1.0], [-1.0, 2.0]])), 10)
    1.0986122887
    """
    return Gaussian(A).logdet(kind)


def sample(A: Any, b: Any = None, size: int = 1, *, seed: int | None = None) -> Any:
    """Independent samples of ``N(A⁻¹b, A⁻¹)``, shape (size, n).

    Through a sparse factor where it fits; else, for a walk-summable A, by solving for randomly perturbed
    right-hand sides, which is exact in distribution too.

    Parameters
    ----------
    A : matrix, shape (n, n)
        Symmetric positive definite; any kind that `gabp.solve` takes.
    b : numpy array or torch tensor, shape (n,), optional
        Zero by default.
    size : int
    seed : int, optional
        The same seed gives the same samples.

    Examples
    --------
    >>> import numpy as np, gabp
    >>> A = np.array([[2.0, -1.0], [-1.0, 2.0]])
    >>> x = gabp.sample(A, size=1000, seed=1)
    >>> x.shape, bool(abs(np.cov(x.T) - np.linalg.inv(A)).max() < 0.1)
    ((1000, 2), True)
    """
    return Gaussian(A, b).sample(size, seed)


def backends() -> dict[str, str]:
    """What can run here, and why not where it cannot.

    Returns
    -------
    dict of str to str
        ``"torch"`` (plain torch, runs everywhere), ``"cpu"`` (compiled kernels) and ``"cuda"``. A sentence that
        begins with ``"available"``, or the reason why not.

    Examples
    --------
    >>> import gabp
    >>> list(gabp.backends())
    ['torch', 'cpu', 'cuda']
    >>> gabp.backends()["torch"].startswith("available")
    True
    """
    return dispatch.backends()
