"""Linear least squares, as a pairwise model and as a factor graph."""

import time
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import scipy.sparse
import torch
from torch import Tensor

from gabp.messages.factor_graph import FactorGraph, FactorSweeps
from gabp.solvers.auto import Choice
from gabp.solvers.protocol import InnerSolve, MethodSetup
from gabp.solvers.schedules import SweepCorrection
from gabp.solvers.solution import Solution
from gabp.solvers.solver import Solver
from gabp.system import Columns, InvalidSystemError, System, read_rectangular
from gabp.system.vectors import times_power_of_two

_ASYMMETRY = 1e-12  # of the largest entry, up to which a prior counts as symmetric
_NO_SIZE = np.iinfo(np.int32).min  # the binary exponent of zero
Form = Literal["auto", "factor", "pairwise"]


@dataclass(frozen=True, eq=False)
class FactorForm(MethodSetup):
    """Belief propagation on the factor graph of variables and measurements of a least squares problem.

    Solves ``(FᵀWF + Λ) y = r`` with ``r`` as unary potentials, so that refinement works as for any method.
    """

    system: System
    graph: FactorGraph

    def correct(self, r: Tensor, target: Tensor) -> InnerSolve:
        return SweepCorrection(FactorSweeps(self.graph, r, self.graph.damping))


def lstsq(
    F: Any,
    y: Any,
    *,
    noise_variance: Any = 1.0,
    prior_precision: Any = None,
    form: Form = "auto",
    rtol: float | None = None,
) -> Solution:
    """The mean of ``x`` given measurements ``y = F x + noise``: linear least squares by message passing.

    Minimises ``Σ_a (F x - y)_a² / v_a + xᵀ Λ x`` for noise variances ``v`` and a prior precision ``Λ``. An unknown that
    appears in no measurement or prior is 0.

    Parameters
    ----------
    F : scipy sparse, torch sparse or dense, or 2-D numpy array, shape (m, n)
    y : numpy array or torch tensor, shape (m,) or (m, k)
    noise_variance : float or array, shape (m,)
    prior_precision : float, array of shape (n,), or symmetric matrix of shape (n, n), optional
        ``Λ``, or its diagonal. None is no prior. The form ``"factor"`` takes no more than a diagonal.
    form : {"auto", "factor", "pairwise"}
        ``"pairwise"`` floods the normal equations ``(FᵀWF + Λ) x = FᵀWy``, a pairwise model of the variables.
        ``"factor"`` sends messages between variables and measurements, from improper (zero-precision) messages and
        damped as far as the problem needs. They converge on different problems. ``"auto"`` solves the normal equations
        by the method that `gabp.solve` chooses for them.
    rtol : float, optional
        ``‖FᵀW(y - F x) - Λ x‖ <= rtol ‖FᵀWy‖``; 1e-8 by default, 1e-5 for a float32 ``y``.

    Returns
    -------
    Solution
        ``x``, shape (n,) or (n, k), in y's array library, device and dtype; ``residual_norm`` is that of the normal
        equations.

    Raises
    ------
    TypeError, InvalidSystemError
        Arguments of the wrong kind, shape or content; the place is named.
    ConvergenceError
        The form does not converge on this problem.

    References
    ----------
    D. Bickson, "Gaussian belief propagation: theory and application", arXiv:0811.2518 (the pairwise form).

    Examples
    --------
    >>> import numpy as np, gabp
    >>> F = np.array([[3.0, 2.0, -1.0], [-2.0, 2.0, 1.0], [1.0, 1.0, 1.0]])
    >>> gabp.lstsq(F, np.array([6.0, 3.0, 4.0])).x.round(6)
    array([1., 2., 1.])
    """
    if form not in ("auto", "factor", "pairwise"):
        raise InvalidSystemError(f"form must be 'auto', 'factor' or 'pairwise', not {form!r}")
    rows = read_rectangular(F, "F")
    m, n = rows.shape
    variance = _read_weights(noise_variance, m, "noise_variance")
    if not (variance > 0).all():
        i = int(np.flatnonzero(~(variance > 0))[0])
        raise InvalidSystemError(f"noise_variance[{i}] is {variance[i]}; it must be positive")
    prior = _read_prior(prior_precision, n)
    if form == "factor" and prior.nnz > np.count_nonzero(prior.diagonal()):
        raise InvalidSystemError("prior_precision has nonzeros off its diagonal, which form='factor' cannot take")
    unit = _Unit.of(rows, variance, prior)
    weighted = scipy.sparse.diags_array(1 / unit.variance) @ unit.rows
    normal = (unit.rows.T @ weighted + unit.prior).tocsr()
    potential = _project(unit, weighted, y)
    if form == "auto":
        solver = Solver(normal)
    elif form == "pairwise":
        solver = Solver(normal, method="flooding")
    else:
        solver = _factor_solver(normal, unit.rows, unit.variance, unit.prior.diagonal())
    return solver.solve_columns(potential, rtol=rtol)


