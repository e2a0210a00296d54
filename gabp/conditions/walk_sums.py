"""Walk-summability: certified two-sided bounds of ρ(|R|) and the scaling that proves a yes.

``D = diag(A)``, ``O = A - D``, ``R = I - D^-½ A D^-½``. A model is walk-summable when ``ρ(|R|) < 1``
(Malioutov, Johnson and Willsky, JMLR 2006), which is when some ``d > 0`` has ``(D - |O|) d > 0``
componentwise. Every vector gives a bound:

* ``x > 0`` gives ``ρ(|R|) <= max_i (|R| x)_i / x_i`` (Collatz 1942, Wielandt 1950);
* ``x >= 0`` gives ``ρ(|R|) >= xᵀ |R| x / xᵀ x`` (Rayleigh), for each connected component.

Both quotients are evaluated in the entries of ``A`` itself, with ``d = D^-½ x``, and widened by a bound of
their rounding errors, so they hold for the matrix as stored. The proof is independent of how the vectors are
computed: no fault of an inner solver can invalidate a verdict.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from typing import NamedTuple

import numpy as np
import scipy.linalg
import torch
from torch import Tensor

from gabp.conditions.host_edges import ROUNDOFF, HostEdges, Vector
from gabp.conditions.verdict import Verdict
from gabp.krylov import ConjugateGradients
from gabp.system import EdgeGraph, System

MMatrixSolver = Callable[[System], Callable[[Tensor], Iterable[Tensor]]]
"""``solver(comparison)`` prepares for a symmetric matrix of unit diagonal and nonpositive off-diagonals. It returns a
function of ``b``, shape (n,), that iterates over approximations of ``comparison⁻¹ b`` if ``comparison`` is an
M-matrix; if it is none, the last may be a direction of nonpositive curvature."""

_DENSE = 400  # nodes up to which eigenvectors and triangular solves are cheaper than any iteration
_SOLVER_ITERATIONS = 60  # at most, of an M-matrix solver
_EASY = 12  # conjugate-gradient iterations that cost about as much as the set-up of a better solver
_CLOSE = 0.02  # width of the bounds, relative to the distance from 1, below which they are not tightened
_STALLED = 0.9  # reduction of the gap between the bounds by one update that is no progress
_STALLED_WORK = 2_000_000  # edge updates without progress after which a solve is stopped
_TINY = 1e-280  # below it, products of a scaling with the matrix may underflow


class Certificate(NamedTuple):
    """Proven bounds of ``ρ(|R|)`` and their verdict.

    Attributes
    ----------
    verdict : Verdict
        Whether the model is walk-summable.
    lower, upper : float
        ``lower <= ρ(|R|) <= upper``.
    scaling : Tensor, shape (n,), float64, or None
        For a yes, a ``d > 0`` with ``(D - |O|) d > 0``.
    """

    verdict: Verdict
    lower: float
    upper: float
    scaling: Tensor | None


def certify(system: System, solver: MMatrixSolver | None = None, tightening: int = 0) -> Certificate:
    """Prove or refute walk-summability.

    Parameters
    ----------
    system : System
        With a positive diagonal. For a nonsymmetric one, ``ρ(D⁻¹ |O|)`` takes the place of ``ρ(|R|)``.
    solver : MMatrixSolver, optional
        Conjugate gradients where it is not given or does not decide.
    tightening : int
        Further solves for narrower bounds once the verdict is known.

    References
    ----------
    D. M. Malioutov, J. K. Johnson and A. S. Willsky, "Walk-sums and belief propagation in Gaussian graphical models",
    JMLR 7, 2006.
    """
    edges = HostEdges.equilibrated(system)
    bounds = RadiusBounds(edges, solver)
    bounds.decide()
    bounds.tighten(tightening)
    scaling = None
    if bounds.verdict is Verdict.YES and bounds.scaling is not None:
        scaling = torch.from_numpy(bounds.scaling * edges.unit).to(system.device)
    return Certificate(bounds.verdict, bounds.lower, bounds.upper, scaling)


class RadiusBounds:
    """Certified bounds of ``ρ(|R|)``, each with the vector that proves it.

    Parameters
    ----------
    edges : HostEdges
        With a positive diagonal.
    solver : MMatrixSolver, optional
        Conjugate gradients where it is not given or does not decide.

    Attributes
    ----------
    lower, upper : float
    scaling : array, shape (n,), or None
        The ``d`` that proves ``upper``.
    lower_certificate : array, shape (n,), or None
        The ``p >= 0`` that proves ``lower``: ``pᵀ|O|p >= lower · pᵀDp``.
    products : int
        Products with ``|R|`` so far.
    history : list of (products, lower, upper)
        The bounds after each update.
    """

    def __init__(self, edges: HostEdges, solver: MMatrixSolver | None = None) -> None:
        self.edges = edges
        self._solver = solver
        self._prepared: Callable[[Tensor], Iterable[Tensor]] | None = None
        self.lower, self.upper = 0.0, np.inf
        self.scaling: Vector | None = None
        self.lower_certificate: Vector | None = None
        self.products = 0
        self.history: list[tuple[int, float, float]] = []
        self._root = np.sqrt(edges.diagonal)
        # products of a row, then a pairwise or compensated sum over the nodes
        self._sum_margin = 4 * (edges.degree.max(initial=0) + 22 + np.log2(edges.n)) * ROUNDOFF
        self.update(np.ones(edges.n))
        self.update(self._root * edges.ones)

    @property
    def verdict(self) -> Verdict:
        """Whether ``ρ(|R|) < 1``."""
        if self.upper < 1:
            return Verdict.YES
        return Verdict.NO if self.lower >= 1 else Verdict.UNDECIDED

    def update(self, x: Vector) -> None:
        """Improve the bounds by the quotients of ``|x|``, shape (n,); one with zeros gives a lower bound only."""
        d = np.abs(x)
        largest = d.max()
        if not (0 < largest < np.inf):
            return
        d /= largest
        d /= self._root
        edges = self.edges
        product, upper, smallest, numerator, denominator = edges.kernels.quotients(
            edges.start, edges.source, edges.magnitude, edges.diagonal, d
        )
        self.products += 1
        if smallest > _TINY and upper < self.upper:
            self.upper, self.scaling = upper, d
        if not edges.symmetric:
            lower = self._row_lower(product, d)
        elif edges.components > 1:
            lower = self._component_lower(product, d)
        else:
            lower = self._rayleigh(numerator, denominator)
        if lower > self.lower:
            self.lower, self.lower_certificate = lower, d
        self.history.append((self.products, self.lower, self.upper))

    def _rayleigh(self, numerator: float, denominator: float) -> float:
        return numerator / denominator * (1 - self._sum_margin) if denominator > _TINY else 0.0

    def _component_lower(self, product: Vector, d: Vector) -> float:
        numerator, denominator = d * product, d * self.edges.diagonal * d
        labels, count = self.edges.labels, self.edges.components
        below = np.bincount(labels, denominator, count)
        quotient = np.bincount(labels, numerator, count) / np.where(below > 0, below, np.inf)
        best = labels == quotient.argmax()
        return self._rayleigh(float(numerator[best].sum()), float(denominator[best].sum()))

    def _row_lower(self, product: Vector, d: Vector) -> float:
        """``|R| x >= α x`` on the support of ``x`` gives ``ρ(|R|) >= α`` (Collatz), symmetric or not."""
        own = self.edges.diagonal * d
        support = own > _TINY
        margin = 4 * (self.edges.degree[support] + 2) * ROUNDOFF
        return float((product[support] / own[support] * (1 - margin)).min())

    def decide(self) -> None:
        """Improve the bounds until they exclude 1, or the work allowed is spent."""
        self._exact_ones_test()
        if self.edges.count == 0 or self.verdict is not Verdict.UNDECIDED:
            return
        if self.edges.n <= _DENSE:
            self._dense()
            return
        if not self.edges.symmetric:
            self._power(400)
            return
        # easy cases of either answer are decided within a few iterations
        iterations = _conjugate_gradients(self.edges, 1.0)
        self._update_until_decided(iterations, _EASY)
        if self._solver is not None and self.verdict is Verdict.UNDECIDED:
            self._prepared = self._prepare_solver(1.0)
            self._update_until_decided(_approximations(self._prepared, np.ones(self.edges.n)), _SOLVER_ITERATIONS)
        if self.verdict is Verdict.UNDECIDED:
            self._update_until_decided(iterations, self._budget())

    def tighten(self, solves: int = 1) -> None:
        """Narrow the bounds, by at most ``solves`` solves after a few power iterations."""
        if self.edges.count == 0 or solves == 0:
            return
        if self.edges.n <= _DENSE:
            self._dense()
            return
        if self._prepared is None and not self._is_close():
            self._power(_EASY)
        if not self.edges.symmetric:
            return
        for _ in range(solves if self.verdict is Verdict.YES else 1):
            if self._is_close():
                return
            if self.verdict is Verdict.YES and self._solver is not None:
                self._inverse_iteration()
            else:
                self._shifted_solve()

    def _is_close(self) -> bool:
        return self.upper - self.lower <= max(_CLOSE * abs(1 - self.lower), 1e-9 * self.upper)

    def _inverse_iteration(self) -> None:
        """Update by ``(I - |R|)⁻¹ x`` for the best ``x`` so far, which is closer to the Perron vector."""
        assert self.scaling is not None
        if self._prepared is None:
            self._prepared = self._prepare_solver(1.0)
        best = self.lower_certificate
        x = (self.scaling if best is None or best.min() <= 0 else best) * self._root
        guess = x / (1 - self.lower)
        right_hand_side = x - guess + self.edges.multiply(self.edges.coupling, guess)
        stalled, most_stalled = 0, int(np.clip(_STALLED_WORK / self.edges.count, 2, 20))
        for correction in islice(_approximations(self._prepared, right_hand_side), _SOLVER_ITERATIONS):
            gap = self.upper - self.lower
            self.products += 1
            self.update(guess + correction)
            stalled = 0 if self.upper - self.lower < _STALLED * gap else stalled + 1
            if self._is_close() or stalled == most_stalled:
                return

    def _shifted_solve(self) -> None:
        """Solve with ``sI - |R|``, ``s`` between the bounds, which moves one of them to ``s``."""
        shift = self.lower + 0.1 * (min(self.upper, 2 * self.lower) - self.lower)
        limit = max(50, min(self._budget(), self.products))
        if self._solver is None:
            self._update_until_decided(_conjugate_gradients(self.edges, shift), limit, shift)
        else:
            solutions = _approximations(self._prepare_solver(shift), np.ones(self.edges.n))
            self._update_until_decided(solutions, min(limit, _SOLVER_ITERATIONS), shift)

    def _exact_ones_test(self) -> None:
        """Decide ``1ᵀ(D - |O|)1 <= 0`` in exact arithmetic: graph Laplacians have ``ρ(|R|) = 1`` exactly."""
        edges = self.edges
        if not edges.symmetric:
            return
        ones = edges.ones
        node, coupled = edges.diagonal * ones**2, ones * edges.multiply(edges.magnitude, ones)
        own, total = (np.bincount(edges.labels, terms, edges.components) for terms in (node, coupled))
        for component in np.flatnonzero(np.abs(own - total) <= 1e-9 * own):
            inside = edges.labels == component
            entering = np.repeat(inside, edges.degree)
            edge = edges.magnitude[entering] * np.repeat(ones, edges.degree)[entering] * ones[edges.source[entering]]
            exact = min(node[inside].min(), edge.min(initial=1.0)) > _TINY
            if exact and math.fsum(chain(node[inside], -edge)) <= 0 and self.lower < 1:
                self.lower, self.lower_certificate = 1.0, np.where(inside, ones, 0.0)
                self.history.append((self.products, self.lower, self.upper))

    def _budget(self) -> int:
        """The most products of one solve: bounded work, but never fewer than a large grid needs."""
        return int(np.clip(4e10 / (self.edges.count + 10 * self.edges.n), 2_000, 20_000))

    def _update_until_decided(self, candidates: Iterator[Vector | None], limit: int, threshold: float = 1.0) -> None:
        for candidate in islice(candidates, limit):
            self.products += 1
            if candidate is None:
                continue
            self.update(candidate)
            if self.upper < threshold or self.lower >= threshold:
                return

    def _prepare_solver(self, shift: float) -> Callable[[Tensor], Iterable[Tensor]]:
        """The M-matrix solver, prepared for ``I - |R|/shift``."""
        assert self._solver is not None
        weight = torch.from_numpy(-self.edges.coupling / shift)
        graph = self.edges.system.graph
        host = EdgeGraph(graph.n, graph.start.cpu(), graph.source.cpu())
        return self._solver(System(host, torch.ones(self.edges.n, dtype=torch.float64), weight, symmetric=True))

    def _power(self, steps: int) -> None:
        """Power iteration on ``I + |R|``: without the identity a bipartite graph oscillates."""
        x = np.ones(self.edges.n) if self.scaling is None else self.scaling * self._root
        for _ in range(steps):
            x = x + self.edges.multiply(self.edges.coupling, x)
            x /= x.max()
            self.products += 1
        self.update(x)

    def _dense(self) -> None:
        """Lower bounds from Perron vectors, the upper one from a solve just above the Perron value.

        Elimination of an M-matrix without pivoting subtracts on its diagonal only, so the smallest entries of the
        solution are as accurate as the largest, which those of an eigenvector are not.
        """
        matrix = self.edges.on_edges(self.edges.coupling).toarray()
        for component in range(self.edges.components):
            nodes = np.flatnonzero(self.edges.labels == component)
            if len(nodes) > 1:
                self.update(_embed(_perron_vector(matrix[np.ix_(nodes, nodes)]), nodes, self.edges.n))
        gap = 1e-14
        while gap < 1e-2:
            x = _m_matrix_solve(matrix, self.lower * (1 + gap))
            if x is not None:
                self.update(x)
                return
            gap *= 10


def _approximations(prepared: Callable[[Tensor], Iterable[Tensor]], b: Vector) -> Iterator[Vector]:
    return (x.double().numpy() for x in prepared(torch.from_numpy(b)))


def _perron_vector(matrix: np.ndarray) -> Vector:
    """The nonnegative eigenvector of the largest eigenvalue of a nonnegative matrix."""
    if np.array_equal(matrix, matrix.T):
        return np.abs(np.linalg.eigh(matrix)[1][:, -1])
    values, vectors = np.linalg.eig(matrix)
    return np.abs(vectors[:, np.argmax(values.real)])


def _embed(x: Vector, nodes: np.ndarray, n: int) -> Vector:
    """``x`` on ``nodes``, zero elsewhere, shape (n,)."""
    full = np.zeros(n)
    full[nodes] = x
    return full


def _m_matrix_solve(matrix: np.ndarray, shift: float) -> Vector | None:
    """``(shift I - matrix)⁻¹ 1`` by elimination without pivoting, or None where that is no M-matrix."""
    m = shift * np.eye(len(matrix)) - matrix
    if np.array_equal(matrix, matrix.T):
        try:
            factor = np.linalg.cholesky(m)
        except np.linalg.LinAlgError:
            return None
        x = scipy.linalg.cho_solve((factor, True), np.ones(len(m)))
    else:
        try:
            x = np.linalg.solve(m, np.ones(len(m)))
        except np.linalg.LinAlgError:
            return None
    return x if np.all(np.isfinite(x)) and np.all(x > 0) else None


def _conjugate_gradients(edges: HostEdges, shift: float) -> Iterator[Vector | None]:
    """Conjugate gradients on ``(I - |R|/shift) x = 1``; yields once per product.

    What is yielded is an iterate once its residual shows that it proves a yes (``M x > 0``), or a search
    direction of nonpositive curvature, which proves a no; None in between.
    """
    coupling = edges.coupling if shift == 1.0 else edges.coupling / shift
    iteration = ConjugateGradients(
        lambda p: p - edges.multiply(coupling, p[:, 0])[:, None], np.ones((edges.n, 1)), ROUNDOFF * math.sqrt(edges.n)
    )
    x: Vector = iteration.solution[:, 0]
    smallest = np.inf
    while not iteration.converged:
        iteration.iterate()
        if iteration.negative_curvature is not None:
            yield iteration.negative_curvature
            return
        largest = float(iteration.residual.max())
        if largest < min(0.5, 0.9 * smallest) and x.min() > 0:
            smallest = largest
            yield x
        else:
            yield None
    yield x
