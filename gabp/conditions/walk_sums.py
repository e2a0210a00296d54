"""Walk-summability: certified two-sided bounds of ρ(|R|) and the scaling that proves a yes.

``D = diag(A)``, ``O = A - D``, ``R = I - D^-½ A D^-½``. A model is walk-summable when ``ρ(|R|) < 1``
(Malioutov, Johnson and Willsky, JMLR 2006), which is when some ``d > 0`` has ``(D - |O|) d > 0``
componentwise. Every vector proves something:

* ``x > 0`` gives ``ρ(|R|) <= max_i (|R| x)_i / x_i`` (Collatz 1942, Wielandt 1950);
* ``x >= 0`` gives ``ρ(|R|) >= xᵀ |R| x / xᵀ x`` (Rayleigh), for each connected component.

Both quotients are evaluated in the numbers of ``A`` itself, with ``d = D^-½ x``, and widened by a bound of
their rounding errors, so they hold for the matrix as stored. Where the vectors come from is of no concern to
the proof: an inner solver is handed in and cannot make a verdict wrong.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from typing import NamedTuple

import numpy as np
import scipy.linalg
import torch
from torch import Tensor

from gabp.conditions.slots import ROUNDOFF, Slots, Vector, dot
from gabp.conditions.verdict import Verdict
from gabp.system import EdgeGraph, System

MMatrixSolver = Callable[[System, Tensor], Iterable[Tensor]]
"""``solver(comparison, b)`` yields approximations of ``comparison⁻¹ b``, shape (n,), for a symmetric
M-matrix (unit diagonal, nonpositive off-diagonals) if the question it serves is answered by yes."""

_DENSE = 400  # nodes up to which eigenvectors and triangular solves are cheaper than any iteration
_TINY = 1e-280  # below this, products of a scaling with the matrix may have left the normal range


class Certificate(NamedTuple):
    """What is proven about ``ρ(|R|)``.

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
        With a positive diagonal. A nonsymmetric one is judged by ``ρ(D⁻¹ |O|)``.
    solver : callable, optional
        Solves with an M-matrix; conjugate gradients where it is not given or does not decide.
    tightening : int
        Further solves to spend on narrower bounds once the verdict is known.
    """
    slots = Slots.equilibrated(system)
    bracket = Bracket(slots)
    bracket.decide(solver)
    bracket.tighten(solver, tightening)
    scaling = None
    if bracket.verdict is Verdict.YES and bracket.scaling is not None:
        scaling = torch.from_numpy(bracket.scaling * slots.unit).to(system.device)
    return Certificate(bracket.verdict, bracket.lower, bracket.upper, scaling)


class Bracket:
    """Two certified bounds of ``ρ(|R|)``, each with the vector that proves it.

    Attributes
    ----------
    lower, upper : float
    scaling : array, shape (n,), or None
        The ``d`` that proves ``upper``.
    witness : array, shape (n,), or None
        The ``p >= 0`` that proves ``lower``: ``pᵀ|O|p >= lower · pᵀDp``.
    products : int
        Products with ``|R|`` spent so far.
    history : list of (products, lower, upper)
        How the bounds closed in.
    """

    def __init__(self, slots: Slots) -> None:
        self.slots = slots
        self.lower, self.upper = 0.0, np.inf
        self.scaling: Vector | None = None
        self.witness: Vector | None = None
        self.products = 0
        self.history: list[tuple[int, float, float]] = []
        self._root = np.sqrt(slots.diagonal)
        self._row_margin = 4 * (slots.degree + 2) * ROUNDOFF
        # products of a row, then a pairwise sum over the nodes
        self._sum_margin = 4 * (slots.degree.max(initial=0) + 22 + np.log2(slots.n)) * ROUNDOFF
        self.offer(np.ones(slots.n))
        self.offer(self._root * slots.ones)

    @property
    def verdict(self) -> Verdict:
        if self.upper < 1:
            return Verdict.YES
        return Verdict.NO if self.lower >= 1 else Verdict.UNDECIDED

    def offer(self, x: Vector) -> None:
        """Learn what ``x`` proves; its signs are ignored, its zeros restrict it to a lower bound."""
        x = np.abs(x)
        largest = x.max()
        if not (0 < largest < np.inf):
            return
        d = x / largest / self._root
        pull = self.slots.absolute @ d
        own = self.slots.diagonal * d
        self.products += 1
        if own.min() > _TINY:
            with np.errstate(over="ignore"):
                upper = float((pull / own * (1 + self._row_margin)).max())
            if upper < self.upper:
                self.upper, self.scaling = upper, d
        lower = self._symmetric_lower(d, pull, own) if self.slots.symmetric else self._row_lower(pull, own)
        if lower > self.lower:
            self.lower, self.witness = lower, d
        self.history.append((self.products, self.lower, self.upper))

    def _symmetric_lower(self, d: Vector, pull: Vector, own: Vector) -> float:
        numerator, denominator = d * pull, d * own
        if self.slots.components > 1:
            labels, count = self.slots.labels, self.slots.components
            below = np.bincount(labels, denominator, count)
            quotient = np.bincount(labels, numerator, count) / np.where(below > 0, below, np.inf)
            best = labels == quotient.argmax()
            numerator, denominator = numerator[best], denominator[best]
        total = float(denominator.sum())
        return float(numerator.sum() / total * (1 - self._sum_margin)) if total > _TINY else 0.0

    def _row_lower(self, pull: Vector, own: Vector) -> float:
        """``|R| x >= α x`` on the support of ``x`` gives ``ρ(|R|) >= α`` (Collatz), symmetric or not."""
        heard = own > _TINY
        return float((pull[heard] / own[heard] * (1 - self._row_margin[heard])).min())

    def decide(self, solver: MMatrixSolver | None = None) -> None:
        """Bring one of the bounds to its side of 1."""
        self._weigh_ones_exactly()
        if self.slots.edges == 0 or self.verdict is not Verdict.UNDECIDED:
            return
        if self.slots.n <= _DENSE:
            self._dense()
            return
        if not self.slots.symmetric:
            self._power(400)
            return
        # easy cases of either kind fall within a few steps, which cost less than any set-up
        steps = _conjugate_gradients(self.slots, 1.0)
        self._iterate(steps, 30)
        if solver is not None and self.verdict is Verdict.UNDECIDED:
            self._iterate(self._handed_in(solver, 1.0), 60)
        if self.verdict is Verdict.UNDECIDED:
            self._iterate(steps, self._budget())

    def tighten(self, solver: MMatrixSolver | None = None, solves: int = 1) -> None:
        """Narrow the bounds: each solve with ``sI - |R|``, ``s`` between them, moves one of them to ``s``."""
        if self.slots.edges == 0 or solves == 0:
            return
        if self.slots.n <= _DENSE:
            self._dense()
            return
        self._power(20)
        if not self.slots.symmetric:
            return
        for _ in range(solves):
            if not self.upper - self.lower > 1e-9 * self.upper:
                return
            shift = self.lower + 0.1 * (min(self.upper, 2 * self.lower) - self.lower)
            limit = max(50, min(self._budget(), self.products))
            steps = _conjugate_gradients(self.slots, shift)
            self._iterate(steps if solver is None else self._handed_in(solver, shift), limit, shift)

    def _weigh_ones_exactly(self) -> None:
        """Decide ``1ᵀ(D - |O|)1 <= 0`` without rounding: graph Laplacians have ``ρ(|R|) = 1`` exactly."""
        slots = self.slots
        if not slots.symmetric:
            return
        ones = slots.ones
        node, edge = slots.diagonal * ones**2, np.abs(slots.weight) * (ones[slots.destination] * ones[slots.source])
        own = np.bincount(slots.labels, node, slots.components)
        pull = np.bincount(slots.labels[slots.destination], edge, slots.components)
        for component in np.flatnonzero(np.abs(own - pull) <= 1e-9 * own):
            inside = slots.labels == component
            exact = min(node[inside].min(), edge[inside[slots.destination]].min(initial=1.0)) > _TINY
            terms = chain(node[inside], -edge[inside[slots.destination]])
            if exact and math.fsum(terms) <= 0 and self.lower < 1:
                self.lower, self.witness = 1.0, np.where(inside, ones, 0.0)
                self.history.append((self.products, self.lower, self.upper))

    def _budget(self) -> int:
        """Products to spend at most: bounded work, but never fewer than a large grid needs."""
        return int(np.clip(4e10 / (self.slots.edges + 10 * self.slots.n), 2_000, 20_000))

    def _iterate(self, candidates: Iterator[Vector | None], limit: int, threshold: float = 1.0) -> None:
        for candidate in islice(candidates, limit):
            self.products += 1
            if candidate is None:
                continue
            self.offer(candidate)
            if self.upper < threshold or self.lower >= threshold:
                return

    def _handed_in(self, solver: MMatrixSolver, shift: float) -> Iterator[Vector | None]:
        weight = torch.from_numpy(-self.slots.coupling / shift)
        graph = self.slots.system.graph
        host = EdgeGraph(graph.n, graph.start.cpu(), graph.source.cpu())
        ones = torch.ones(self.slots.n, dtype=torch.float64)
        for x in solver(System(host, ones, weight, symmetric=True), ones):
            yield x.double().numpy() if bool(torch.isfinite(x).all()) and bool((x > 0).all()) else None

    def _power(self, steps: int) -> None:
        """Power iteration on ``I + |R|``: without the identity a bipartite graph oscillates."""
        x = np.ones(self.slots.n) if self.scaling is None else self.scaling * self._root
        matrix = self.slots.on_edges(self.slots.coupling)
        for _ in range(steps):
            x = x + matrix @ x
            x /= x.max()
            self.products += 1
        self.offer(x)

    def _dense(self) -> None:
        """Perron vectors for the lower bound; for the upper one a solve just above them.

        Elimination of an M-matrix without pivoting subtracts nothing but on its diagonal, so the smallest
        entries of the solution are as accurate as the largest, which those of an eigenvector are not.
        """
        matrix = self.slots.on_edges(self.slots.coupling).toarray()
        for component in range(self.slots.components):
            nodes = np.flatnonzero(self.slots.labels == component)
            if len(nodes) > 1:
                self.offer(_embed(_perron_vector(matrix[np.ix_(nodes, nodes)]), nodes, self.slots.n))
        gap = 1e-14
        while gap < 1e-2:
            x = _m_matrix_solve(matrix, self.lower * (1 + gap))
            if x is not None:
                self.offer(x)
                return
            gap *= 10


def _perron_vector(matrix: np.ndarray) -> Vector:
    if np.array_equal(matrix, matrix.T):
        return np.abs(np.linalg.eigh(matrix)[1][:, -1])
    values, vectors = np.linalg.eig(matrix)
    return np.abs(vectors[:, np.argmax(values.real)])


def _embed(x: Vector, nodes: np.ndarray, n: int) -> Vector:
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


def _conjugate_gradients(slots: Slots, shift: float) -> Iterator[Vector | None]:
    """Conjugate gradients on ``(I - |R|/shift) x = 1``; yields once per product.

    What is yielded is an iterate once its residual shows that it proves a yes (``M x > 0``), or a search
    direction of nonpositive curvature, which proves a no; None in between.
    """
    n = slots.n
    matrix = slots.on_edges(slots.coupling / shift)
    x, residual = np.zeros(n), np.ones(n)
    direction = residual.copy()
    squared = float(n)
    best = np.inf
    while True:
        image = direction - matrix @ direction
        curvature = dot(direction, image)
        if curvature <= 0:
            yield direction
            return
        step = squared / curvature
        x += step * direction
        image *= step
        residual -= image
        largest = float(residual.max())
        if largest < min(0.5, 0.9 * best) and x.min() > 0:
            best = largest
            yield x
        else:
            yield None
        previous, squared = squared, dot(residual, residual)
        if squared <= ROUNDOFF**2 * n:
            yield x
            return
        direction *= squared / previous
        direction += residual
