"""Floor 4: the Gaussian model object. Its mean, variances, samples and densities from one set-up and one factor."""

import logging
import math
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gabp.autograd import bethe_gradients, implicit
from gabp.autograd.entries import Entries, as_tensor
from gabp.autograd.implicit import SetUp, wants_gradient
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
from gabp.messages import SparseFactor, fits_in_memory
from gabp.solvers import Solver, hierarchy_solve, m_matrix_solver
from gabp.system import (
    InvalidSystemError,
    System,
    make_system,
    read_columns,
    read_matrix,
    require_positive_diagonal,
)

_log = logging.getLogger("gabp")

_WORTH_A_FACTOR = 1e13  # operations; beyond, perturb-and-solve samples sooner
_QUICKLY_ORDERED, _QUICKLY_FACTORED = 500_000, 1e9  # edges and operations of a factor sooner made than a certificate
_ROUNDING = 1e-9  # relative, of a sum over a row; generously


class Gaussian:
    """The model ``p(x) ∝ exp(-½ xᵀA x + bᵀx)``: precision A, mean ``A⁻¹ b``, covariance ``A⁻¹``.

    Immutable and picklable; the set-up, the factor and the messages are made when first asked for and kept.
    Where A's values or b are torch tensors that require grad, mean, Bethe and exact variances, covariances,
    log-determinants, log-density, normaliser and conditioned models carry gradients, once and twice. So do
    samples, as members of their distribution: ``dx = dμ - ½ A⁻¹ dA (x - μ)``, with which ``E f(x)`` is
    differentiated without bias.

    Parameters
    ----------
    A : scipy sparse, torch sparse or dense, or 2-D numpy array, shape (n, n)
        Symmetric positive definite.
    b : numpy array or torch tensor, shape (n,), optional
        Zero by default. Results come in b's family, device and float dtype; in A's where b is not given.

    Raises
    ------
    TypeError, InvalidSystemError
        See `gabp.solve`.
    NotPositiveDefiniteError (an InvalidSystemError)
        From every method, not from the constructor: there is no Gaussian with this precision matrix.
    ArithmeticError
        From variances, marginals and log-determinants of kind ``"bethe"``: the precision messages have no valid
        fixed point, which happens on positive definite models too (`gabp.check` tells).

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
        entries = Entries.of(A, system)
        pattern = A if b is None else b
        torch_family = isinstance(pattern, Tensor)
        dtype, device = system.dtype, system.device
        potential = torch.zeros(system.n, dtype=torch.float64, device=device)
        if b is not None:
            columns = read_columns(b, system.n, "b", device)
            if not columns.single:
                raise InvalidSystemError(f"b has shape {tuple(b.shape)}; a Gaussian has one potential vector (n,)")
            dtype = columns.dtype
            device = b.device if torch_family else system.device
            potential = b.to(system.device).double() if wants_gradient(b) else columns.values[:, 0].clone()
        self._system, self._entries, self._potential = system, entries, potential
        self._family = (torch_family, dtype, device)

    # What is prepared once ---------------------------------------------------------------------------------

    @property
    def n(self) -> int:
        """Variables."""
        return self._system.n

    @cached_property
    def solver(self) -> Solver:
        """The solver of ``A x = b`` that serves the means, the samples and the backward passes."""
        return Solver(as_tensor(self._system))

    @cached_property
    def _factor(self) -> SparseFactor:
        return SparseFactor(self._system)

    @cached_property
    def _definite_system(self) -> System:
        """The system, known to be positive definite by a certificate or by its factor, whichever is cheaper.

        A model that is neither certified walk-summable nor small enough for a factor is searched for negative
        curvature (`gabp.conditions.search_negative_curvature`); where the search does not end, a warning is logged.

        Raises
        ------
        NotPositiveDefiniteError
        """
        system = self._system
        if system.smallest_diagonal > 0 and (1 + _ROUNDING) * system.dominance < 1:
            return system  # diagonally dominant
        small = system.graph.edges <= _QUICKLY_ORDERED and system.graph.symbolic.flops <= _QUICKLY_FACTORED
        if not small and certify(system, m_matrix_solver).verdict is Verdict.YES:
            return system
        if fits_in_memory(system.graph):
            return self._factor.system
        if not search_negative_curvature(system, hierarchy_solve):
            _log.warning("whether A is positive definite could not be established: its marginals are taken on trust")
        return system

    @cached_property
    def _sampler(self) -> Sampler | None:
        cheap = fits_in_memory(self._system.graph) and self._system.graph.symbolic.flops <= _WORTH_A_FACTOR
        return make_sampler(self._factor if cheap else None, self.solver)

    @cached_property
    def _factor_setup(self) -> SetUp:
        return SetUp(self._system, None, self._factor)

    @cached_property
    def _solver_setup(self) -> SetUp:
        return SetUp(self._definite_system, self.solver)

    def __getstate__(self) -> dict:
        entries = Entries(self._entries.diagonal.detach(), self._entries.weight.detach())
        return {
            "_system": self._system,
            "_entries": entries,
            "_potential": self._potential.detach(),
            "_family": self._family,
        }

    def __repr__(self) -> str:
        return f"Gaussian: {self.n} variables, {self._system.graph.edges // 2} edges, {self._system.dtype}"

    # What is asked of it -----------------------------------------------------------------------------------

    def mean(self, *, rtol: float | None = None) -> Any:
        """``A⁻¹ b``, shape (n,)."""
        return self._give(self._mean(rtol))

    def variances(self, kind: VarianceKind = "bethe") -> Any:
        """``diag(A⁻¹)`` or an approximation of it, shape (n,); `marginals` also says which.

        Raises
        ------
        ArithmeticError
            ``"bethe"``: the precision messages have no valid fixed point.
        """
        require_kind(kind, ("bethe", "exact", "corrected"), "variance")
        return self._give(self._variances(kind, None, None, None)[0])

    def marginals(
        self,
        variance: VarianceKind = "bethe",
        *,
        rtol: float | None = None,
        probes: int | None = None,
        seed: int | None = None,
    ) -> Marginals:
        """Means and variances; the arguments are those of `gabp.marginals`."""
        require_kind(variance, ("bethe", "exact", "corrected"), "variance")
        _require_positive(rtol, "rtol", (int, float, np.floating))
        _require_positive(probes, "probes", (int, np.integer))
        mean = self._factored_mean() if variance == "exact" else self._mean()
        spread, kind, error = self._variances(variance, rtol, probes, seed)
        return Marginals(self._give(mean), self._give(spread), kind, None if error is None else self._give(error))

    def covariances(self, pairs: Any) -> Any:
        """Exact ``(A⁻¹)_ij`` for ``pairs`` (p, 2) of nodes, shape (p,).

        Pairs that are equal or share an edge come from the selected inverse, all of them for the price of one
        factorisation; others take a solve for each different second node.
        """
        pairs = _read_nodes(pairs, "pairs", "(p, 2)").to(self._system.device)
        if pairs.shape == (0,):
            pairs = pairs.reshape(0, 2)
        if pairs.ndim != 2 or pairs.shape[1] != 2:
            raise InvalidSystemError(f"pairs must be integers of shape (p, 2), not {tuple(pairs.shape)}")
        outside = (pairs < 0) | (pairs >= self.n)
        if bool(outside.any()):
            bad = int(pairs[outside][0])
            raise InvalidSystemError(f"pairs names node {bad}, but the model has the nodes 0 to {self.n - 1}")
        graph, (i, j) = self._system.graph, pairs.T
        slots, place = graph.destination * self.n + graph.source.long(), i * self.n + j
        slot = torch.searchsorted(slots, place).clamp(max=max(graph.edges - 1, 0))
        on_edge = slots[slot] == place if graph.edges else torch.zeros_like(i, dtype=torch.bool)
        far = (i != j) & ~on_edge
        variance, covariance = implicit.selected_inverse(self._entries, self._factor_setup)
        result = torch.where(i == j, variance[i], covariance[slot] if graph.edges else 0.0)
        if bool(far.any()):
            node, column = torch.unique(j[far], return_inverse=True)
            unit = torch.zeros((self.n, len(node)), dtype=torch.float64, device=self._system.device)
            unit[node, torch.arange(len(node))] = 1.0
            columns = implicit.solve(self._entries, unit, self._factor_setup)
            result = result.masked_scatter(far, columns[i[far], column])
        return self._give(result)

    def logdet(self, kind: str = "exact") -> Any:
        """``log det A``: a float, or a 0-d tensor in the torch family.

        Raises
        ------
        ArithmeticError
            ``"bethe"``: the precision messages have no valid fixed point.
        """
        require_kind(kind, ("exact", "bethe"), "kind")
        return self._give_number(self._log_determinant(kind))

    def log_normalizer(self) -> Any:
        """``log ∫ exp(-½ xᵀA x + bᵀx) dx = ½ bᵀA⁻¹b - ½ log det A + ½ n log 2π``."""
        energy = 0.5 * (self._potential * self._factored_mean()).sum()
        return self._give_number(energy - 0.5 * self._log_determinant("exact") + 0.5 * self.n * math.log(2 * math.pi))

    def log_prob(self, x: Any) -> Any:
        """``log p(x)`` for ``x`` of shape (n,), or of each row of ``x`` of shape (s, n).

        Differentiable in x too, where it is a tensor that requires grad.
        """
        if not isinstance(x, (np.ndarray, Tensor)):
            raise TypeError(f"x must be a numpy array or a dense torch tensor, not {type(x).__name__}")
        if x.ndim not in (1, 2) or x.shape[-1] != self.n:
            raise InvalidSystemError(f"x has shape {tuple(x.shape)}; expected ({self.n},) or (s, {self.n})")
        single = x.ndim == 1
        points = read_columns(x if single else x.T, self.n, "x", self._system.device).values
        if isinstance(x, Tensor) and wants_gradient(x):
            points = x.to(self._system.device).double().reshape(-1, self.n).T
        away = points - self._factored_mean()[:, None]
        graph, entries = self._system.graph, self._entries
        square = (entries.diagonal[:, None] * away**2).sum(0) + (
            entries.weight[:, None] * away[graph.destination] * away[graph.source.long()]
        ).sum(0)
        density = 0.5 * (self._log_determinant("exact") - self.n * math.log(2 * math.pi) - square)
        return self._give_number(density[0]) if single else self._give(density)

    def sample(self, size: int = 1, seed: int | None = None) -> Any:
        """Independent samples, shape (size, n); the same ``seed`` gives the same ones.

        Raises
        ------
        InvalidSystemError
            A is too large for a factor and not certified walk-summable.
        """
        _require_positive(size, "size", (int, np.integer))
        if self._sampler is None:
            raise InvalidSystemError(
                "A is too large for a factor and not certified walk-summable (see gabp.check), so no exact samples "
                "can be drawn; a machine with more memory can, and means and variances need no samples"
            )
        draws = self._sampler.draw(int(size), make_generator(seed)).to(self._system.device)
        if self._differentiable:
            setup = self._factor_setup if isinstance(self._sampler, FactorSampler) else self._solver_setup
            draws = implicit.transport(self._entries, draws, setup)
        return self._give(draws.T + self._mean())

    def condition(self, indices: Any, values: Any) -> "Gaussian":
        """The model of the other variables, in their order, once those at ``indices`` are known to be ``values``.

        Parameters
        ----------
        indices : integers, shape (c,), without repeats
        values : array or list, shape (c,)

        Returns
        -------
        Gaussian
            Of ``n - c`` variables: ``A_RR`` and ``b_R - A_RC values``, differentiable in all three.
        """
        system = self._definite_system
        known = _read_nodes(indices, "indices", "(c,)").to(self._system.device).reshape(-1)
        if len(known) == 0 or bool((known < 0).any()) or bool((known >= self.n).any()):
            raise InvalidSystemError(f"indices must name some of the nodes 0 to {self.n - 1}")
        if len(torch.unique(known)) < len(known) or len(known) == self.n:
            raise InvalidSystemError("indices must not repeat, and must leave a variable to condition")
        values = np.asarray(values) if isinstance(values, (list, tuple)) else values
        value = read_columns(values, len(known), "values", system.device).values
        if wants_gradient(values):
            value = values.to(system.device).double().reshape(-1, 1)
        kept = torch.ones(self.n, dtype=torch.bool, device=system.device)
        kept[known] = False
        given = torch.zeros((self.n, 1), dtype=torch.float64, device=system.device).index_put((known,), value)
        potential = (self._potential - self._entries.multiply(given, system)[:, 0])[kept]
        conditioned = Gaussian(as_tensor(system, kept, self._entries), potential)
        conditioned._family = self._family
        return conditioned

    # How ---------------------------------------------------------------------------------------------------

    @property
    def _differentiable(self) -> bool:
        return torch.is_grad_enabled() and (self._entries.requires_grad or self._potential.requires_grad)

    @cached_property
    def _settled_mean(self) -> Tensor:
        return self.solver.solve(self._potential.detach()).x

    def _mean(self, rtol: float | None = None) -> Tensor:
        """By the solver, to its tolerance."""
        system = self._definite_system
        if rtol is None and not self._differentiable:
            return self._settled_mean
        setup = self._solver_setup if rtol is None else SetUp(system, self.solver, None, {"rtol": rtol})
        return implicit.solve(self._entries, self._potential[:, None], setup)[:, 0]

    def _factored_mean(self) -> Tensor:
        """By the factor, where that is made anyway."""
        return implicit.solve(self._entries, self._potential[:, None], self._factor_setup)[:, 0]

    def _variances(
        self, kind: VarianceKind, rtol: float | None, probes: int | None, seed: int | None
    ) -> tuple[Tensor, VarianceKind, Tensor | None]:
        """The variances, what they are, and their standard error."""
        if kind == "corrected":
            if self._differentiable:
                raise InvalidSystemError("corrected variances are estimates and not differentiable; ask for 'exact'")
            _ = self._definite_system  # or it is no Gaussian
            spread, error = corrected_variances(
                self.solver, self._sampler, make_generator(seed), probes=probes, rtol=rtol
            )
            return spread, kind, error
        if kind == "exact" or self._system.graph.is_forest:
            return implicit.selected_inverse(self._entries, self._factor_setup)[0], "exact", None
        return bethe_gradients.bethe(self._entries, self._definite_system).variance, kind, None

    def _log_determinant(self, kind: str) -> Tensor:
        if kind == "exact" or self._system.graph.is_forest:
            return implicit.log_determinant(self._entries, self._factor_setup)
        return bethe_gradients.bethe(self._entries, self._definite_system).log_determinant

    def _give(self, result: Tensor) -> Any:
        torch_family, dtype, device = self._family
        result = result.to(dtype)
        return result.to(device) if torch_family else result.detach().cpu().numpy()

    def _give_number(self, result: Tensor) -> Any:
        torch_family, dtype, device = self._family
        return result.to(device=device, dtype=dtype) if torch_family else float(result)


def _read_nodes(nodes: Any, name: str, shape: str) -> Tensor:
    """Node numbers as int64, from a list, an array or a tensor."""
    if isinstance(nodes, (list, tuple, range)):
        try:
            nodes = np.asarray(nodes) if len(nodes) else np.zeros(0, dtype=np.int64)
        except ValueError:
            raise InvalidSystemError(
                f"{name} must be integers of shape {shape}, not rows of different lengths"
            ) from None
    if isinstance(nodes, np.ndarray) and nodes.dtype.kind in "iuf":
        nodes = torch.from_numpy(nodes.astype(np.float64 if nodes.dtype.kind == "f" else np.int64))
    if not isinstance(nodes, Tensor) or nodes.dtype == torch.bool or nodes.dtype.is_complex:
        raise TypeError(
            f"{name} must be integers of shape {shape}, not {getattr(nodes, 'dtype', type(nodes).__name__)}"
        )
    if nodes.dtype.is_floating_point:
        raise InvalidSystemError(f"{name} must be integers of shape {shape}, not {nodes.dtype}")
    return nodes.long()


def _require_positive(value: Any, name: str, kinds: tuple[type, ...]) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not issubclass(type(value), kinds):
        raise TypeError(f"{name} must be a number, not {type(value).__name__}")
    if not float(value) > 0:
        raise InvalidSystemError(f"{name} must be positive, got {value}")
