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

from gabp.conditions.host_edges import ROUNDOFF, Slots, Vector
from gabp.conditions.verdict import Verdict
from gabp.krylov import ConjugateGradients
from gabp.system import EdgeGraph, System

MMatrixSolver = Callable[[System], Callable[[Tensor], Iterable[Tensor]]]
"""``solver(comparison)`` sets up for a symmetric matrix of unit diagonal and nonpositive off-diagonals. What it returns
yields, given ``b``, approximations of ``comparison⁻¹ b``, shape (n,), if ``comparison`` is an M-matrix; if it is none,
the last may be a direction of nonpositive curvature."""

_DENSE = 400  # nodes up to which eigenvectors and triangular solves are cheaper than any iteration
_STEPS = 60  # of a solver that is handed in; one that needs more is no help
_EASY = 12  # steps of conjugate gradients that cost about as much as the set-up of any better solver
_CLOSE = 0.02  # width of the bounds, relative to the distance of 1, that is worth no further solve
_PROGRESS = 0.9  # of the gap between the bounds; steps that leave more of it are without success
_CHEAP = 2_000_000  # edge updates that may go without success in one solve, within limits
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
    bracket = Bracket(slots, solver)
    bracket.decide()
    bracket.tighten(tightening)
    scaling = None
    if bracket.verdict is Verdict.YES and bracket.scaling is not None:
        scaling = torch.from_numpy(bracket.scaling * slots.unit).to(system.device)
    return Certificate(bracket.verdict, bracket.lower, bracket.upper, scaling)


