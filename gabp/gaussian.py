"""Floor 4: the Gaussian model object. Its mean, variances, samples and densities from one set-up and one factor."""

import logging
import math
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gabp.autograd import bethe_gradients, implicit
from gabp.autograd.implicit import InverseOperator, requires_gradient
from gabp.autograd.nonzeros import Nonzeros, as_tensor, edge_indices
from gabp.conditions import Verdict, certify, search_negative_curvature
from gabp.marginals import (
    FactorSampler,
    Marginals,
    Sampler,
    VarianceKind,
    corrected_variances,
    make_generator,
    make_sampler,
    require_kind,
)
from gabp.messages import SparseFactor, factor_cost, fits_in_memory
from gabp.solvers import Solver, hierarchy_solve, m_matrix_solver
from gabp.system import (
    STRICT_DOMINANCE,
    InvalidSystemError,
    System,
    make_system,
    read_columns,
    read_matrix,
    require_positive_diagonal,
)
from gabp.system.nodes import read_nodes, read_pairs

_log = logging.getLogger("gabp")

_EDGES_OF_A_CERTIFICATE = 500_000  # directed edges up to which a factor may take less time than a certificate


class Gaussian:
    """The model ``p(x) ∝ exp(-½ xᵀA x + bᵀx)`` with precision A, potential b, mean ``A⁻¹ b`` and covariance ``A⁻¹``.

    Immutable and picklable; set-up, factor and messages are computed at first use and kept. Where A's values or b
    are torch tensors that require grad, means, Bethe and exact variances, covariances, log-determinants, densities,
    normalisers and conditioned models are twice differentiable. So are samples, pathwise:
    ``dx = dμ - ½ A⁻¹ dA (x - μ)``, which gives unbiased derivatives of expectations ``E f(x)``.

    Parameters
    ----------
    A : scipy sparse, torch sparse or dense, or 2-D numpy array, shape (n, n)
        Symmetric positive definite. Where x has unit u, A has unit 1/u².
    b : numpy array or torch tensor, shape (n,), optional
        In units of 1/u; zero by default. Results come in b's array library, device and float dtype; in A's where b is
        not given.

    Attributes
    ----------
    n : int
    solver : Solver

    Raises
    ------
    TypeError, InvalidSystemError
        See `gabp.solve`; also where b has more than one column.
    NotPositiveDefiniteError (an InvalidSystemError)
        By every method, not by the constructor: A is not positive definite.
    ArithmeticError
        By variances, marginals and log-determinants of kind ``"bethe"``: the precision messages have no valid
        fixed point, which is possible for positive definite A (see `gabp.check`).
    MemoryError
        By exact variances, covariances, log-determinants and densities: the sparse factor does not fit.

    Notes
    -----
    Where A is too large for a factor and not certified walk-summable, and a search for negative curvature ends
    undecided, marginals may be invalid; a warning is logged to ``logging.getLogger("gabp")``.

    References
    ----------
    H. Rue and L. Held, "Gaussian Markov Random Fields: Theory and Applications", Chapman & Hall/CRC (2005), chapter 2.

    Examples
    --------
    >>> import numpy as np, gabp
    >>> A = np.array([[2.0, -1.0], [-1.0, 2.0]])
    >>> model = gabp.Gaussian(A, np.array([1.0, 1.0]))
    >>> model.mean()
    array([1., 1.])
    >>> model.variances("exact")
    array([0.66666667, 0.66666667])
    >>> round(model.logdet(), 10)
    1.0986122887
    """

    def __init__(self, A: Any, b: Any = None) -> None:
        system = make_system(read_matrix(A))
        require_positive_diagonal(system, "marginals")
        nonzeros = Nonzeros.of(A, system)
        is_torch = isinstance(A if b is None else b, Tensor)
        dtype, device = system.dtype, system.device
        potential = torch.zeros(system.n, dtype=torch.float64, device=device)
        if b is not None:
            columns = read_columns(b, system.n, "b", device)
            if not columns.single:
                raise InvalidSystemError(f"b has shape {tuple(b.shape)}; a Gaussian has one potential vector (n,)")
            dtype = columns.dtype
            device = b.device if is_torch else system.device
            potential = b.to(system.device).double() if requires_gradient(b) else columns.values[:, 0].clone()
        self._system, self._nonzeros, self._potential = system, nonzeros, potential
        self._result_kind = (is_torch, dtype, device)

    # --- set-up, once per model -----------------------------------------------------------------------------

    @property
    def n(self) -> int:
        """Number of variables."""
        return self._system.n

    @cached_property
    def solver(self) -> Solver:
        """The `Solver` of ``A x = b`` behind means, samples and backward passes."""
        return Solver(as_tensor(self._system))

    @cached_property
    def _factor(self) -> SparseFactor:
        return SparseFactor(self._system)

    @cached_property
    def _definite_system(self) -> System:
        """The system, proven positive definite by a certificate or by its factor, whichever is cheaper.

        A model that is neither certified walk-summable nor small enough for a factor is searched for negative
        curvature (`gabp.conditions.search_negative_curvature`); an undecided search is logged as a warning.

        Raises
        ------
        NotPositiveDefiniteError
        """
        system = self._system
        if system.smallest_diagonal > 0 and system.is_dominant(STRICT_DOMINANCE):
            return system
        small = (
            system.graph.edges <= _EDGES_OF_A_CERTIFICATE
            and system.graph.symbolic.flops <= factor_cost.FLOPS_OF_A_CERTIFICATE
        )
        if not small and certify(system, m_matrix_solver).verdict is Verdict.YES:
            return system
        if fits_in_memory(system.graph):
            return self._factor.system
        if not search_negative_curvature(system, hierarchy_solve):
            _log.warning("definiteness of A unverified; marginals may be invalid")
        return system

    @cached_property
    def _sampler(self) -> Sampler | None:
        # a larger factor takes longer than samples by perturbed right-hand sides
        cheap = fits_in_memory(self._system.graph) and self._system.graph.symbolic.flops <= factor_cost.MOST_FLOPS
        return make_sampler(self._factor if cheap else None, self.solver)

    @cached_property
    def _factor_inverse(self) -> InverseOperator:
        return InverseOperator(self._system, None, self._factor)

    @cached_property
    def _solver_inverse(self) -> InverseOperator:
        return InverseOperator(self._definite_system, self.solver)

    def __getstate__(self) -> dict:
        return {
            "_system": self._system,
            "_nonzeros": self._nonzeros.detach(),
            "_potential": self._potential.detach(),
            "_result_kind": self._result_kind,
        }

    def __repr__(self) -> str:
        return f"Gaussian: {self.n} variables, {self._system.graph.edges // 2} edges, {self._system.dtype}"

    # --- queries --------------------------------------------------------------------------------------------

    def mean(self, *, rtol: float | None = None) -> Any:
        """The mean ``A⁻¹ b``, by the solver.

        Parameters
        ----------
        rtol : float, optional
            Relative tolerance of the residual, as in `gabp.solve`.

        Returns
        -------
        array, shape (n,)

        Raises
        ------
        NotPositiveDefiniteError
        ConvergenceError
            The solver does not reach the tolerance.

        Examples
        --------
        >>> import numpy as np, gabp
        >>> gabp.Gaussian(np.array([[2.0, -1.0], [-1.0, 2.0]]), np.array([1.0, 1.0])).mean()
        array([1., 1.])
        """
        return self._restore(self._mean(rtol))

    def variances(self, kind: VarianceKind = "bethe") -> Any:
        """Marginal variances ``diag(A⁻¹)``, in the squared units of the mean.

        Parameters
        ----------
        kind : {"bethe", "exact", "corrected"}
            See `gabp.marginals`. `marginals` also returns the kind and the standard errors.

        Returns
        -------
        array, shape (n,)

        Raises
        ------
        InvalidSystemError
            Unknown ``kind``, or ``"corrected"`` variances of a model that requires grad.
        NotPositiveDefiniteError
        ArithmeticError
            ``"bethe"``: the precision messages have no valid fixed point.
        MemoryError
            ``"exact"``: the factor does not fit.

        Examples
        --------
        >>> import numpy as np, gabp
        >>> gabp.Gaussian(np.array([[2.0, -1.0], [-1.0, 2.0]])).variances()
        array([0.66666667, 0.66666667])
        """
        require_kind(kind, ("bethe", "exact", "corrected"), "variance")
        return self._restore(self._variances(kind, None, None, None)[0])

    def marginals(
        self,
        variance: VarianceKind = "bethe",
        *,
        rtol: float | None = None,
        probes: int | None = None,
        seed: int | None = None,
    ) -> Marginals:
        """Means and variances of all variables.

        Parameters
        ----------
        variance : {"bethe", "exact", "corrected"}
        rtol : float, optional
        probes : int, optional
        seed : int, optional
            See `gabp.marginals`; the last three only concern ``"corrected"``.

        Returns
        -------
        Marginals

        Raises
        ------
        TypeError, InvalidSystemError, NotPositiveDefiniteError, ArithmeticError, MemoryError
            See `gabp.marginals`.

        Examples
        --------
        >>> import numpy as np, gabp
        >>> model = gabp.Gaussian(np.array([[2.0, -1.0], [-1.0, 2.0]]), np.array([1.0, 1.0]))
        >>> model.marginals("exact")
        Marginals of 2 variables, variances exact
          mean      1 .. 1
          variance  0.6667 .. 0.6667
        """
        require_kind(variance, ("bethe", "exact", "corrected"), "variance")
        _require_positive(rtol, "rtol", (int, float, np.floating))
        _require_positive(probes, "probes", (int, np.integer))
        mean = self._factored_mean() if variance == "exact" else self._mean()
        spread, kind, error = self._variances(variance, rtol, probes, seed)
        return Marginals(
            self._restore(mean), self._restore(spread), kind, None if error is None else self._restore(error)
        )

    def covariances(self, pairs: Any) -> Any:
        """Exact covariances ``(A⁻¹)_ij`` of pairs of variables.

        Variances and covariances on A's pattern come from the selected inverse (Takahashi, Fagan and Chen 1973), all
        for one factorisation; other pairs take a solve for each distinct second node.

        Parameters
        ----------
        pairs : integers, shape (p, 2)

        Returns
        -------
        array, shape (p,)

        Raises
        ------
        TypeError, InvalidSystemError
            ``pairs`` are not integers of shape (p, 2), or not nodes of the model.
        NotPositiveDefiniteError
        MemoryError
            The factor does not fit.

        Examples
        --------
        >>> import numpy as np, gabp
        >>> gabp.Gaussian(np.array([[2.0, -1.0], [-1.0, 2.0]])).covariances([(0, 0), (0, 1)])
        array([0.66666667, 0.33333333])
        """
        i, j = read_pairs(pairs, self.n).to(self._system.device).T
        variance, covariance = implicit.selected_inverse(self._nonzeros, self._factor_inverse)
        if self._system.graph.edges:
            edge, adjacent = edge_indices(self._system, i, j)
            result = torch.where(i == j, variance[i], covariance[edge])
        else:
            adjacent = torch.zeros_like(i, dtype=torch.bool)
            result = torch.where(i == j, variance[i], 0.0)
        off_pattern = (i != j) & ~adjacent
        if bool(off_pattern.any()):
            node, column = torch.unique(j[off_pattern], return_inverse=True)
            unit = torch.zeros((self.n, len(node)), dtype=torch.float64, device=self._system.device)
            unit[node, torch.arange(len(node))] = 1.0
            columns = implicit.solve(self._nonzeros, unit, self._factor_inverse)
            result = result.masked_scatter(off_pattern, columns[i[off_pattern], column])
        return self._restore(result)

    def logdet(self, kind: str = "exact") -> Any:
        """The log-determinant of the precision, ``log det A``.

        Parameters
        ----------
        kind : {"exact", "bethe"}
            See `gabp.logdet`.

        Returns
        -------
        float, or Tensor of shape () where results are torch tensors

        Raises
        ------
        TypeError, InvalidSystemError
            Unknown ``kind``.
        NotPositiveDefiniteError
        ArithmeticError
            ``"bethe"``: the precision messages have no valid fixed point.
        MemoryError
            ``"exact"``: the factor does not fit.

        Examples
        --------
        >>> import numpy as np, gabp
        >>> round(gabp.Gaussian(np.array([[2.0, -1.0], [-1.0, 2.0]])).logdet(), 10)
        1.0986122887
        """
        require_kind(kind, ("exact", "bethe"), "kind")
        return self._restore_number(self._log_determinant(kind))

    def log_normalizer(self) -> Any:
        """The log-normaliser ``log ∫ exp(-½ xᵀA x + bᵀx) dx = ½ bᵀA⁻¹b - ½ log det A + ½ n log 2π``.

        Returns
        -------
        float, or Tensor of shape () where results are torch tensors

        Raises
        ------
        NotPositiveDefiniteError
        MemoryError
            The factor does not fit.

        Examples
        --------
        >>> import numpy as np, gabp
        >>> round(gabp.Gaussian(2 * np.pi * np.eye(3)).log_normalizer(), 10) + 0.0
        0.0
        """
        energy = 0.5 * (self._potential * self._factored_mean()).sum()
        constant = 0.5 * self.n * math.log(2 * math.pi)
        return self._restore_number(energy - 0.5 * self._log_determinant("exact") + constant)

    def log_prob(self, x: Any) -> Any:
        """The log-density ``½ log det A - ½ n log 2π - ½ (x - μ)ᵀ A (x - μ)``, in nats.

        Parameters
        ----------
        x : numpy array or torch tensor, shape (n,) or (s, n)
            One point, or one per row. Differentiable in ``x`` where it requires grad.

        Returns
        -------
        float or Tensor of shape (), or array of shape (s,)

        Raises
        ------
        TypeError, InvalidSystemError
            ``x`` is no array, or has another shape.
        NotPositiveDefiniteError
        MemoryError
            The factor does not fit.

        Examples
        --------
        >>> import numpy as np, gabp
        >>> gabp.Gaussian(2 * np.pi * np.eye(2)).log_prob(np.array([[0.0, 0.0], [1.0, 0.0]])).round(4) + 0.0
        array([ 0.    , -3.1416])
        """
        if not isinstance(x, (np.ndarray, Tensor)):
            raise TypeError(f"x must be a numpy array or a dense torch tensor, not {type(x).__name__}")
        if x.ndim not in (1, 2) or x.shape[-1] != self.n:
            raise InvalidSystemError(f"x has shape {tuple(x.shape)}; expected ({self.n},) or (s, {self.n})")
        single = x.ndim == 1
        points = read_columns(x if single else x.T, self.n, "x", self._system.device).values
        if isinstance(x, Tensor) and requires_gradient(x):
            points = x.to(self._system.device).double().reshape(-1, self.n).T
        deviation = points - self._factored_mean()[:, None]
        graph, nonzeros = self._system.graph, self._nonzeros
        square = (nonzeros.diagonal[:, None] * deviation**2).sum(0) + (
            nonzeros.weight[:, None] * deviation[graph.destination] * deviation[graph.source.long()]
        ).sum(0)
        density = 0.5 * (self._log_determinant("exact") - self.n * math.log(2 * math.pi) - square)
        return self._restore_number(density[0]) if single else self._restore(density)

    def sample(self, size: int = 1, seed: int | None = None) -> Any:
        """Independent samples of ``N(A⁻¹b, A⁻¹)``.

        Parameters
        ----------
        size : int
        seed : int, optional
            Equal seeds give equal samples.

        Returns
        -------
        array, shape (size, n)

        Raises
        ------
        TypeError, InvalidSystemError
            ``size`` is no positive integer, or ``seed`` no integer that fits in 64 bits.
        InvalidSystemError
            A is too large for a factor and not certified walk-summable.
        NotPositiveDefiniteError

        References
        ----------
        H. Rue, "Fast sampling of Gaussian Markov random fields", J. R. Stat. Soc. B 63 (2001). G. Papandreou and
        A. L. Yuille, "Gaussian sampling by local perturbations", NeurIPS 2010.

        Examples
        --------
        >>> import numpy as np, gabp
        >>> model = gabp.Gaussian(np.array([[2.0, -1.0], [-1.0, 2.0]]))
        >>> bool((model.sample(3, seed=1) == model.sample(3, seed=1)).all())
        True
        """
        _require_positive(size, "size", (int, np.integer))
        if self._sampler is None:
            raise InvalidSystemError(
                "A is too large for a factor and not certified walk-summable (see gabp.check), so no exact samples "
                "can be drawn; a machine with more memory can, and means and variances need no samples"
            )
        samples = self._sampler.draw(int(size), make_generator(seed)).to(self._system.device)
        if self._differentiable:
            inverse = self._factor_inverse if isinstance(self._sampler, FactorSampler) else self._solver_inverse
            samples = implicit.reparametrise(self._nonzeros, samples, inverse)
        return self._restore(samples.T + self._mean())

    def condition(self, indices: Any, values: Any) -> "Gaussian":
        """The conditional model of the other variables R, given ``x_C = values`` at ``indices`` C.

        Parameters
        ----------
        indices : integers, shape (c,)
            Distinct; at least one variable must remain.
        values : array, tensor or list, shape (c,)
            In the units of the mean.

        Returns
        -------
        Gaussian
            Of the ``n - c`` variables R in their order: precision ``A_RR`` and potential ``b_R - A_RC values``,
            differentiable in A, b and ``values``.

        Raises
        ------
        TypeError, InvalidSystemError
            ``indices`` or ``values`` are of the wrong kind, shape or content.
        NotPositiveDefiniteError

        Examples
        --------
        >>> import numpy as np, gabp
        >>> model = gabp.Gaussian(np.array([[2.0, -1.0], [-1.0, 2.0]]), np.array([1.0, 1.0]))
        >>> model.condition([0], [3.0]).mean()
        array([2.])
        """
        system = self._definite_system
        known = read_nodes(indices, "indices", "(c,)").to(self._system.device).reshape(-1)
        if len(known) == 0 or bool((known < 0).any()) or bool((known >= self.n).any()):
            raise InvalidSystemError(f"indices must be nodes among 0 to {self.n - 1}, at least one")
        if len(torch.unique(known)) < len(known) or len(known) == self.n:
            raise InvalidSystemError("indices must be distinct and fewer than the variables")
        values = np.asarray(values) if isinstance(values, (list, tuple)) else values
        value = read_columns(values, len(known), "values", system.device).values
        if requires_gradient(values):
            value = values.to(system.device).double().reshape(-1, 1)
        kept = torch.ones(self.n, dtype=torch.bool, device=system.device)
        kept[known] = False
        given = torch.zeros((self.n, 1), dtype=torch.float64, device=system.device).index_put((known,), value)
        potential = (self._potential - self._nonzeros.multiply(given, system)[:, 0])[kept]
        conditioned = Gaussian(as_tensor(system, kept, self._nonzeros), potential)
        conditioned._result_kind = self._result_kind
        return conditioned

    # --- computation ----------------------------------------------------------------------------------------

    @property
    def _differentiable(self) -> bool:
        return torch.is_grad_enabled() and (self._nonzeros.requires_grad or self._potential.requires_grad)

    @cached_property
    def _default_mean(self) -> Tensor:
        return self.solver.solve(self._potential.detach()).x

    def _mean(self, rtol: float | None = None) -> Tensor:
        """``A⁻¹ b`` by the solver, to its tolerance."""
        system = self._definite_system
        if rtol is None and not self._differentiable:
            return self._default_mean
        inverse = self._solver_inverse if rtol is None else InverseOperator(system, self.solver, None, {"rtol": rtol})
        return implicit.solve(self._nonzeros, self._potential[:, None], inverse)[:, 0]

    def _factored_mean(self) -> Tensor:
        """``A⁻¹ b`` by the sparse factor."""
        return implicit.solve(self._nonzeros, self._potential[:, None], self._factor_inverse)[:, 0]

    def _variances(
        self, kind: VarianceKind, rtol: float | None, probes: int | None, seed: int | None
    ) -> tuple[Tensor, VarianceKind, Tensor | None]:
        """Variances, their actual kind, and their standard errors if any."""
        if kind == "corrected":
            if self._differentiable:
                raise InvalidSystemError("corrected variances are estimates and not differentiable; choose 'exact'")
            _ = self._definite_system  # raises if A is indefinite
            spread, error = corrected_variances(
                self.solver, self._sampler, make_generator(seed), probes=probes, rtol=rtol
            )
            return spread, kind, error
        if kind == "exact" or self._system.graph.is_forest:
            return implicit.selected_inverse(self._nonzeros, self._factor_inverse)[0], "exact", None
        return bethe_gradients.bethe_approximation(self._nonzeros, self._definite_system).variance, kind, None

    def _log_determinant(self, kind: str) -> Tensor:
        if kind == "exact" or self._system.graph.is_forest:
            return implicit.log_determinant(self._nonzeros, self._factor_inverse)
        return bethe_gradients.bethe_approximation(self._nonzeros, self._definite_system).log_determinant

    def _restore(self, result: Tensor) -> Any:
        is_torch, dtype, device = self._result_kind
        result = result.to(dtype)
        return result.to(device) if is_torch else result.detach().cpu().numpy()

    def _restore_number(self, result: Tensor) -> Any:
        is_torch, dtype, device = self._result_kind
        return result.to(device=device, dtype=dtype) if is_torch else float(result)


def _require_positive(value: Any, name: str, kinds: tuple[type, ...]) -> None:
    """Raise TypeError or InvalidSystemError unless ``value`` is None or a positive number of one of ``kinds``."""
    if value is None:
        return
    if isinstance(value, bool) or not issubclass(type(value), kinds):
        raise TypeError(f"{name} must be a number, not {type(value).__name__}")
    if not float(value) > 0:
        raise InvalidSystemError(f"{name} must be positive, got {value}")
