"""The connected components of a graph that grows, and what holds them."""

import numpy as np

from gabp.factors.batches import Factors


class Components:
    """Components of variables that are numbered as they come, by joining sets (Tarjan 1975).

    Attributes
    ----------
    free : set of int
        The first variable of each component that nothing holds.
    """

    def __init__(self) -> None:
        self._above: list[int] = []
        self._held: list[bool] = []  # of those on top
        self._numbers: list[list[int]] = []  # of each set
        self._places: list[tuple[int, int]] = []
        self.free: set[int] = set()

    def count(self, position: int) -> int:
        """Variables of a set."""
        return len(self._numbers[position]) if position < len(self._numbers) else 0

    def add_variables(self, position: int, held: np.ndarray) -> None:
        """Add variables to a set, each by itself."""
        while position >= len(self._numbers):
            self._numbers.append([])
        numbers = self._numbers[position]
        for holds in held.tolist():
            number = len(self._above)
            self._places.append((position, len(numbers)))
            numbers.append(number)
            self._above.append(number)
            self._held.append(holds)
            if not holds:
                self.free.add(number)

    def add_factors(self, batch: Factors) -> None:
        """Join the variables of each factor."""
        sets = [self._numbers[variables.position] for variables in batch.variables]
        relative = batch.kind.relative
        for index in batch.index.tolist():
            top = self._top(sets[0][index[0]])
            for numbers, i in zip(sets[1:], index[1:], strict=True):
                top = self._join(top, self._top(numbers[i]))
            if not relative:
                self._held[top] = True
                self.free.discard(top)

    def place(self, number: int) -> tuple[int, int]:
        """Set and index of a variable."""
        return self._places[number]

    def size(self, number: int) -> int:
        """Of the component of a variable."""
        top = self._top(number)
        return sum(self._top(other) == top for other in range(len(self._above)))

    def _top(self, number: int) -> int:
        above = self._above
        while above[number] != number:
            above[number] = above[above[number]]
            number = above[number]
        return number

    def _join(self, a: int, b: int) -> int:
        if a == b:
            return a
        top, other = min(a, b), max(a, b)
        self._above[other] = top
        self._held[top] = self._held[top] or self._held[other]
        self.free.discard(other)
        if self._held[top]:
            self.free.discard(top)
        return top
