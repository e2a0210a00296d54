"""Set up once for a matrix, solve for any number of right-hand sides."""

import time
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse.linalg
import torch

from gabp.conditions import ConvergenceReport, check_system
from gabp.solvers.auto import Choice, recommended_method
from gabp.solvers.hierarchy import Hierarchy, hierarchy_class, m_matrix_solver
from gabp.solvers.method_sequence import MethodSequence, Settings
from gabp.solvers.near_nullspace import read_near_nullspace
from gabp.solvers.protocol import MethodSetup
from gabp.solvers.refinement import IterationResult, Progress, Request, Tolerances, backward_errors
from gabp.solvers.solution import ConvergenceError, Solution, Status
from gabp.system import (
    Columns,
    InvalidSystemError,
    System,
    make_system,
    read_columns,
    read_matrix,
    read_values,
)
from gabp.system.blocks import read_partition
from gabp.system.vectors import column_norms, over_power_of_two, times_power_of_two


class Solver:
    """A linear system set up for repeated solution by Gaussian belief propagation.

    Parameters
    ----------
    A : scipy sparse, torch sparse or dense, or 2-D numpy array, shape (n, n)
    method : str
        ``"auto"``, ``"tree"``, ``"flooding"``, ``"sequential"``, ``"double-loop"``, ``"hierarchy"``, ``"krylov"`` or
        ``"elimination"``; see `gabp.solve` for which go with blocks and with general matrices.
    symmetric : bool
        Whether A must be symmetric (to rounding in its own dtype), as a precision matrix is.
    blocks : int, "auto" or integer array of shape (n,), optional
        Vector-valued nodes; see `gabp.solve`.
    dtype : float32 or float64, optional
        Of the messages; A's own by default, but float32 in ``"flooding"`` of a float64 system from a million
        directed edges on, where that is faster: corrections in float32 are refined to the same residual, with
        float64 messages to fall back on. Residuals are always evaluated in float64.
    device : torch device, optional
        Where to compute; where A is, by default.
    near_nullspace : array, shape (n, k), optional
        Vectors that A nearly annihilates, which ``"hierarchy"`` represents exactly on its coarse levels: for elasticity
        `gabp.rigid_body_modes`. Implies ``blocks="auto"`` where no blocks are given.
    **options
        Of the method; see `gabp.solve`.

    Raises
    ------
    TypeError, InvalidSystemError
        See `gabp.solve`.

    Examples
    --------
    >>> import numpy as np, scipy.sparse as sp, gabp
    >>> A = sp.diags_array([[-1.0] * 3, [2.0] * 4, [-1.0] * 3], offsets=[-1, 0, 1])
    >>> solver = gabp.Solver(A)
    >>> solver.method
    'tree'
    >>> solver.solve(np.array([1.0, 0.0, 0.0, 1.0])).x
    array([1., 1., 1., 1.])
    """

    def __init__(
        self,
        A: Any,
        *,
        method: str = "auto",
        symmetric: bool = True,
        blocks: Any = None,
        dtype: Any = None,
        device: Any = None,
        near_nullspace: Any = None,
        **options: Any,
    ) -> None:
        began = time.perf_counter()
        if not isinstance(method, str):
            raise TypeError(f"method must be a string, not {type(method).__name__}")
        if not isinstance(symmetric, (bool, np.bool_)):
            raise TypeError(f"symmetric must be True or False, not {symmetric!r}")
        matrix = read_matrix(A, device)
        if near_nullspace is not None and blocks is None:
            blocks = "auto"
        partition = None if blocks is None else read_partition(blocks, matrix)
        system = make_system(matrix, bool(symmetric))
        vectors = None if near_nullspace is None else read_near_nullspace(near_nullspace, system.n)
        settings = Settings(method, dtype, device, partition, vectors, options)
        self._assemble(A, settings, MethodSequence.of(system, settings), began)
        self._attach(A)

    @classmethod
    def of_method(cls, A: Any, choice: Choice, set_up: Callable[[System], MethodSetup], began: float) -> "Solver":
        """A solver of ``A x = b`` by a method that needs more of the problem than A.

        Parameters
        ----------
        A : matrix, shape (n, n)
        choice : Choice
        set_up : callable
            From the system to the method, set up.
        began : float
            `time.perf_counter` at the start of the set-up.
        """
        system = make_system(read_matrix(A))
        solver = cls.__new__(cls)
        solver._assemble(A, Settings(choice.method), MethodSequence(system, [choice], set_up(system)), began)
        solver._attach(A)
        return solver

    def update(self, values: Any) -> "Solver":
        """A solver for new values on the same pattern; what depends on the pattern alone is kept.

        Parameters
        ----------
        values : array, shape (nnz,), or a matrix
            The new values in the order in which A stores its entries (scipy CSR, CSC, COO; torch COO, CSR, CSC),
            or a whole matrix of any kind with the same pattern.

        Returns
        -------
        Solver
            A new one; this one is left as it is.

        Raises
        ------
        InvalidSystemError
            The values do not fit, or are no valid system; see `gabp.solve`.
        """
        began = time.perf_counter()
        system = make_system(read_values(self._given, values, self._settings.device), self.system.symmetric)
        graph = self.system.graph
        if not (torch.equal(system.graph.start, graph.start) and torch.equal(system.graph.source, graph.source)):
            raise InvalidSystemError("the pattern differs from that of the matrix the solver was set up for")
        updated = type(self).__new__(type(self))
        methods = MethodSequence.of(replace(system, graph=graph), self._settings, self._methods.first)
        updated._assemble(self._given, self._settings, methods, began)
        updated._attach(values)
        return updated

    def _assemble(self, given: Any, settings: Settings, methods: MethodSequence, began: float) -> None:
        """Set every attribute; ``given`` is the matrix whose index arrays place the values of `update`."""
        self._given, self._settings, self._methods = given, settings, methods
        self.system = methods.system
        self.setup_seconds = time.perf_counter() - began

    def _attach(self, values: Any) -> None:
        """Keep the values that gradients flow to, as given to the constructor or to `update`: none here."""

    def _with_gradients(self, b: Any, solution: Solution, tolerances: Tolerances) -> Solution:
        """The solution, differentiable where ``b`` or the values attached require grad: never here."""
        return solution

    @property
    def method(self) -> str:
        """The method that is tried first."""
        return self._methods.choices[0].method

    @property
    def n(self) -> int:
        """Unknowns."""
        return self.system.n

    @property
    def _prepared(self) -> MethodSetup:
        return self._methods.first

    @cached_property
    def report(self) -> ConvergenceReport:
        """What is known about the convergence of messages on this matrix; see `gabp.check`."""
        return check_system(self.system, self._settings.partition, solver=m_matrix_solver, recommend=recommended_method)

    def aspreconditioner(self) -> scipy.sparse.linalg.LinearOperator:
        """A fixed, linear, symmetric positive definite approximation of ``A⁻¹``, for scipy's ``cg``.

        One V-cycle of elimination sweeps on the hierarchy of A, whatever method the solver itself uses.

        Returns
        -------
        LinearOperator
            Of shape (n, n), in float64.

        Raises
        ------
        InvalidSystemError
            A is not symmetric, or has a nonpositive diagonal entry.
        """
        if not self.system.symmetric:
            raise InvalidSystemError("a symmetric preconditioner needs a symmetric system")
        hierarchy = self._prepared
        if not (isinstance(hierarchy, Hierarchy) and hierarchy.is_linear):
            hierarchy = hierarchy_class(self.system)(self.system)
        cycle = hierarchy.precondition

        def precondition(r: np.ndarray) -> np.ndarray:
            columns = torch.from_numpy(np.ascontiguousarray(r, dtype=np.float64).reshape(self.n, -1))
            return cycle(columns).numpy().reshape(r.shape)

        return scipy.sparse.linalg.LinearOperator(
            (self.n, self.n), matvec=precondition, rmatvec=precondition, matmat=precondition, dtype=np.float64
        )

    def __repr__(self) -> str:
        choice = self._methods.choices[0]
        return (
            f"Solver: {self.n} unknowns, {self.system.graph.edges} directed edges, {self._methods.dtype}\n"
            f"  method  {choice.method} ({choice.reason})\n"
            f"  set-up  {self.setup_seconds:.3g} s"
        )

    def solve(
        self,
        b: Any,
        x0: Any = None,
        *,
        rtol: float | None = None,
        atol: float = 0.0,
        maxiter: int | None = None,
        callback: Callable[[Progress], Any] | None = None,
        throw: bool = True,
    ) -> Solution:
        """Solve ``A x = b``.

        Parameters
        ----------
        b : numpy array or torch tensor, shape (n,) or (n, k)
        x0 : numpy array or torch tensor, shape of b, optional
            Starting point; zero by default.
        rtol, atol : float
            Converged means ``‖b - A x‖₂ <= max(rtol ‖b‖₂, atol)`` in every column. ``rtol`` is 1e-8 by default, 1e-5
            where x is float32.
        maxiter : int, optional
            Sweeps or iterations at most (10,000 by default).
        callback : callable, optional
            Called with a `Progress` once per iteration; returning True stops the solve.
        throw : bool
            Raise where the solve does not converge; ``False`` returns the solution as it is.

        Returns
        -------
        Solution
            ``x`` in b's array library, device, shape and float dtype. Where b is a torch tensor and b or A's values
            require grad, so does ``x``.

        Raises
        ------
        TypeError, InvalidSystemError
            An argument of the wrong kind or content; see `gabp.solve`.
        ConvergenceError
            See ``throw``.
        """
        columns = read_columns(b, self.n, "b", self.system.device)
        began = time.perf_counter()
        tolerances = Tolerances(rtol, atol, maxiter)
        request = self._request(columns, tolerances, x0, callback)
        return self._with_gradients(b, self._answer(request, columns, began, throw), tolerances)

    def solve_columns(self, columns: Columns, rtol: float | None = None) -> Solution:
        """Solve for right-hand sides that are read already; otherwise as `solve`."""
        began = time.perf_counter()
        return self._answer(self._request(columns, Tolerances(rtol)), columns, began)

    def _request(
        self,
        columns: Columns,
        tolerances: Tolerances,
        x0: Any = None,
        callback: Callable[[Progress], Any] | None = None,
    ) -> Request:
        rtol, atol, maxiter = tolerances.checked(columns.dtype)
        if callback is not None and not callable(callback):
            raise TypeError(f"callback must be callable, not {type(callback).__name__}")
        b = columns.in_units
        b_norm = column_norms(b).tolist()
        tolerance = [rtol * norm for norm in b_norm]
        if atol > 0:
            least = columns.to_units(torch.full_like(b[0], atol)).tolist()
            tolerance = list(map(max, tolerance, least))
        return Request(
            b=b,
            x0=None if x0 is None else self._start(x0, columns),
            b_norm=b_norm,
            tolerance=tolerance,
            maxiter=maxiter,
            answer_dtype=columns.dtype,
            callback=callback,
            restore=lambda x: columns.restore(times_power_of_two(x, columns.answer_exponent)),
        )

    def _start(self, x0: Any, columns: Columns) -> torch.Tensor:
        given = read_columns(x0, self.n, "x0", self.system.device)
        if given.values.shape != columns.values.shape:
            raise InvalidSystemError(f"x0 has shape {tuple(x0.shape)}, which is not that of b")
        return torch.nan_to_num(columns.to_units(given.values), posinf=0.0, neginf=0.0)

    def _answer(self, request: Request, columns: Columns, began: float, throw: bool = True) -> Solution:
        result, method, reason = self._methods.run(request)
        solution = self._solution(result, method, reason, columns, began)
        if throw and not solution.converged and solution.status is not Status.STOPPED_BY_CALLBACK:
            raise ConvergenceError(solution)
        return solution

    def _solution(self, result: IterationResult, method: str, reason: str, columns: Columns, began: float) -> Solution:
        best, status, shape = result.best, result.status, () if columns.single else (-1,)
        backward = backward_errors(self.system, best.x, columns.in_units, best.residual)
        residual_norm = columns.from_units(torch.tensor(best.norm, dtype=torch.float64, device=best.x.device))
        x = times_power_of_two(best.x, columns.answer_exponent)
        given = over_power_of_two(x.to(columns.dtype).double(), columns.answer_exponent)
        if status is Status.CONVERGED and given is not best.x and not torch.equal(given, best.x):
            status = Status.STAGNATED  # x lies beyond the range of the dtype it is given back in
        return Solution(
            x=columns.restore(x),
            converged=status is Status.CONVERGED,
            status=status,
            iterations=result.iterations,
            residual_norm=residual_norm.cpu().numpy().reshape(shape),
            backward_error=np.array(backward).reshape(shape),
            method=method,
            method_reason=reason,
            backend=self.system.backend,
            history=result.history,
            setup_seconds=self.setup_seconds,
            solve_seconds=time.perf_counter() - began,
        )
