"""The factors of one kind, from any number of batches, as arrays that grow."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from gabp.factors.batches import Factors
from gabp.factors.growing import GrowingArray
from gabp.factors.kinds import FunctionKind
from gabp.factors.linearization import NonFiniteResidualError
from gabp.kernels import dispatch
from gabp.kernels.torch.normal_equations import Factors as NormalFactors


class Quadratic(NamedTuple):
    """The quadratic models of m factors with D derivatives each: ``½ρ``, (m,), ``H``, (m, D, D), and ``g``, (m, D)."""

    objective: np.ndarray
    product: np.ndarray
    gradient: np.ndarray


class Pool:
    """Factors that one call of their kind evaluates.

    Attributes
    ----------
    variables : tuple of Variables
        The set that each variable of a factor is from.
    dimension : ndarray, shape (a,), int64
        Unknowns of each variable.
    """

    def __init__(self, batch: Factors) -> None:
        self.kind, self.variables, self.loss = batch.kind, batch.variables, batch.loss
        self.dimension = np.array([v.manifold.dimension for v in batch.variables])
        self._size = batch.information.shape[1]
        self._index = GrowingArray(np.empty((0, len(batch.variables)), dtype=np.int64))
        self._measurement = GrowingArray(np.empty((0, *batch.measurement.shape[1:])))
        self._root = GrowingArray(np.empty((0, self._size, self._size)))
        self._alive = GrowingArray(np.empty(0, dtype=bool))
        self._batches: list[tuple[int, Factors]] = []  # the first row of each

    def append(self, batch: Factors) -> np.ndarray:
        """Add a batch; the rows that it takes."""
        first = len(self._index)
        self._batches.append((first, batch))
        self._index.append(batch.index.numpy())
        self._measurement.append(batch.measurement.detach().numpy())
        count = len(self._index) - first
        root = np.eye(self._size)[None] if batch.root is None else batch.root.numpy()
        self._root.append(root, count)
        self._alive.append(True, count)
        return np.arange(first, first + count)

    def remove(self, rows: np.ndarray) -> None:
        self._alive.rows[rows] = False

    def is_alive(self, rows: np.ndarray) -> np.ndarray:
        return self._alive.rows[rows]

    @property
    def alive(self) -> np.ndarray:
        """The rows of all factors that were not removed."""
        return np.flatnonzero(self._alive.rows)

    def index(self, rows: np.ndarray) -> np.ndarray:
        """Which variables, (m, a), in their sets."""
        return self._index.rows[rows]

    def linearize(self, rows: np.ndarray, values: Sequence[np.ndarray]) -> Quadratic:
        """The models of some factors at the values of all sets.

        Raises
        ------
        NonFiniteResidualError
        """
        kernels = dispatch.backend("cpu").normal_equations
        root = self._taken(self._root, rows)
        measurement = self._taken(self._measurement, rows)
        residual, jacobian = self.kind.linearize(self._gather(rows, values), measurement)
        whitened, squared = kernels.whiten(root, residual)
        weight = None if self.loss is None else self.loss.weight(squared)
        product, gradient = kernels.products(NormalFactors(root, whitened, jacobian, weight))
        half = 0.5 * squared.numpy() if self.loss is None else 0.5 * self.loss.rho(squared).numpy()
        model = Quadratic(half, product.numpy(), gradient.numpy())
        if not math.isfinite(model.objective.sum() + model.product.sum()):
            finite = np.isfinite(model.objective) & np.isfinite(model.product).all((1, 2))
            if not finite.all():
                raise NonFiniteResidualError(self._named(int(rows[finite.argmin()])))
        return model

    def _gather(self, rows: np.ndarray, values: Sequence[np.ndarray]) -> list[Tensor]:
        index = self.index(rows)
        return [torch.from_numpy(values[v.position].take(index[:, a], 0)) for a, v in enumerate(self.variables)]

    def _taken(self, array: GrowingArray, rows: np.ndarray) -> Tensor:
        return torch.from_numpy(array.rows.take(rows, 0))

    def _named(self, row: int) -> str:
        first, batch = next(pair for pair in reversed(self._batches) if pair[0] <= row)
        return batch.named(row - first)


class Pools:
    """All factors of a graph, in pools, each with the number of its term."""

    def __init__(self) -> None:
        self.pools: list[Pool] = []
        self._place: dict[Any, int] = {}
        self._rows_of: dict[Factors, tuple[int, np.ndarray]] = {}
        self.terms: list[GrowingArray] = []  # of each pool's rows
        self._pool_of = GrowingArray(np.empty(0, dtype=np.int64))  # of each term
        self._row_of = GrowingArray(np.empty(0, dtype=np.int64))

    def append(self, batch: Factors) -> tuple[int, np.ndarray]:
        """Add a batch: its pool and its rows there."""
        key = _key(batch)
        if key not in self._place:
            self._place[key] = len(self.pools)
            self.pools.append(Pool(batch))
            self.terms.append(GrowingArray(np.empty(0, dtype=np.int64)))
        place = self._place[key]
        rows = self.pools[place].append(batch)
        self._rows_of[batch] = place, rows
        self.terms[place].append(-1, len(rows))
        return place, rows

    def remove(self, batch: Factors) -> tuple[int, np.ndarray]:
        """Take a batch out: its pool, and the numbers of its terms, where they have any."""
        place, rows = self._rows_of.pop(batch)
        self.pools[place].remove(rows)
        terms = self.terms[place].rows[rows]
        return place, terms[terms >= 0]

    def number(self, place: int, rows: np.ndarray) -> None:
        """Give the next numbers to the terms of some rows."""
        first = len(self._pool_of)
        self.terms[place].rows[rows] = np.arange(first, first + len(rows))
        self._pool_of.append(place, len(rows))
        self._row_of.append(rows)

    def located(self, terms: np.ndarray) -> list[tuple[int, np.ndarray]]:
        """Pools and rows of terms."""
        pool, row = self._pool_of.rows[terms], self._row_of.rows[terms]
        return [(place, row[pool == place]) for place in np.unique(pool).tolist()]


def _key(batch: Factors) -> tuple[Any, ...]:
    kind = batch.kind
    function: Callable[..., Any] | type = kind.function if isinstance(kind, FunctionKind) else type(kind)
    shape = (*batch.measurement.shape[1:], batch.information.shape[1])
    return function, tuple(v.position for v in batch.variables), batch.loss, shape
