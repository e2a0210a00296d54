"""A hierarchy of contracted models as tensors on one device, set up there by tensor operations.

The rows of a level are ordered by colour, so that an elimination sweep is one kernel for each colour. Hubs, rows of
more than `gabp.kernels.torch.sliced_rows.LONG` neighbours, get colours of their own after all others: in that order
stars are eliminated exactly.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gabp.kernels.torch.aggregation import Model, contract, find_clusters, row_sums, segment_sums
from gabp.kernels.torch.colouring import colour
from gabp.kernels.torch.sliced_rows import LONG, SlicedRows, slice_rows

# Floors of the pivots: share of the diagonal, and of the couplings to later rows. Where half a sweep goes down and
# the other half up, half the diagonal would keep the cycle positive definite; 0.8 smooths (measured).
_HALF_SWEEP, _WHOLE_SWEEP = (0.8, 0.0), (0.01, 1.0)
_ROUNDING = 1e-5  # of a pivot against its floor
_LEAST_CONTRACTION = 0.8  # coarse over fine nodes, above which a coarse model is not worth it
_LEAST_INNER = 0.12  # share of the couplings within clusters, below which the graph is no mesh
_WINDOW = 4096  # rows within which equal lengths are put together
_SMALL_PIVOT = 1e-12  # of the diagonal in the dense factor: rounding


@dataclass(frozen=True, eq=False)
class Level:
    """One model, its rows in the order of elimination.

    Attributes
    ----------
    order : Tensor, int64, shape (n,)
        The node at each position.
    rows : SlicedRows
        The couplings: to earlier rows in the low part, to later ones in the high part.
    colours : tuple of (int, int)
        First row of each colour, and the row after its last.
    diagonal, inverse_pivot, excess : Tensor, shape (n,)
        ``A_ii``, ``1 / J_i`` and ``J_i - A_ii``.
    loaded : int
        Rows whose pivot fell too low and was raised.
    cluster : Tensor, int32, shape (n,), or None
        The coarse row of each row, or -1; None on the last level.
    restriction : SlicedRows or None
        ``Pᵀ(J - D - U)``, the coarse rows of the residual that the forward half of a sweep leaves (``U`` the couplings
        to later rows).
    inverse : Tensor, float64, shape (n, n), or None
        Of the last level, where it is small.
    """

    order: Tensor
    rows: SlicedRows
    colours: tuple[tuple[int, int], ...]
    diagonal: Tensor
    inverse_pivot: Tensor
    excess: Tensor
    loaded: int
    cluster: Tensor | None
    restriction: SlicedRows | None
    inverse: Tensor | None

    def astype(self, dtype: torch.dtype) -> "Level":
        """The same level as a cycle in ``dtype`` wants it; the inverse stays in float64."""
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
    def nbytes(self) -> int:
        tensors = (self.order, self.diagonal, self.inverse_pivot, self.excess, self.cluster, self.inverse)
        sliced = self.rows.nbytes + (0 if self.restriction is None else self.restriction.nbytes)
        return sliced + sum(tensor.nbytes for tensor in tensors if tensor is not None)


def build_levels(model: Model, largest_dense: int) -> tuple[Level, ...]:
    """The models from the finest to one that is small, or that no cluster would make smaller.

    Parameters
    ----------
    model : Model
    largest_dense : int
        Nodes up to which a model is eliminated in dense storage.
    """
    if model.n <= largest_dense:
        return (_dense_level(model),)
    cluster = find_clusters(model)
    coarse, inner = contract(model, cluster)
    if not 0 < coarse.n <= _LEAST_CONTRACTION * model.n or inner < _LEAST_INNER:
        return (_level(model, None, None),)
    below = build_levels(coarse, largest_dense)
    return (_level(model, cluster, below[0].order), *below)


def _level(model: Model, cluster: Tensor | None, coarse_order: Tensor | None) -> Level:
    order, colours, short = _order(model)
    n, device = model.n, order.device
    position = torch.empty_like(order)
    position[order] = torch.arange(n, device=device)
    row, column = position[model.row], position[model.column]
    later = column > row
    rows = slice_rows(n, row, later, column, model.weight, short)
    by_row = torch.argsort(row * n + column)
    row, column, later, weight = row[by_row], column[by_row], later[by_row], model.weight[by_row]
    diagonal = model.diagonal[order]
    inverse, loaded = _pivots(colours, row, column, later, weight, diagonal, cluster is None)
    excess = 1 / inverse - diagonal
    into = restriction = None
    if cluster is not None and coarse_order is not None:
        coarse = torch.empty_like(coarse_order)
        coarse[coarse_order] = torch.arange(len(coarse_order), device=device)
        into = torch.where(cluster[order] >= 0, coarse[cluster[order].clamp(min=0)], -1)
        restriction = _restriction(len(coarse_order), into, row[later], column[later], weight[later], excess)
        into = into.to(torch.int32)
    return Level(order, rows, colours, diagonal, inverse, excess, loaded, into, restriction, None)


def _order(model: Model) -> tuple[Tensor, tuple[tuple[int, int], ...], int]:
    """The nodes in order of elimination, the row ranges of the colours, and how many rows are no hubs."""
    n, device = model.n, model.row.device
    degree = torch.bincount(model.row, minlength=n)
    hub = degree > LONG
    colours = torch.zeros(n, dtype=torch.int64, device=device)
    used = 0
    for kind in (~hub, hub):
        members = kind.nonzero().flatten()
        if len(members) == 0:
            continue
        place = torch.full((n,), -1, dtype=torch.int64, device=device)
        place[members] = torch.arange(len(members), device=device)
        inside = kind[model.row] & kind[model.column]
        own = colour(len(members), place[model.row[inside]], place[model.column[inside]])
        colours[members] = own + used
        used += int(own.max()) + 1
    # neighbours in memory stay neighbours, but rows of equal length stand together, so that slices need no padding
    low = torch.bincount(model.row[colours[model.column] < colours[model.row]], minlength=n)
    by_colour = torch.argsort(colours, stable=True)
    count = torch.bincount(colours, minlength=used)
    rank = torch.arange(n, device=device) - (count.cumsum(0) - count)[colours[by_colour]]
    window = torch.empty_like(rank)
    window[by_colour] = torch.div(rank, _WINDOW, rounding_mode="floor")
    length = torch.where(hub, 0, (LONG + 1) * (LONG - low) + LONG - (degree - low))
    order = torch.argsort((colours * (n // _WINDOW + 1) + window) * (LONG + 1) ** 2 + length, stable=True)
    end = count.cumsum(0).tolist()
    return order, tuple(zip([0, *end[:-1]], end, strict=True)), n - int(hub.sum())


def _pivots(
    colours: tuple[tuple[int, int], ...],
    row: Tensor,
    column: Tensor,
    later: Tensor,
    weight: Tensor,
    diagonal: Tensor,
    whole: bool,
) -> tuple[Tensor, int]:
    """``1 / J_i``, ``J_i = A_ii - Σ_{k before i} A_ik² / J_k`` raised to its floor, and how many were."""
    n = len(diagonal)
    share, coupling = _WHOLE_SWEEP if whole else _HALF_SWEEP
    floor = torch.maximum(share * diagonal, coupling * row_sums(row[later], weight[later].abs(), n))
    inverse = torch.zeros_like(diagonal)
    row, column, square = row[~later], column[~later], weight[~later] ** 2
    begin = torch.searchsorted(row, torch.tensor([first for first, _ in colours], device=row.device)).tolist()
    loaded = 0
    for (first, last), e, f in zip(colours, begin, [*begin[1:], len(row)], strict=True):
        heard = row_sums(row[e:f] - first, square[e:f] * inverse[column[e:f]], last - first)
        pivot = diagonal[first:last] - heard
        low = ~(pivot >= (1 - _ROUNDING) * floor[first:last])
        inverse[first:last] = 1 / torch.where(low, floor[first:last], pivot)
        loaded += int(low.sum())
    return inverse, loaded


def _restriction(
    coarse_n: int, into: Tensor, row: Tensor, column: Tensor, weight: Tensor, excess: Tensor
) -> SlicedRows:
    """``Pᵀ(J - D - U)`` from the cluster of each row and the couplings to later rows."""
    n = len(into)
    inside = (into >= 0).nonzero().flatten()
    kept = into[row] >= 0
    place = torch.cat([into[inside] * n + inside, into[row[kept]] * n + column[kept]])
    value = torch.cat([excess[inside], -weight[kept]])
    place, by_place = torch.sort(place, stable=True)
    place, count = torch.unique_consecutive(place, return_counts=True)
    value = segment_sums(value[by_place], count)
    coarse = torch.div(place, n, rounding_mode="floor")
    return slice_rows(coarse_n, coarse, None, place - coarse * n, value, coarse_n)


def _dense_level(model: Model) -> Level:
    n, device = model.n, model.diagonal.device
    A = torch.diag(model.diagonal)
    A[model.row, model.column] = model.weight
    diagonal = model.diagonal
    shift = 0.0
    while True:
        factor, failed = torch.linalg.cholesky_ex(A + torch.diag(shift * diagonal))
        if not bool(failed) and bool((factor.diagonal() ** 2 > _SMALL_PIVOT * diagonal).all()):
            break
        shift = max(10 * shift, _SMALL_PIVOT)  # a singular model, or an indefinite one, which the steps will tell
    return Level(
        torch.arange(n, device=device),
        slice_rows(n, model.row, None, model.column, model.weight, n),
        (),
        diagonal,
        1 / diagonal,
        torch.zeros_like(diagonal),
        int(shift > 0) * n,
        None,
        None,
        torch.cholesky_inverse(factor),
    )
