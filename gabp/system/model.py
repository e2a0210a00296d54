"""The Gaussian model in working form: a graph, its diagonal and its edge weights."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from gabp.kernels import dispatch, reference
from gabp.kernels.types import Kernels
from gabp.system.errors import InvalidSystemError
from gabp.system.graph import EdgeGraph
from gabp.system.matrix import SparseMatrix, from_triplets

ASYMMETRY_TOLERANCE = 100  # in units of the dtype's rounding, see `asymmetry`


@dataclass(frozen=True, eq=False)
class System:
    """A square sparse matrix as a graph with weights; a precision matrix when symmetric positive definite.

    Attributes
    ----------
    graph : EdgeGraph
        One slot per off-diagonal nonzero (and its mirror).
    diagonal : Tensor, shape (n,)
    weight : Tensor, shape (m,)
        ``A[i, k]`` in the slot of the message that ``i`` hears from ``k``.
    symmetric : bool
    """

    graph: EdgeGraph
    diagonal: Tensor
    weight: Tensor
    symmetric: bool

    @property
    def n(self) -> int:
        return self.graph.n

    @property
    def dtype(self) -> torch.dtype:
        return self.diagonal.dtype

    @property
    def device(self) -> torch.device:
        return self.diagonal.device

    def astype(self, dtype: torch.dtype) -> "System":
        """The same system with its numbers rounded to ``dtype``."""
        if dtype == self.dtype:
            return self
        return replace(self, diagonal=self.diagonal.to(dtype), weight=self.weight.to(dtype))

    def loaded(self, loading: Tensor) -> "System":
        """``A + diag(loading)``."""
        return replace(self, diagonal=self.diagonal + loading)

    @cached_property
    def layout(self) -> Any:
        """The slots as this device's kernels want them; opaque to all but `gabp.kernels`."""
        return self._kernels.layout(self.graph.start, self.graph.source, self.weight, self.diagonal)

    @property
    def _kernels(self) -> Kernels:
        return dispatch.choose(self.device, self.dtype)

    @property
    def backend(self) -> str:
        """The name of the kernels that work on this system."""
        return self._kernels.name

    def residual(self, x: Tensor, b: Tensor) -> Tensor:
        """``b - A @ x`` in float64 for ``x`` and ``b`` of shape (n, k)."""
        return self._kernels.residual(self.layout, x, b)[0]

    def multiply(self, x: Tensor) -> Tensor:
        """``A @ x`` in float64 for ``x`` of shape (n, k)."""
        return -self.residual(x, torch.zeros_like(x))

    @cached_property
    def norm(self) -> float:
        """The largest absolute row sum, ``‖A‖_∞``."""
        rows = self.absolute_row_sums + self.diagonal.double().abs()
        return float(rows.max())

    @property
    def absolute_row_sums(self) -> Tensor:
        """``Σ_k |A_ik|`` over the neighbours of each node, shape (n,), float64."""
        return reference.gather_messages(self.weight.double().abs(), self.graph.destination, self.n)


def asymmetry(matrix: SparseMatrix) -> tuple[int, int, float, float] | None:
    """The worst violation of symmetry, ``(i, j, A_ij, A_ji)``, or None where A is symmetric to rounding.

    Symmetric to rounding means ``|A_ij - A_ji| <= 100 eps max(|A_ij|, |A_ji|, sqrt|A_ii A_jj|)`` with the
    rounding unit ``eps`` of the matrix's own dtype.
    """
    return _worst_asymmetry(*_mirrored(matrix))


def make_system(matrix: SparseMatrix, symmetric: bool = True) -> System:
    """The working form of ``matrix``; stored zeros are no edges.

    Raises
    ------
    InvalidSystemError
        ``symmetric`` is asked for and the matrix is not; the largest asymmetry and its place are named.
    """
    if symmetric:
        parts = dispatch.split_symmetric(matrix.start, matrix.column, matrix.value)
        if parts is not None:
            start, source, weight, diagonal = parts
            return System(EdgeGraph(matrix.n, start, source), diagonal, weight, True)
    matrix, mirror = _mirrored(matrix)
    value = matrix.value
    if symmetric:
        worst = _worst_asymmetry(matrix, mirror)
        if worst is not None:
            i, j, forth, back = worst
            raise InvalidSystemError(
                f"A is not symmetric: the largest asymmetry is A[{i}, {j}] = {forth:.17g} against "
                f"A[{j}, {i}] = {back:.17g}; pass symmetric=False for a general system"
                + (", or store both triangles" if _is_triangular(matrix) else "")
            )
        value = value if torch.equal(value, value[mirror]) else (value + value[mirror]) / 2
    row, column = matrix.row, matrix.column
    on_diagonal = row == column
    diagonal = value.new_zeros(matrix.n)
    diagonal[row[on_diagonal]] = value[on_diagonal]
    edge = ~on_diagonal & ((value != 0) | (value[mirror] != 0))
    start = torch.zeros_like(matrix.start)
    torch.cumsum(torch.bincount(row[edge], minlength=matrix.n), 0, out=start[1:])
    return System(EdgeGraph(matrix.n, start, column[edge]), diagonal, value[edge], symmetric)


def require_positive_diagonal(system: System, method: str) -> None:
    """Refuse a node whose precision is not positive, as no message from it can be."""
    if bool((system.diagonal > 0).all()):
        return
    i = int((system.diagonal <= 0).nonzero()[0])
    raise InvalidSystemError(
        f"A[{i}, {i}] is {float(system.diagonal[i])}; the method {method!r} needs a positive diagonal "
        "(tree and elimination do not)"
    )


def _mirrored(matrix: SparseMatrix) -> tuple[SparseMatrix, Tensor]:
    """``matrix`` on a symmetric pattern (zeros added where needed), and the entry that mirrors each entry."""
    n, row, column = matrix.n, matrix.row, matrix.column.long()
    mirror = torch.argsort(column * n + row)
    if torch.equal(row[mirror], column) and torch.equal(column[mirror], row):
        return matrix, mirror
    padded = from_triplets(
        n,
        torch.cat([row, column]),
        torch.cat([column, row]),
        torch.cat([matrix.value, torch.zeros_like(matrix.value)]),
    )
    return padded, torch.argsort(padded.column.long() * n + padded.row)


def _is_triangular(matrix: SparseMatrix) -> bool:
    below = matrix.value[matrix.row > matrix.column]
    above = matrix.value[matrix.row < matrix.column]
    return not bool(below.any()) or not bool(above.any())


def _worst_asymmetry(matrix: SparseMatrix, mirror: Tensor) -> tuple[int, int, float, float] | None:
    value = matrix.value.double()
    difference = (value - value[mirror]).abs()
    if not bool(difference.any()):
        return None
    row, column = matrix.row, matrix.column.long()
    diagonal = value.new_zeros(matrix.n)
    diagonal[row[row == column]] = value[row == column]
    scale = torch.maximum(value.abs(), value[mirror].abs())
    scale = torch.maximum(scale, diagonal[row].abs().sqrt() * diagonal[column].abs().sqrt())
    allowed = ASYMMETRY_TOLERANCE * torch.finfo(matrix.value.dtype).eps * scale
    if not bool((difference > allowed).any()):
        return None
    worst = int(torch.where(difference > allowed, difference, 0.0).argmax())
    return int(row[worst]), int(column[worst]), float(value[worst]), float(value[mirror][worst])
