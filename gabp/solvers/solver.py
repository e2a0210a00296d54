"""Set up once for a matrix, solve for any number of right-hand sides."""

import copy
import logging
import time
from collections.abc import Callable
from dataclasses import fields, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import scipy.sparse.linalg
import torch

from gabp.conditions import ConvergenceReport, check_system
from gabp.solvers.auto import Choice, can_eliminate, choose, method_class, recommended_method, worth_eliminating
from gabp.solvers.blocks import BLOCK_METHODS, choose_blocks
from gabp.solvers.hierarchy import CompiledHierarchy, hierarchy_class, m_matrix_solver
from gabp.solvers.protocol import MethodSetup
from gabp.solvers.refinement import Outcome, Progress, Request, backward_errors, is_at_rounding, iterate
from gabp.solvers.solution import ConvergenceError, Solution, Status
from gabp.system import (
    Columns,
    InvalidSystemError,
    System,
    make_system,
    read_columns,
    read_matrix,
    read_values,
    require_nonnegative,
    working_dtype,
)
from gabp.system.blocks import BlockPartition, BlockSystem, read_partition
from gabp.system.vectors import column_norms, times_power_of_two

_log = logging.getLogger("gabp")
_MAXITER = 10_000


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
        **options: Any,
    ) -> None:
        began = time.perf_counter()
        if not isinstance(method, str):
            raise TypeError(f"method must be a string, not {type(method).__name__}")
        if not isinstance(symmetric, (bool, np.bool_)):
            raise TypeError(f"symmetric must be True or False, not {symmetric!r}")
        self._given = A  # its index arrays place the values of `update`; nothing is copied
        self._asked_method, self._dtype, self._device, self._options = method, dtype, device, options
        matrix = read_matrix(A, device)
        self._partition: BlockPartition | None = None if blocks is None else read_partition(blocks, matrix)
        self._set_up(make_system(matrix, bool(symmetric)), began)

    def _set_up(self, system: System, began: float, like: MethodSetup | None = None) -> None:
        self.system = system
        self._fallbacks: dict[Choice, MethodSetup] = {}
        self._working = system.dtype if self._dtype is None else working_dtype(self._dtype)
        self._blocks = None if self._partition is None else BlockSystem.of(system, self._partition)
        if self._blocks is None:
            may_round = self._dtype is None and self._options.get("settle", True) is True
            self._choices = choose(system, self._asked_method, may_round)
        else:
            self._choices = choose_blocks(system, self._blocks, self._asked_method)
        self._prepared = self._prepare(self._choices[0], like)
        if self._choices[0].dtype is not None and self._prepared.failure is not None:
            self._choices = self._choices[1:]  # the digits may be what failed
            self._prepared = self._prepare(self._choices[0])
        self.setup_seconds = time.perf_counter() - began

    @classmethod
    def prepared(cls, A: Any, choice: Choice, method: Callable[[System], MethodSetup], began: float) -> "Solver":
        """A solver of ``A x = b`` by a method that knows more of the problem than A.

        Parameters
        ----------
        A : matrix, shape (n, n)
        choice : Choice
        method : callable
            From the system to the method, set up.
        began : float
            `time.perf_counter` at the start of the set-up.
        """
        solver = cls.__new__(cls)
        solver._given = A
        solver._partition, solver._blocks = None, None
        solver._asked_method, solver._dtype, solver._device, solver._options = choice.method, None, None, {}
        solver.system = make_system(read_matrix(A))
        solver._working = solver.system.dtype
        solver._choices, solver._fallbacks = [choice], {}
        solver._prepared = method(solver.system)
        solver.setup_seconds = time.perf_counter() - began
        return solver

    def update(self, values: Any) -> "Solver":
        """A solver for new values on the same pattern; what depends on the pattern alone is kept.

        Parameters
        ----------
        values : array, shape (nnz,), or a matrix
            The new values in the order in which A stores its entries (scipy CSR, CSC, COO; torch COO, CSR, CSC),
            or a whole matrix of any kind with the same pattern.

        Raises
        ------
        InvalidSystemError
            The values do not fit, or are no valid system; see `gabp.solve`.
        """
        began = time.perf_counter()
        system = make_system(read_values(self._given, values, self._device), self.system.symmetric)
        graph = self.system.graph
        if not (torch.equal(system.graph.start, graph.start) and torch.equal(system.graph.source, graph.source)):
            raise InvalidSystemError("the pattern differs from that of the matrix the solver was set up for")
        updated = copy.copy(self)
        updated._set_up(replace(system, graph=graph), began, like=self._prepared)
        return updated

    @property
    def method(self) -> str:
        """The method that is tried first."""
        return self._choices[0].method

    @property
    def n(self) -> int:
        """Unknowns."""
        return self.system.n

    @cached_property
    def report(self) -> ConvergenceReport:
        """What is known about the convergence of messages on this matrix; see `gabp.check`."""
        return check_system(self.system, self._partition, solver=m_matrix_solver, recommend=recommended_method)

    def aspreconditioner(self) -> scipy.sparse.linalg.LinearOperator:
        """A fixed, linear, symmetric positive definite approximation of ``A⁻¹``, for scipy's ``cg``.

        One V-cycle of elimination sweeps on the hierarchy of A, whatever method the solver itself uses.

        Raises
        ------
        InvalidSystemError
            A is not symmetric, or has a nonpositive diagonal entry.
        """
        if not self.system.symmetric:
            raise InvalidSystemError("a symmetric preconditioner needs a symmetric system")
        prepared = self._prepared
        kind = hierarchy_class(self.system)
        hierarchy = prepared if isinstance(prepared, kind) else kind(self.system)

        def precondition(r: np.ndarray) -> np.ndarray:
            columns = torch.from_numpy(np.ascontiguousarray(r, dtype=np.float64).reshape(self.n, -1))
            return hierarchy.precondition(columns).numpy().reshape(r.shape)

        return scipy.sparse.linalg.LinearOperator(
            (self.n, self.n), matvec=precondition, rmatvec=precondition, matmat=precondition, dtype=np.float64
        )

    def __repr__(self) -> str:
        choice = self._choices[0]
        return (
            f"Solver: {self.n} unknowns, {self.system.graph.edges} directed edges, {self._working}\n"
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
        """Solve ``A x = b``; the arguments are those of `gabp.solve`."""
        columns = read_columns(b, self.n, "b", self.system.device)
        began = time.perf_counter()
        return self._answer(columns, self._request(columns, x0, rtol, atol, maxiter, callback), began, throw)

    def solve_columns(self, columns: Columns, rtol: float | None = None) -> Solution:
        """Solve for right-hand sides that are read already; otherwise as `solve`."""
        began = time.perf_counter()
        return self._answer(columns, self._request(columns, rtol=rtol), began)

    def _answer(self, columns: Columns, request: Request, began: float, throw: bool = True) -> Solution:
        solution = self._run(request, columns, began)
        if throw and not solution.converged and solution.status is not Status.STOPPED_BY_CALLBACK:
            raise ConvergenceError(solution)
        return solution

    def _request(
        self,
        columns: Columns,
        x0: Any = None,
        rtol: float | None = None,
        atol: float = 0.0,
        maxiter: int | None = None,
        callback: Callable[[Progress], Any] | None = None,
    ) -> Request:
        if rtol is None:
            rtol = 1e-5 if columns.dtype == torch.float32 else 1e-8
        require_nonnegative(rtol, "rtol")
        require_nonnegative(atol, "atol")
        maxiter = _MAXITER if maxiter is None else maxiter
        require_nonnegative(maxiter, "maxiter", integer=True)
        if callback is not None and not callable(callback):
            raise TypeError(f"callback must be callable, not {type(callback).__name__}")
        start = None
        if x0 is not None:
            given = read_columns(x0, self.n, "x0", self.system.device)
            if given.values.shape != columns.values.shape:
                raise InvalidSystemError(f"x0 has shape {tuple(x0.shape)}, which is not that of b")
            start = torch.nan_to_num(columns.to_units(given.values), posinf=0.0, neginf=0.0)
        b = columns.in_units
        return Request(
            b=b,
            x0=start,
            tolerance=torch.maximum(rtol * column_norms(b), columns.to_units(torch.full_like(b[0], atol))),
            maxiter=int(maxiter),
            answer_dtype=columns.dtype,
            callback=callback,
            restore=lambda x: columns.restore(times_power_of_two(x, columns.answer_exponent)),
        )

    def _run(self, request: Request, columns: Columns, began: float) -> Solution:
        """Try the methods in turn until one converges; each goes on from the best ``x`` so far."""
        spent, reason = 0, self._choices[0].reason
        history: tuple[float, ...] = ()
        for position, choice in enumerate(self._choices):
            prepared = self._prepared if position == 0 else self._fallback(choice)
            patient = replace(request, patience=choice.patience, give_up=partial(worth_eliminating, self.system))
            outcome = iterate(self.system, prepared, patient, choice.dtype or self._working)
            spent += outcome.iterations
            history += outcome.history
            reason += f"; {prepared.notes}" if prepared.notes else ""
            if position == len(self._choices) - 1 or not self._worth_going_on(outcome, request):
                break
            following = self._choices[position + 1]
            if following.method == "elimination" and not can_eliminate(self.system):
                reason += f"; {outcome.status.name} there, and a factor would take too much memory or time"
                break
            if following.method == choice.method and outcome.status is Status.DIVERGED:
                break  # no question of digits
            ended = "slow" if outcome.status is Status.MAX_ITERATIONS else outcome.status.name
            reason += f"; {ended} there, so {following.method}: {following.reason}"
            _log.info("%s was %s; trying %s", choice.method, ended, following.method)
            request = replace(request, x0=outcome.x, maxiter=request.maxiter - outcome.iterations)
        return self._solution(replace(outcome, iterations=spent, history=history), columns, choice, reason, began)

    def _worth_going_on(self, outcome: Outcome, request: Request) -> bool:
        """Whether another method may succeed where this one did not, or was given up."""
        if outcome.status is Status.STAGNATED:  # not where x is as good as float64 can make it
            return not is_at_rounding(self.system, outcome.x, request.b, outcome.residual)
        if outcome.status is Status.MAX_ITERATIONS:
            return outcome.iterations < request.maxiter
        return outcome.status not in (Status.CONVERGED, Status.STOPPED_BY_CALLBACK)

    def _fallback(self, choice: Choice) -> MethodSetup:
        """A later choice, set up at its first use."""
        if choice not in self._fallbacks:
            self._fallbacks[choice] = self._prepare(choice)
        return self._fallbacks[choice]

    def _prepare(self, choice: Choice, like: MethodSetup | None = None) -> MethodSetup:
        """The method set up for the matrix of this solver, in blocks where there are blocks and the method has them."""
        options = self._options if choice.method == self.method else {}  # which are those of the caller's method
        if self._blocks is not None and choice.method in BLOCK_METHODS:
            method = BLOCK_METHODS[choice.method]
            _require_known(method, choice, options)
            return method(self.system, self._blocks, **options)
        method = method_class(choice.method, self.system)
        _require_known(method, choice, options)
        working = choice.dtype or self._working
        if method is CompiledHierarchy and isinstance(like, CompiledHierarchy):
            return CompiledHierarchy(self.system.astype(working), like)
        return method(self.system if method.exact else self.system.astype(working), **options)

    def _solution(self, outcome: Outcome, columns: Columns, choice: Choice, reason: str, began: float) -> Solution:
        residual, status, shape = outcome.residual, outcome.status, () if columns.single else (-1,)
        backward = backward_errors(self.system, outcome.x, columns.in_units, residual)
        residual_norm = columns.from_units(column_norms(residual))
        x = times_power_of_two(outcome.x, columns.answer_exponent)
        given = times_power_of_two(x.to(columns.dtype).double(), -columns.answer_exponent)
        if status is Status.CONVERGED and given is not outcome.x and not torch.equal(given, outcome.x):
            status = Status.STAGNATED  # x lies beyond the range of the dtype it is given back in
        return Solution(
            x=columns.restore(x),
            converged=status is Status.CONVERGED,
            status=status,
            iterations=outcome.iterations,
            residual_norm=residual_norm.cpu().numpy().reshape(shape),
            backward_error=backward.cpu().numpy().reshape(shape),
            method=choice.method,
            method_reason=reason,
            backend=self.system.backend,
            history=outcome.history,
            setup_seconds=self.setup_seconds,
            solve_seconds=time.perf_counter() - began,
        )


def _require_known(method: Any, choice: Choice, options: dict[str, Any]) -> None:
    known = [field.name for field in fields(method) if field.init and field.name not in ("system", "blocks")]
    for option in options:
        if option not in known:
            raise TypeError(f"method {choice.method!r} has no option {option!r}; it has {', '.join(known) or 'none'}")
