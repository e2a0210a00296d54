"""Where each variable is linearised, and its number among the unknowns."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gabp.factors.growing import GrowingArray
from gabp.factors.variables import Variables


class LinearizationPoints:
    """Values that steps start from: the estimate of a variable is ``x ⊞ δ``.

    Attributes
    ----------
    sets : sequence of Variables
        The graph's own list, which grows.
    values : list of ndarray, shape (N, width)
        The points of each set; views.
    unknowns : int
        Of all variables that are not held.
    """

    def __init__(self, sets: Sequence[Variables]) -> None:
        self.sets = sets
        self._values: list[GrowingArray] = []
        self._number: list[GrowingArray] = []
        # of each number: set, index in it, first unknown
        self._set, self._index, self._first = (GrowingArray(np.empty(0, dtype=np.int64)) for _ in range(3))
        self.unknowns = 0

    @property
    def values(self) -> list[np.ndarray]:
        return [array.rows for array in self._values]

    def count(self, position: int) -> int:
        """Variables of a set that are known here."""
        return len(self._values[position]) if position < len(self._values) else 0

    def append(self, position: int, values: np.ndarray, held: np.ndarray) -> np.ndarray:
        """Add variables to a set; the dimensions of those that are not held, which get the next numbers."""
        while position >= len(self._values):
            width = self.sets[len(self._values)].manifold.width
            self._values.append(GrowingArray(np.empty((0, width))))
            self._number.append(GrowingArray(np.empty(0, dtype=np.int64)))
        known, first, dimension = self.count(position), len(self._first), self.sets[position].manifold.dimension
        self._values[position].append(values)
        free = (~held).nonzero()[0]
        ascending = np.arange(len(free))
        number = np.where(held, -1, first)
        number[free] += ascending
        self._number[position].append(number)
        self._set.append(position, len(free))
        self._index.append(known + free)
        self._first.append(self.unknowns + dimension * ascending)
        self.unknowns += dimension * len(free)
        return 0 * ascending + dimension

    def numbers(self, variables: Sequence[Variables], index: np.ndarray) -> np.ndarray:
        """The numbers of factors' variables, (m, a); -1 for one that is held."""
        numbers = np.empty_like(index)
        for a, v in enumerate(variables):
            numbers[:, a] = self._number[v.position].rows.take(index[:, a])
        return numbers

    def unknowns_of(self, numbers: np.ndarray, dimensions: Sequence[int]) -> np.ndarray:
        """The unknowns of factors' variables side by side, (m, D); ``self.unknowns`` for one that is held."""
        first = self._first.rows.take(numbers) if len(self._first) else numbers
        columns = []
        for a, d in enumerate(dimensions):
            held = numbers[:, a, None] < 0
            columns.append(np.where(held, self.unknowns, first[:, a, None] + np.arange(d)))
        return np.concatenate(columns, 1)

    def named(self, number: int) -> str:
        """A variable, in messages."""
        return self.sets[int(self._set.rows[number])].named(int(self._index.rows[number]))

    def number_of(self, unknown: int) -> int:
        """Of the variable that an unknown belongs to."""
        return int(np.searchsorted(self._first.rows, unknown, side="right")) - 1

    def estimate(self, tree: Any, position: int, indices: np.ndarray | None = None) -> Tensor:
        """``x ⊞ δ`` of variables of one set, all by default."""
        index = slice(None) if indices is None else indices
        values, number = self._values[position].rows[index], self._number[position].rows[index]
        free = number >= 0
        if free.all():
            values = self._moved(tree, position, values, number)
        else:
            values = values.copy()
            values[free] = self._moved(tree, position, values[free], number[free])
        return torch.from_numpy(values)

    def move(self, tree: Any, numbers: np.ndarray) -> Callable[[], None]:
        """Make the estimate of some variables the point where they are linearised; what takes it back."""
        before: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        sets = self._set.rows[numbers]
        for position in set(sets.tolist()):
            number = numbers[sets == position]
            index = self._index.rows[number]
            rows = self._values[position].rows
            before.append((rows, index, rows[index]))
            rows[index] = self._moved(tree, position, rows[index], number)

        def undo() -> None:
            for rows, index, values in before:
                rows[index] = values

        return undo

    def _moved(self, tree: Any, position: int, values: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        manifold = self.sets[position].manifold
        step = np.empty((len(numbers), manifold.dimension))
        tree.step(numbers, step)
        return manifold.retract_all(torch.from_numpy(values), torch.from_numpy(step)).numpy()