@dataclass(frozen=True, eq=False)
class _Unit:
    """The problem scaled by powers of two, so that its products neither overflow nor vanish as a whole.

    ``rows[a] = 2**(row_exponent[a] - exponent) F[a]`` has its largest entry near 1 or below, the variances
    ``4**row_exponent v`` are near 1, and the prior precisions ``4**-exponent Λ`` are at most about 1; an unknown that
    appears in no measurement or prior has the prior precision 1.
    """

    rows: scipy.sparse.csr_array
    variance: np.ndarray
    prior: scipy.sparse.csr_array
    row_exponent: np.ndarray
    exponent: int

    @staticmethod
    def of(rows: scipy.sparse.csr_array, variance: np.ndarray, prior: scipy.sparse.csr_array) -> "_Unit":
        row_exponent = -(np.frexp(variance)[1] // 2)
        shift = np.repeat(row_exponent, np.diff(rows.indptr))
        sizes = (np.frexp(rows.data)[1] + shift)[rows.data != 0]
        priors = -(-np.frexp(prior.data)[1] // 2)
        largest = np.concatenate([sizes, priors])
        exponent = int(largest.max()) if largest.size else 0
        unit = rows.copy()
        unit.data = np.ldexp(rows.data, shift - exponent)
        isolated = np.ones(rows.shape[1])
        isolated[rows.indices], isolated[prior.indices] = 0.0, 0.0
        scaled = prior.copy()
        scaled.data = np.ldexp(prior.data, -2 * exponent)
        scaled = (scaled + scipy.sparse.diags_array(isolated)).tocsr()
        return _Unit(unit, np.ldexp(variance, 2 * row_exponent), scaled, row_exponent, exponent)


@dataclass(frozen=True, eq=False)
class _Projected(Columns):
    """``FᵀW y`` of a scaled problem; the residual and x are in the units of F and y.

    Attributes
    ----------
    size : Tensor, shape (k,), int
        Each column of y was divided by ``2**size``.
    unit : int
        F was divided by ``2**unit``.
    """

    size: Tensor
    unit: int

    @property
    def answer_exponent(self) -> Tensor:
        return self._own + self.size - self.unit

    @cached_property
    def exponent(self) -> Tensor:
        return self._own + self.size + self.unit

    @cached_property
    def in_units(self) -> Tensor:
        return times_power_of_two(self.values, -self._own)

    @cached_property
    def _own(self) -> Tensor:
        return torch.frexp(torch.tensor(self.largest, dtype=torch.float64)).exponent


def _factor_solver(
    normal: scipy.sparse.csr_array, rows: scipy.sparse.csr_array, variance: np.ndarray, prior: np.ndarray
) -> Solver:
    began = time.perf_counter()
    triplets = rows.tocoo()
    graph = FactorGraph.at_fixed_point(
        torch.from_numpy(triplets.row.astype(np.int64)),
        torch.from_numpy(triplets.col.astype(np.int64)),
        torch.from_numpy(triplets.data),
        torch.from_numpy(variance),
        torch.from_numpy(prior),
    )
    damping = f"damping {graph.damping}" if graph.damping else "without damping"
    choice = Choice("factor", f"messages between variables and measurements, {damping}")
    return Solver.of_method(normal, choice, lambda system: FactorForm(system, graph), began)


def _project(unit: _Unit, weighted: scipy.sparse.csr_array, y: Any) -> _Projected:
    """``FᵀW y`` in units, with the way back to y's array library, device and dtype."""
    m = len(unit.row_exponent)
    if not isinstance(y, (Tensor, np.ndarray)):
        raise TypeError(f"y must be a numpy array or a dense torch tensor, not {type(y).__name__}")
    if y.ndim not in (1, 2) or y.shape[0] != m:
        raise InvalidSystemError(f"y has shape {tuple(y.shape)}, but F has {m} rows: expected ({m},) or ({m}, k)")
    values = y.detach().cpu().numpy() if isinstance(y, Tensor) else y
    if values.dtype.kind not in "fiub":
        raise TypeError(f"y must hold real numbers, not {values.dtype}")
    if not np.isfinite(values).all():
        place = [int(i) for i in np.argwhere(~np.isfinite(values))[0]]
        raise InvalidSystemError(f"y{place} is {values[tuple(place)]}; every value must be finite")
    single, dtype = values.ndim == 1, torch.float32 if values.dtype == np.float32 else torch.float64
    columns = values.astype(np.float64).reshape(m, -1)
    if columns.shape[1] == 0:
        raise InvalidSystemError(f"y is empty (shape {values.shape})")
    shift = unit.row_exponent[:, None]
    size = np.where(columns != 0, np.frexp(columns)[1] + shift, _NO_SIZE).max(0)
    size[size == _NO_SIZE] = 0
    projected = weighted.T @ np.ldexp(columns, shift - size)

    def restore(x: Tensor) -> Any:
        x = (x[:, 0] if single else x).to(dtype)
        return x.to(y.device) if isinstance(y, Tensor) else x.numpy()

    shared, largest = torch.from_numpy(projected), np.abs(projected).max(0).tolist()
    return _Projected(shared, largest, dtype, restore, single, torch.from_numpy(size), unit.exponent)


def _read_prior(prior_precision: Any, n: int) -> scipy.sparse.csr_array:
    """``Λ`` as a matrix without stored zeros, symmetric and with no negative diagonal entry."""
    if prior_precision is None:
        return scipy.sparse.csr_array((n, n))
    if not scipy.sparse.issparse(prior_precision) and getattr(prior_precision, "ndim", 0) != 2:
        diagonal = _read_weights(prior_precision, n, "prior_precision")
        prior = scipy.sparse.diags_array(diagonal).tocsr()
        prior.eliminate_zeros()
    else:
        prior = read_rectangular(prior_precision, "prior_precision")
        if prior.shape != (n, n):
            raise InvalidSystemError(
                f"prior_precision has shape {prior.shape}; expected a number, ({n},) or ({n}, {n})"
            )
        prior = _symmetrised(prior)
    if (prior.diagonal() < 0).any():
        i = int(np.flatnonzero(prior.diagonal() < 0)[0])
        raise InvalidSystemError(f"prior_precision[{i}] is {prior.diagonal()[i]}; it must not be negative")
    return prior


def _symmetrised(prior: scipy.sparse.csr_array) -> scipy.sparse.csr_array:
    apart = abs(prior - prior.T).tocoo()
    if apart.nnz and apart.data.max() > _ASYMMETRY * abs(prior).max():
        e = int(apart.data.argmax())
        i, j = int(apart.row[e]), int(apart.col[e])
        raise InvalidSystemError(
            f"prior_precision is not symmetric: [{i}, {j}] = {prior[i, j]} against [{j}, {i}] = {prior[j, i]}"
        )
    return (0.5 * (prior + prior.T)).tocsr()


def _read_weights(values: Any, size: int, name: str) -> np.ndarray:
    values = values.detach().cpu().numpy() if isinstance(values, Tensor) else values
    weights = np.asarray(values)
    if weights.dtype.kind not in "fiub":
        raise TypeError(f"{name} must be a number or an array of numbers, not {type(values).__name__}")
    if weights.shape not in ((), (size,)):
        raise InvalidSystemError(f"{name} has shape {weights.shape}; expected a number or ({size},)")
    weights = np.broadcast_to(weights, (size,)).astype(np.float64)
    if not np.isfinite(weights).all():
        i = int(np.flatnonzero(~np.isfinite(weights))[0])
        raise InvalidSystemError(f"{name}[{i}] is {weights[i]}; every value must be finite")
    return weights