class Bracket:
    """Two certified bounds of ``ρ(|R|)``, each with the vector that proves it.

    Parameters
    ----------
    slots : Slots
        With a positive diagonal.
    solver : callable, optional
        Solves with an M-matrix; conjugate gradients where it is not given or does not decide.

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

    def __init__(self, slots: Slots, solver: MMatrixSolver | None = None) -> None:
        self.slots = slots
        self._solver = solver
        self._prepared: Callable[[Tensor], Iterable[Tensor]] | None = None
        self.lower, self.upper = 0.0, np.inf
        self.scaling: Vector | None = None
        self.witness: Vector | None = None
        self.products = 0
        self.history: list[tuple[int, float, float]] = []
        self._root = np.sqrt(slots.diagonal)
        # products of a row, then a pairwise or compensated sum over the nodes
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
        d = np.abs(x)
        largest = d.max()
        if not (0 < largest < np.inf):
            return
        d /= largest
        d /= self._root
        slots = self.slots
        pull, upper, smallest, numerator, denominator = slots.kernels.quotients(
            slots.start, slots.source, slots.magnitude, slots.diagonal, d
        )
        self.products += 1
        if smallest > _TINY and upper < self.upper:
            self.upper, self.scaling = upper, d
        if not slots.symmetric:
            lower = self._row_lower(pull, d)
        elif slots.components > 1:
            lower = self._component_lower(pull, d)
        else:
            lower = self._rayleigh(numerator, denominator)
        if lower > self.lower:
            self.lower, self.witness = lower, d
        self.history.append((self.products, self.lower, self.upper))

    def _rayleigh(self, numerator: float, denominator: float) -> float:
        return numerator / denominator * (1 - self._sum_margin) if denominator > _TINY else 0.0

    def _component_lower(self, pull: Vector, d: Vector) -> float:
        numerator, denominator = d * pull, d * self.slots.diagonal * d
        labels, count = self.slots.labels, self.slots.components
        below = np.bincount(labels, denominator, count)
        quotient = np.bincount(labels, numerator, count) / np.where(below > 0, below, np.inf)
        best = labels == quotient.argmax()
        return self._rayleigh(float(numerator[best].sum()), float(denominator[best].sum()))

    def _row_lower(self, pull: Vector, d: Vector) -> float:
        """``|R| x >= α x`` on the support of ``x`` gives ``ρ(|R|) >= α`` (Collatz), symmetric or not."""
        own = self.slots.diagonal * d
        heard = own > _TINY
        margin = 4 * (self.slots.degree[heard] + 2) * ROUNDOFF
        return float((pull[heard] / own[heard] * (1 - margin)).min())

    def decide(self) -> None:
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
        # easy cases of either kind fall within a few steps
        steps = _conjugate_gradients(self.slots, 1.0)
        self._iterate(steps, _EASY)
        if self._solver is not None and self.verdict is Verdict.UNDECIDED:
            self._prepared = self._handed_in(1.0)
            self._iterate(_solved(self._prepared, np.ones(self.slots.n)), _STEPS)
        if self.verdict is Verdict.UNDECIDED:
            self._iterate(steps, self._budget())

    def tighten(self, solves: int = 1) -> None:
        """Narrow the bounds, by at most so many solves beyond what is cheap."""
        if self.slots.edges == 0 or solves == 0:
            return
        if self.slots.n <= _DENSE:
            self._dense()
            return
        if self._prepared is None and not self._is_close():
            self._power(_EASY)
        if not self.slots.symmetric:
            return
        for _ in range(solves if self.verdict is Verdict.YES else 1):
            if self._is_close():
                return
            if self.verdict is Verdict.YES and self._solver is not None:
                self._inverse_iteration()
            else:
                self._push()

    def _is_close(self) -> bool:
        return self.upper - self.lower <= max(_CLOSE * abs(1 - self.lower), 1e-9 * self.upper)

    def _inverse_iteration(self) -> None:
        """Solve ``(I - |R|) y = x`` for the best ``x`` so far: closer to the eigenvector, whatever the threshold."""
        assert self.scaling is not None
        if self._prepared is None:
            self._prepared = self._handed_in(1.0)
        x = self.scaling if self.witness is None or self.witness.min() <= 0 else self.witness
        x = x * self._root
        guess = x / (1 - self.lower)
        wanted = x - guess + self.slots.multiply(self.slots.coupling, guess)
        wait, patience = 0, int(np.clip(_CHEAP / self.slots.edges, 2, 20))
        for correction in islice(_solved(self._prepared, wanted), _STEPS):
            gap = self.upper - self.lower
            self.products += 1
            self.offer(guess + correction)
            wait = 0 if self.upper - self.lower < _PROGRESS * gap else wait + 1
            if self._is_close() or wait == patience:
                return

    def _push(self) -> None:
        """A solve with ``sI - |R|``, ``s`` between the bounds, moves one of them to ``s``."""
        shift = self.lower + 0.1 * (min(self.upper, 2 * self.lower) - self.lower)
        limit = max(50, min(self._budget(), self.products))
        if self._solver is None:
            self._iterate(_conjugate_gradients(self.slots, shift), limit, shift)
        else:
            self._iterate(_solved(self._handed_in(shift), np.ones(self.slots.n)), min(limit, _STEPS), shift)

    def _weigh_ones_exactly(self) -> None:
        """Decide ``1ᵀ(D - |O|)1 <= 0`` without rounding: graph Laplacians have ``ρ(|R|) = 1`` exactly."""
        slots = self.slots
        if not slots.symmetric:
            return
        ones = slots.ones
        node, pull = slots.diagonal * ones**2, ones * slots.multiply(slots.magnitude, ones)
        own, total = (np.bincount(slots.labels, terms, slots.components) for terms in (node, pull))
        for component in np.flatnonzero(np.abs(own - total) <= 1e-9 * own):
            inside = slots.labels == component
            heard = np.repeat(inside, slots.degree)
            edge = slots.magnitude[heard] * np.repeat(ones, slots.degree)[heard] * ones[slots.source[heard]]
            exact = min(node[inside].min(), edge.min(initial=1.0)) > _TINY
            if exact and math.fsum(chain(node[inside], -edge)) <= 0 and self.lower < 1:
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

    def _handed_in(self, shift: float) -> Callable[[Tensor], Iterable[Tensor]]:
        """The solver that was handed in, set up for ``I - |R|/shift``."""
        assert self._solver is not None
        weight = torch.from_numpy(-self.slots.coupling / shift)
        graph = self.slots.system.graph
        host = EdgeGraph(graph.n, graph.start.cpu(), graph.source.cpu())
        return self._solver(System(host, torch.ones(self.slots.n, dtype=torch.float64), weight, symmetric=True))

    def _power(self, steps: int) -> None:
        """Power iteration on ``I + |R|``: without the identity a bipartite graph oscillates."""
        x = np.ones(self.slots.n) if self.scaling is None else self.scaling * self._root
        for _ in range(steps):
            x = x + self.slots.multiply(self.slots.coupling, x)
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


def _solved(prepared: Callable[[Tensor], Iterable[Tensor]], b: Vector) -> Iterator[Vector]:
    return (x.double().numpy() for x in prepared(torch.from_numpy(b)))


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
    coupling = slots.coupling if shift == 1.0 else slots.coupling / shift
    iteration = ConjugateGradients(
        lambda p: p - slots.multiply(coupling, p[:, 0])[:, None], np.ones((slots.n, 1)), ROUNDOFF * math.sqrt(slots.n)
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
