"""The linear system as a weighted graph: edges, diagonal, edge weights."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import scipy.sparse
import torch
from torch import Tensor

from gabp.kernels import dispatch
from gabp.kernels.types import MessageKernels
from gabp.system.errors import InvalidSystemError
from gabp.system.graph import EdgeGraph
from gabp.system.matrix import SparseMatrix
from gabp.system.vectors import times_power_of_two

ASYMMETRY_TOLERANCE = 100  # in units of the dtype's rounding, see `largest_asymmetry`
STRICT_DOMINANCE = 1e-9  # a margin of diagonal dominance that rounding of a row sum cannot feign
WEAK_DOMINANCE = -1e-12  # a margin that admits equality, up to rounding


@dataclass(frozen=True, eq=False)
class System:
    """A square sparse matrix as a graph with weights; a precision matrix when symmetric positive definite.

    Attributes
    ----------
    graph : EdgeGraph
        A directed edge per off-diagonal nonzero, and its reverse.
    diagonal : Tensor, shape (n,)
    weight : Tensor, shape (m,)
        ``A[i, k]`` of each directed edge ``k → i``.
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
        rounded = replace(self, diagonal=self.diagonal.to(dtype), weight=self.weight.to(dtype))
        vars(rounded)["layout"] = self._kernels.in_dtype(self.layout, dtype)  # the layout of the pattern is shared
        return rounded

    def equilibrated(self) -> tuple["System", Tensor]:
        """The symmetrically scaled ``S A S`` in float64, ``S = diag(unit)`` of powers of two, diagonal in [½, 2).

        Exact; products of its entries neither overflow nor underflow. Needs a positive diagonal.

        Returns
        -------
        scaled : System
        unit : Tensor, shape (n,), float64
        """
        diagonal = self.diagonal.double()
        e = -torch.div(torch.frexp(diagonal).exponent, 2, rounding_mode="floor")
        # one exponent for all is the common case
        edge = 2 * e[0] if bool((e == e[0]).all()) else e[self.graph.destination] + e[self.graph.source.long()]
        weight = times_power_of_two(self.weight.double(), edge)
        return replace(self, diagonal=times_power_of_two(diagonal, 2 * e), weight=weight), times_power_of_two(
            torch.ones_like(diagonal), e
        )

    def loaded(self, loading: Tensor) -> "System":
        """``A + diag(loading)``."""
        return replace(self, diagonal=self.diagonal + loading)

    @cached_property
    def layout(self) -> Any:
        """The edges in the storage layout of this device's kernels; opaque but to `gabp.kernels`."""
        return self._kernels.layout(self.graph.start, self.graph.source, self.weight, self.diagonal)

    @property
    def _kernels(self) -> MessageKernels:
        return dispatch.backend(self.device, self.dtype).messages

    @property
    def backend(self) -> str:
        """The name of the kernels used for this system."""
        return dispatch.backend(self.device, self.dtype).name

    def residual(self, x: Tensor, b: Tensor) -> Tensor:
        """``b - A @ x`` in float64 for ``x`` and ``b`` of shape (n, k)."""
        if self.device.type != "cpu":
            return self._kernels.residual(self.layout, x, b)[0]
        rows, graph = (
            dispatch.backend(self.device).rows,
            self.graph,
        )  # needs no layout
        return rows.residual(graph.start, graph.source, self.weight, self.diagonal, x, b)

    def extended_precision_residual(self, x: Tensor, b: Tensor) -> Tensor:
        """``b - A @ x`` as if in twice the precision of float64, for ``x`` and ``b`` of shape (n, k)."""
        rows, graph = dispatch.backend(self.device).rows, self.graph
        return rows.extended_precision_residual(graph.start, graph.source, self.weight, self.diagonal, x, b)

    def term_sizes(self, x: Tensor, b: Tensor) -> Tensor:
        """``|A| |x| + |b|``, the componentwise rounding bound of the residual up to its factor, shape (n, k)."""
        rows, graph = dispatch.backend(self.device).rows, self.graph
        return -rows.residual(graph.start, graph.source, self.weight.abs(), self.diagonal.abs(), x.abs(), -b.abs())

    def to_scipy(self, format: Literal["csr", "csc"] = "csr") -> Any:
        """The whole matrix, diagonal included, as a scipy sparse array in float64 with sorted indices."""
        start, source = self.graph.start.cpu().numpy(), self.graph.source.cpu().numpy()
        off_diagonal = scipy.sparse.csr_array((self.weight.double().cpu().numpy(), source, start), (self.n, self.n))
        return (off_diagonal + scipy.sparse.diags_array(self.diagonal.double().cpu().numpy())).asformat(format)

    def multiply(self, x: Tensor) -> Tensor:
        """``A @ x`` in float64 for ``x`` of shape (n, k)."""
        return -self.residual(x, torch.zeros_like(x))

    @property
    def norm(self) -> float:
        """The largest absolute row sum, ``‖A‖_∞``."""
        return self._summary[1]

    @property
    def smallest_diagonal(self) -> float:
        """``min_i A_ii``."""
        return self._summary[0]

    @property
    def dominance(self) -> float:
        """The largest ``Σ_k |A_ik| / |A_ii|`` over the neighbours of a node; A is diagonally dominant below 1."""
        return self._summary[2]

    def is_dominant(self, margin: float) -> bool:
        """Whether ``Σ_k |A_ik| <= (1 - margin) |A_ii|`` in every row, as summed in float64.

        ``margin`` is `STRICT_DOMINANCE` or `WEAK_DOMINANCE`; `gabp.conditions.dominance` has an exact proof.
        """
        return self.dominance <= 1 - margin

    @cached_property
    def _summary(self) -> tuple[float, float, float]:
        rows = dispatch.backend(self.device).rows
        return rows.summarize_rows(self.graph.start, self.weight.detach(), self.diagonal.detach())


