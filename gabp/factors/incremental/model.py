"""The quadratic model of a graph that grows: its factors' terms in a Bayes tree."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from gabp.factors.batches import Factors
from gabp.factors.incremental.points import LinearizationPoints
from gabp.factors.incremental.pools import Pools
from gabp.factors.linearization import NonFiniteResidualError
from gabp.factors.variables import Variables
from gabp.kernels import dispatch


class Evaluation(NamedTuple):
    """The objective at some values, and gradient and diagonal of its quadratic model there, (unknowns,)."""

    objective: float
    gradient: np.ndarray
    diagonal: np.ndarray


class IncrementalModel:
    """Terms of all factors at the points where their variables are linearised, and the factor of their sum.

    Parameters
    ----------
    sets : sequence of Variables
        The graph's own list.

    Attributes
    ----------
    tree : BayesTree
    points : LinearizationPoints
    pools : Pools
    """

    def __init__(self, sets: Sequence[Variables]) -> None:
        self.tree: Any = dispatch.backend("cpu").bayes_tree.BayesTree()
        self.points = LinearizationPoints(sets)
        self.pools = Pools()
        self._new: dict[int, list[np.ndarray]] = {}  # rows without terms, of each pool

    def add_variables(self, position: int, values: np.ndarray, held: np.ndarray) -> None:
        """Add variables to a set."""
        dimension = self.points.append(position, values, held)
        self.tree.add_variables(dimension)

    def add_factors(self, batch: Factors) -> None:
        """Add factors on variables that are known; `relinearize` puts them in."""
        place, rows = self.pools.append(batch)
        self._new.setdefault(place, []).append(rows)

    def remove_factors(self, batch: Factors) -> None:
        """Take factors out."""
        place, terms = self.pools.remove(batch)
        pool = self.pools.pools[place]
        if place in self._new:
            self._new[place] = [rows[pool.is_alive(rows)] for rows in self._new[place]]
        self.tree.remove_terms(terms)

    def relinearize(self, limit: float) -> int:
        """Put in new factors, and linearise anew those on variables whose step is beyond ``limit``; how many.

        Raises
        ------
        NonFiniteResidualError
            The factor is named; the model is left as it was.
        """
        tree, pools = self.tree, self.pools
        moved = tree.moved_beyond(limit)
        new = [(place, rows[0] if len(rows) == 1 else np.concatenate(rows)) for place, rows in self._new.items()]
        again = pools.located(tree.terms_on(moved)) if len(moved) else []
        undo = self.points.move(tree, moved)
        try:
            terms = [self._terms(place, rows) for place, rows in (*again, *new)]
        except NonFiniteResidualError:
            undo()
            raise
        tree.reset_steps(moved)
        for (place, rows), term in zip(again, terms, strict=False):
            tree.replace_terms(pools.terms[place].rows[rows], *term)
        for (place, rows), term in zip(new, terms[len(again) :], strict=True):
            tree.add_terms(*term)
            pools.number(place, rows)
        self._new.clear()
        return sum(len(rows) for _, rows in (*again, *new))

    def estimate(self) -> list[Tensor]:
        """The values of all sets."""
        return [self.points.estimate(self.tree, position) for position in range(len(self.points.values))]

    def evaluate(self, values: Sequence[Tensor]) -> Evaluation:
        """Evaluate all factors.

        Raises
        ------
        NonFiniteResidualError
        """
        n, at = self.points.unknowns, [value.numpy() for value in values]
        total, gradient, diagonal = 0.0, np.zeros(n + 1), np.zeros(n + 1)
        for pool in self.pools.pools:
            rows = pool.alive
            model = pool.linearize(rows, at)
            number = self.points.numbers(pool.variables, pool.index(rows))
            unknown = self.points.unknowns_of(number, pool.dimension.tolist()).reshape(-1)
            gradient += np.bincount(unknown, model.gradient.reshape(-1), n + 1)
            diagonal += np.bincount(unknown, model.product.diagonal(0, 1, 2).reshape(-1), n + 1)
            total += float(model.objective.sum())
        return Evaluation(total, gradient[:n], diagonal[:n])

    def solve(self, b: np.ndarray) -> np.ndarray:
        """``A⁻¹ b``, with A at the points of linearisation."""
        x = b.copy()
        self.tree.solve(x)
        return x

    def diagonal(self) -> np.ndarray:
        """That of A."""
        x = np.empty(self.points.unknowns)
        self.tree.diagonal(x)
        return x

    def _terms(self, place: int, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        pool = self.pools.pools[place]
        model = pool.linearize(rows, self.points.values)
        number = self.points.numbers(pool.variables, pool.index(rows))
        return pool.dimension, number, model.product, model.gradient
