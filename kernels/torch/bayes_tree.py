"""A linear system that grows by quadratic terms, by a dense factor of all of it: ground truth of the Bayes tree.

On numpy arrays: a few numbers at a time, for which tensors cost more than the arithmetic.
"""

from typing import NamedTuple

import numpy as np

_VANISHING = 1e-14  # of a pivot beside the diagonal of A


class _Term(NamedTuple):
    """A term without the variables that keep their values, and the unknowns of its numbers."""

    variable: list[int]
    place: list[int]
    product: np.ndarray
    gradient: np.ndarray


class BayesTree:
    """``A = Σ H`` and ``g = Σ g`` over terms ``½ δᵀHδ + gᵀδ``, and the step ``δ = -A⁻¹ g``.

    Variables and terms are numbered in the order in which they come. Variables, terms and dimensions are arrays of
    int64, all others of float64.
    """

    def __init__(self) -> None:
        self._first = [0]
        self._terms: list[_Term | None] = []
        self._step = np.zeros(0)
        self._matrix: np.ndarray | None = None
        self.eliminated = 0

    @property
    def variables(self) -> int:
        return len(self._first) - 1

    @property
    def unknowns(self) -> int:
        return self._first[-1]

    @property
    def complete(self) -> bool:
        """Whether the factor is that of all terms."""
        return self._matrix is not None

    @property
    def entries(self) -> float:
        """Nonzeros of the (dense) factor."""
        return self.unknowns * (self.unknowns + 1) / 2

    def add_variables(self, dimension: np.ndarray) -> None:
        """Add variables of ``dimension``, (k,), unknowns each."""
        for d in dimension.tolist():
            self._first.append(self._first[-1] + d)
        self._step = np.append(self._step, np.zeros(self.unknowns - len(self._step)))
        self._matrix = None

    def add_terms(self, dimension: np.ndarray, variable: np.ndarray, product: np.ndarray, gradient: np.ndarray) -> None:
        """Add terms on ``variable``, (m, a), -1 for one that keeps its value, of ``dimension``, (a,), unknowns.

        ``H`` is ``product``, (m, D, D), and ``g`` is ``gradient``, (m, D).
        """
        self._terms += self._read(dimension, variable, product, gradient)
        self._matrix = None

    def replace_terms(
        self, term: np.ndarray, dimension: np.ndarray, variable: np.ndarray, product: np.ndarray, gradient: np.ndarray
    ) -> None:
        """Give terms, (m,), other numbers."""
        for number, read in zip(term.tolist(), self._read(dimension, variable, product, gradient), strict=True):
            self._terms[number] = read
        self._matrix = None

    def remove_terms(self, term: np.ndarray) -> None:
        """Take terms out; the others keep their numbers."""
        for number in term.tolist():
            self._terms[number] = None
        self._matrix = None

    def terms_on(self, variable: np.ndarray) -> np.ndarray:
        """The terms that name any of the variables, (k,), ascending."""
        wanted = set(variable.tolist())
        named = [t for t, term in enumerate(self._terms) if term is not None and wanted & set(term.variable)]
        return np.array(named, dtype=np.int64)

    def eliminate(self) -> int:
        """Bring the factor up to date; a variable whose pivot vanishes beside the diagonal of A, or -1."""
        A, self._gradient = np.zeros((self.unknowns, self.unknowns)), np.zeros(self.unknowns)
        for term in self._terms:
            if term is not None:
                place = np.array(term.place, dtype=np.int64)
                np.add.at(A, (place[:, None], place[None, :]), term.product)
                np.add.at(self._gradient, place, term.gradient)
        self._matrix, self.eliminated = A, self.variables
        rest = A.copy()
        for j in range(self.unknowns):
            if not rest[j, j] > _VANISHING * A[j, j]:
                self._matrix = None
                return next(v for v in range(self.variables) if self._first[v + 1] > j)
            rest[j + 1 :, j + 1 :] -= np.outer(rest[j + 1 :, j], rest[j, j + 1 :]) / rest[j, j]
        return -1

    def substitute(self, threshold: float) -> None:
        """``δ = -A⁻¹ g``; a variable of which it changes by no more than ``threshold`` may keep its ``δ``."""
        assert self._matrix is not None, "eliminate first"
        step = -np.linalg.solve(self._matrix, self._gradient)
        for begin, end in zip(self._first, self._first[1:], strict=False):
            if np.abs(step[begin:end] - self._step[begin:end]).max() > threshold:
                self._step[begin:end] = step[begin:end]

    def step(self, variable: np.ndarray, step: np.ndarray) -> None:
        """Write ``δ`` of variables, (k,), of one dimension d to ``step``, (k, d)."""
        for row, v in zip(step, variable.tolist(), strict=True):
            row[:] = self._step[self._first[v] : self._first[v + 1]]

    def reset_steps(self, variable: np.ndarray) -> None:
        """``δ = 0``."""
        for v in variable.tolist():
            self._step[self._first[v] : self._first[v + 1]] = 0.0

    def moved_beyond(self, limit: float) -> np.ndarray:
        """The variables of which an entry of ``δ`` is larger than ``limit``, ascending."""
        size = [np.abs(self._step[begin:end]).max() for begin, end in zip(self._first, self._first[1:], strict=False)]
        return np.array([v for v, s in enumerate(size) if s > limit], dtype=np.int64)

    def diagonal(self, x: np.ndarray) -> None:
        """Write the diagonal of A to ``x``, (unknowns,)."""
        x[:] = 0.0
        for term in self._terms:
            if term is not None:
                np.add.at(x, np.array(term.place, dtype=np.int64), term.product.diagonal())

    def solve(self, x: np.ndarray) -> None:
        """Overwrite ``x``, (unknowns,), by ``A⁻¹ x``."""
        assert self._matrix is not None, "eliminate first"
        x[:] = np.linalg.solve(self._matrix, x)

    def _read(
        self, dimension: np.ndarray, variable: np.ndarray, product: np.ndarray, gradient: np.ndarray
    ) -> list[_Term]:
        """Terms without the variables that keep their values."""
        read = []
        for row, h, g in zip(variable.tolist(), product, gradient, strict=True):
            kept: list[int] = []
            place: list[int] = []
            for v, d, end in zip(row, dimension.tolist(), np.cumsum(dimension).tolist(), strict=True):
                if v >= 0:
                    kept += range(end - d, end)
                    place += range(self._first[v], self._first[v + 1])
            read.append(_Term([v for v in row if v >= 0], place, h[kept][:, kept].copy(), g[kept].copy()))
        return read
