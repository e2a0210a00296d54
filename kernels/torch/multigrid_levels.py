"""A hierarchy of aggregated matrices as tensors on one device, set up there by tensor operations.

The rows of a level are ordered by colour, so that an elimination sweep is one kernel for each colour. Hubs, rows of
more than `LONG_ROW` nonzeros, get colours of their own after all others: in that order stars are eliminated exactly.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gabp.kernels.torch.aggregation import SymmetricMatrix, find_aggregates, galerkin_matrix, row_sums, segment_sums
from gabp.kernels.torch.colouring import colour
from gabp.kernels.torch.sliced_ell import Parts, SlicedEll, from_coordinates, sort_within_windows

SLICE_HEIGHT = 32  # rows: a warp
LONG_ROW = 256  # nonzeros; a lane that works through more alone delays the whole device
PROGRAM_ROWS = 128  # rows of a program: four slices
_MOST_PROGRAMS = 1024  # of a kernel that sums: so few partial sums that one program adds them up
EARLIER: Parts = (0, 1)  # couplings to earlier rows
LATER: Parts = (1, 2)
BOTH: Parts = (0, 2)

# Floors of the pivots: share of the diagonal, and of the couplings to later rows. Where half a sweep goes down and
# the other half up, half the diagonal would keep the cycle positive definite; 0.8 smooths (measured).
_HALF_SWEEP_FLOOR, _FULL_SWEEP_FLOOR = (0.8, 0.0), (0.01, 1.0)
_PIVOT_ROUNDING = 1e-5  # of a pivot against its floor
_LARGEST_COARSENING_RATIO = 0.8  # coarse over fine nodes, above which a coarse level is not worth it
_SMALLEST_INNER_SHARE = 0.12  # of the couplings within aggregates, below which the graph is no mesh
_SINGULAR_PIVOT = 1e-12  # of the diagonal in the dense factor: rounding


@dataclass(frozen=True, eq=False)
class MultigridLevel:
    """One matrix of the hierarchy, its rows in the order of elimination.

    Attributes
    ----------
    order : Tensor, int64, shape (n,)
        The node of each row.
    rows : SlicedEll
        The off-diagonal elements, in two parts: couplings to earlier rows, and to later ones.
    sliced : int
        Rows before this one are in slices; those from here on are hubs, stored by themselves.
    colours : tuple of (int, int)
        First row of each colour, and the row after its last.
    diagonal, inverse_pivot, excess : Tensor, shape (n,)
        ``A_ii``, ``1 / J_i`` and ``J_i - A_ii``.
    loaded : int
        Rows whose pivot was below its floor and was raised to it.
    aggregate : Tensor, int32, shape (n,), or None
        The coarse row of each row, or -1; None on the coarsest level.
    restriction : SlicedEll or None
        ``Pᵀ(J - D - U)``, which maps the result of the forward half of a sweep to the coarse rows of its residual
        (``U`` the couplings to later rows).
    inverse : Tensor, float64, shape (n, n), or None
        Of the coarsest level, where it is small.
    """

    order: Tensor
    rows: SlicedEll
    sliced: int
    colours: tuple[tuple[int, int], ...]
    diagonal: Tensor
    inverse_pivot: Tensor
    excess: Tensor
    loaded: int
    aggregate: Tensor | None
    restriction: SlicedEll | None
    inverse: Tensor | None

    def astype(self, dtype: torch.dtype) -> "MultigridLevel":
        """The same level for a cycle in ``dtype``; the inverse stays in float64."""
        return replace(
            self,
            rows=self.rows.astype(dtype),
            diagonal=self.diagonal.to(dtype),
            inverse_pivot=self.inverse_pivot.to(dtype),
            excess=self.excess.to(dtype),
            restriction=None if self.restriction is None else self.restriction.astype(dtype),
        )

    @property
    def n(self) -> int:
        return len(self.order)

    @property
    def edges(self) -> int:
        return int((self.rows.column >= 0).sum())

    @property
    def programs(self) -> int:
        """Programs of a kernel that sums over all rows: each stores a partial sum."""
        return min(-(-self.sliced // PROGRAM_ROWS), _MOST_PROGRAMS) + len(self.rows.long_row)

    @property
    def nbytes(self) -> int:
        tensors = (self.order, self.diagonal, self.inverse_pivot, self.excess, self.aggregate, self.inverse)
        sliced = self.rows.nbytes + (0 if self.restriction is None else self.restriction.nbytes)
        return sliced + sum(tensor.nbytes for tensor in tensors if tensor is not None)


def build_levels(matrix: SymmetricMatrix, largest_dense: int) -> tuple[MultigridLevel, ...]:
    """The levels from the finest to one that is small, or that aggregation would not make smaller.

    Parameters
    ----------
    matrix : SymmetricMatrix
    largest_dense : int
        Nodes up to which a matrix is inverted in dense storage.
    """
    if matrix.n <= largest_dense:
        return (_dense_level(matrix),)
    aggregate = find_aggregates(matrix)
    coarse, inner = galerkin_matrix(matrix, aggregate)
    if not 0 < coarse.n <= _LARGEST_COARSENING_RATIO * matrix.n or inner < _SMALLEST_INNER_SHARE:
        return (_level(matrix, None, None),)
    below = build_levels(coarse, largest_dense)
    return (_level(matrix, aggregate, below[0].order), *below)


def _level(matrix: SymmetricMatrix, aggregate: Tensor | None, coarse_order: Tensor | None) -> MultigridLevel:
    order, colours, sliced = _order(matrix)
    n, device = matrix.n, order.device
    position = torch.empty_like(order)
    position[order] = torch.arange(n, device=device)
    row, column = position[matrix.row], position[matrix.column]
    rows = from_coordinates(
        n, row, column, matrix.weight, part=column > row, height=SLICE_HEIGHT, longest=LONG_ROW, sliced=sliced
    )
    by_row = torch.argsort(row * n + column)
    row, column, weight = row[by_row], column[by_row], matrix.weight[by_row]
    later = column > row
    diagonal = matrix.diagonal[order]
    inverse, loaded = _pivots(colours, row, column, weight, diagonal, aggregate is None)
    excess = 1 / inverse - diagonal
    into = restriction = None
    if aggregate is not None and coarse_order is not None:
        coarse = torch.empty_like(coarse_order)
        coarse[coarse_order] = torch.arange(len(coarse_order), device=device)
        into = torch.where(aggregate[order] >= 0, coarse[aggregate[order].clamp(min=0)], -1)
        restriction = _restriction(len(coarse_order), into, row[later], column[later], weight[later], excess)
        into = into.to(torch.int32)
    return MultigridLevel(order, rows, sliced, colours, diagonal, inverse, excess, loaded, into, restriction, None)


def _order(matrix: SymmetricMatrix) -> tuple[Tensor, tuple[tuple[int, int], ...], int]:
    """The nodes in the order of elimination, the row ranges of the colours, and the number of rows that are no hubs."""
    n, device = matrix.n, matrix.row.device
    degree = torch.bincount(matrix.row, minlength=n)
    hub = degree > LONG_ROW
    colours = torch.zeros(n, dtype=torch.int64, device=device)
    used = 0
    for kind in (~hub, hub):
        members = kind.nonzero().flatten()
        if len(members) == 0:
            continue
        place = torch.full((n,), -1, dtype=torch.int64, device=device)
        place[members] = torch.arange(len(members), device=device)
        inside = kind[matrix.row] & kind[matrix.column]
        own = colour(len(members), place[matrix.row[inside]], place[matrix.column[inside]])
        colours[members] = own + used
        used += int(own.max()) + 1
    earlier = torch.bincount(matrix.row[colours[matrix.column] < colours[matrix.row]], minlength=n)
    longest = (LONG_ROW + 1) ** 2 - 1
    length = torch.where(hub, longest, (LONG_ROW + 1) * earlier + degree - earlier)
    order = sort_within_windows(colours, used, length, longest)
    end = torch.bincount(colours, minlength=used).cumsum(0).tolist()
    return order, tuple(zip([0, *end[:-1]], end, strict=True)), n - int(hub.sum())


def _pivots(
    colours: tuple[tuple[int, int], ...], row: Tensor, column: Tensor, weight: Tensor, diagonal: Tensor, whole: bool
) -> tuple[Tensor, int]:
    """``1 / J_i``, ``J_i = A_ii - Σ_{k before i} A_ik² / J_k`` raised to its floor, and the number of those raised."""
    n, later = len(diagonal), column > row
    share, coupling = _FULL_SWEEP_FLOOR if whole else _HALF_SWEEP_FLOOR
    floor = torch.maximum(share * diagonal, coupling * row_sums(row[later], weight[later].abs(), n))
    inverse = torch.zeros_like(diagonal)
    row, column, square = row[~later], column[~later], weight[~later] ** 2
    begin = torch.searchsorted(row, torch.tensor([first for first, _ in colours], device=row.device)).tolist()
    loaded = 0
    for (first, last), e, f in zip(colours, begin, [*begin[1:], len(row)], strict=True):
        eliminated = row_sums(row[e:f] - first, square[e:f] * inverse[column[e:f]], last - first)
        pivot = diagonal[first:last] - eliminated
        low = ~(pivot >= (1 - _PIVOT_ROUNDING) * floor[first:last])
        inverse[first:last] = 1 / torch.where(low, floor[first:last], pivot)
        loaded += int(low.sum())
    return inverse, loaded


def _restriction(coarse_n: int, into: Tensor, row: Tensor, column: Tensor, weight: Tensor, excess: Tensor) -> SlicedEll:
    """``Pᵀ(J - D - U)`` from the coarse row of each row and the couplings to later rows."""
    n = len(into)
    inside = (into >= 0).nonzero().flatten()
    kept = into[row] >= 0
    place = torch.cat([into[inside] * n + inside, into[row[kept]] * n + column[kept]])
    value = torch.cat([excess[inside], -weight[kept]])
    place, by_place = torch.sort(place, stable=True)
    place, count = torch.unique_consecutive(place, return_counts=True)
    value = segment_sums(value[by_place], count)
    coarse = torch.div(place, n, rounding_mode="floor")
    return from_coordinates(coarse_n, coarse, place - coarse * n, value, height=SLICE_HEIGHT, longest=LONG_ROW)


def _dense_level(matrix: SymmetricMatrix) -> MultigridLevel:
    n, device, diagonal = matrix.n, matrix.diagonal.device, matrix.diagonal
    A = torch.diag(diagonal)
    A[matrix.row, matrix.column] = matrix.weight
    shift = 0.0
    while True:
        factor, failed = torch.linalg.cholesky_ex(A + torch.diag(shift * diagonal))
        if not bool(failed) and bool((factor.diagonal() ** 2 > _SINGULAR_PIVOT * diagonal).all()):
            break
        shift = max(10 * shift, _SINGULAR_PIVOT)  # singular, or indefinite, which the iteration will detect
    return MultigridLevel(
        order=torch.arange(n, device=device),
        rows=from_coordinates(
            n,
            matrix.row,
            matrix.column,
            matrix.weight,
            part=torch.zeros_like(matrix.row),
            height=SLICE_HEIGHT,
            longest=LONG_ROW,
        ),
        sliced=n,
        colours=(),
        diagonal=diagonal,
        inverse_pivot=1 / diagonal,
        excess=torch.zeros_like(diagonal),
        loaded=int(shift > 0) * n,
        aggregate=None,
        restriction=None,
        inverse=torch.cholesky_inverse(factor),
    )