def largest_asymmetry(matrix: SparseMatrix) -> tuple[int, int, float, float] | None:
    """The largest asymmetry, ``(i, j, A_ij, A_ji)``, or None where A is symmetric to rounding.

    Symmetric to rounding means ``|A_ij - A_ji| <= 100 eps max(|A_ij|, |A_ji|, sqrt|A_ii A_jj|)`` with ``eps`` of
    the matrix's own dtype.
    """
    return _compare(matrix)[1]


def make_system(matrix: SparseMatrix, symmetric: bool = True) -> System:
    """Split a matrix into graph, diagonal and edge weights; stored zeros are dropped.

    Parameters
    ----------
    matrix : SparseMatrix
    symmetric : bool
        Whether it must be symmetric to rounding; it is then symmetrised.

    Raises
    ------
    InvalidSystemError
        ``symmetric`` is set and the matrix is not; the largest asymmetry and its place are named.
    """
    exact = False
    if symmetric:
        exact, worst = _compare(matrix)
        if worst is not None:
            i, j, forth, back = worst
            raise InvalidSystemError(
                f"A is not symmetric: the largest asymmetry is A[{i}, {j}] = {forth:.17g} against "
                f"A[{j}, {i}] = {back:.17g}; pass symmetric=False for a general system"
                + (", or store both triangles" if _is_triangular(matrix) else "")
            )
    rows = dispatch.backend(matrix.value.device).rows
    start, source, weight, diagonal = rows.split_rows(
        matrix.start, matrix.column, matrix.value, exact=exact, average=symmetric
    )
    return System(EdgeGraph(matrix.n, start, source), diagonal, weight, symmetric)


def require_positive_diagonal(system: System, method: str) -> None:
    """Raise `InvalidSystemError` for a nonpositive diagonal entry, which is named."""
    if system.smallest_diagonal > 0:
        return
    i = int((system.diagonal <= 0).nonzero()[0])
    raise InvalidSystemError(
        f"A[{i}, {i}] is {float(system.diagonal[i])}; the method {method!r} needs a positive diagonal "
        "(tree and elimination do not)"
    )


def _compare(matrix: SparseMatrix) -> tuple[bool, tuple[int, int, float, float] | None]:
    """Whether every entry equals its mirror, and the worst asymmetry beyond rounding."""
    tolerance = ASYMMETRY_TOLERANCE * torch.finfo(matrix.value.dtype).eps
    rows = dispatch.backend(matrix.value.device).rows
    exact, i, entry, mirror = rows.compare_mirrors(matrix.start, matrix.column, matrix.value, tolerance)
    if i < 0:
        return exact, None
    back = float(matrix.value[mirror]) if mirror >= 0 else 0.0
    return exact, (i, int(matrix.column[entry]), float(matrix.value[entry]), back)


def _is_triangular(matrix: SparseMatrix) -> bool:
    row = torch.repeat_interleave(torch.arange(matrix.n, device=matrix.start.device), matrix.start.diff())
    below = matrix.value[row > matrix.column]
    above = matrix.value[row < matrix.column]
    return not bool(below.any()) or not bool(above.any())
