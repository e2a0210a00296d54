"""From compressed rows to directed edges, what needs no layout of them, and norms, in torch, on any device.

Compressed rows are ``start`` ``(n + 1,)``, ``column`` and ``value`` ``(nnz,)``; ``e`` in ``range(nnz)`` is a nonzero.
*Sorted* rows have ascending columns, none twice. `inspect_rows` takes int32 and int64 indices, all others int64
``start`` and int32 ``column``. Directed edges are as in `gabp.kernels.reference`.
"""

import torch
from torch import Tensor

from gabp.kernels.torch.offsets import destinations, row_offsets


def inspect_rows(start: Tensor, column: Tensor, value: Tensor) -> tuple[int, int, bool]:
    """First nonzero that is not finite, first whose column does not exist (-1: none), whether rows are sorted."""
    n = len(start) - 1
    outside = (column < 0) | (column >= n)
    place = destinations(start) * n + column
    ascending = bool((place.diff() > 0).all())
    return _first(~value.isfinite()), _first(outside), ascending


def sort_rows(start: Tensor, column: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Sorted rows; duplicates are summed."""
    n = len(start) - 1
    place, order = torch.sort(destinations(start) * n + column, stable=True)
    place, group = torch.unique_consecutive(place, return_inverse=True)
    total = value.new_zeros(len(place)).index_add_(0, group, value[order])
    row = torch.div(place, n, rounding_mode="floor")
    return row_offsets(row, n), (place - row * n).to(torch.int32), total


def compare_mirrors(start: Tensor, column: Tensor, value: Tensor, tolerance: float) -> tuple[bool, int, int, int]:
    """Compare the nonzeros of sorted rows with their mirrors.

    Returns
    -------
    exact : bool
        Every stored off-diagonal value is not zero and equals its mirror.
    row, entry, mirror : int
        The largest difference ``|A_ij - A_ji|`` that exceeds
        ``tolerance * max(|A_ij|, |A_ji|, sqrt|A_ii A_jj|)``: its row, its nonzero and that of its mirror
        (-1 where that is not stored). ``row`` is -1 where no difference exceeds it.
    """
    n, row = len(start) - 1, destinations(start)
    mirror = _find(row * n + column, column.long() * n + row)
    forth = value.double()
    back = torch.where(mirror >= 0, forth[mirror.clamp(min=0)], 0.0)
    diagonal = forth.new_zeros(n)
    diagonal[row[row == column]] = forth[row == column]
    root = diagonal.abs().sqrt()
    scale = torch.maximum(torch.maximum(forth.abs(), back.abs()), root[row] * root[column.long()])
    difference = (forth - back).abs()
    exact = bool(((row == column) | ((mirror >= 0) & (forth == back) & (forth != 0))).all())
    excess = torch.where(difference > tolerance * scale, difference, 0.0)
    if not bool(excess.any()):
        return exact, -1, -1, -1
    entry = int((excess == excess.max()).nonzero()[0])
    return exact, int(row[entry]), entry, int(mirror[entry])


def split_rows(
    start: Tensor, column: Tensor, value: Tensor, *, exact: bool, average: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Directed edges and diagonal of sorted rows: ``(start, source, weight, diagonal)``.

    There is an edge where ``A_ij`` or ``A_ji`` is not zero. With ``average``, the edges are those of
    ``(A + A^T) / 2``. ``exact``, as found by `compare_mirrors`, saves the search for mirrors.
    """
    n, row = len(start) - 1, destinations(start)
    on_diagonal = row == column
    diagonal = value.new_zeros(n)
    diagonal[row[on_diagonal]] = value[on_diagonal]
    row, column, value = row[~on_diagonal], column[~on_diagonal].long(), value[~on_diagonal]
    if not exact:
        place = torch.unique(torch.cat([row * n + column, column * n + row]))
        stored = row * n + column
        row = torch.div(place, n, rounding_mode="floor")
        column = place - row * n
        forth, back = _values_at(stored, value, place), _values_at(stored, value, column * n + row)
        value = (forth + back) / 2 if average else forth
        edge = value != 0 if average else (forth != 0) | (back != 0)
        row, column, value = row[edge], column[edge], value[edge]
    return row_offsets(row, n), column.to(torch.int32), value, diagonal


def summarize_rows(start: Tensor, weight: Tensor, diagonal: Tensor) -> tuple[float, float, float]:
    """The smallest diagonal entry, the largest absolute row sum, the largest ``Σ_k |A_ik| / |A_ii|`` of any row."""
    sums = weight.new_zeros(len(start) - 1, dtype=torch.float64).index_add_(
        0, destinations(start), weight.double().abs()
    )
    size = diagonal.double().abs()
    ratio = torch.where(sums > 0, sums / size, 0.0)
    return float(diagonal.min()), float((sums + size).max()), float(ratio.max())


def reverse_edges(start: Tensor, source: Tensor) -> Tensor:
    """The reverse of each directed edge of a symmetric pattern, ``(m,)`` int64."""
    n, destination = len(start) - 1, destinations(start)
    by_source = torch.argsort(source.long() * n + destination)
    reverse = torch.empty_like(by_source)
    reverse[by_source] = torch.arange(len(source), device=source.device)
    return reverse


def residual(start: Tensor, source: Tensor, weight: Tensor, diagonal: Tensor, x: Tensor, b: Tensor) -> Tensor:
    """``b - A x`` in float64 for ``x`` and ``b`` of shape ``(n, k)``."""
    x = x.double()
    r = b.double() - diagonal.double()[:, None] * x
    return r.index_add_(0, destinations(start), weight.double()[:, None] * x[source.long()], alpha=-1.0)


def extended_precision_residual(
    start: Tensor, source: Tensor, weight: Tensor, diagonal: Tensor, x: Tensor, b: Tensor
) -> Tensor:
    """`residual` as if in twice the precision.

    Each row's terms, and the errors of their products, are split by one large power of two: the upper parts add up
    without rounding, and the rounding of the lower parts is negligible (Rump, Ogita and Oishi 2008).
    """
    x, b = x.double(), b.double()
    row, itself = destinations(start), torch.arange(len(b), device=b.device)
    row, coefficient = torch.cat([row, itself, itself]), torch.cat([weight, diagonal, torch.ones_like(diagonal)])
    term, error = _product(-coefficient.double()[:, None], torch.cat([x[source.long()], x, -b]))
    size = torch.zeros_like(b).index_add_(0, row, term.abs())
    unit = torch.ldexp(torch.ones_like(b), torch.frexp(size).exponent + 1)[row]
    upper = (term + unit) - unit
    lower = (term - upper) + error
    return torch.zeros_like(b).index_add_(0, row, upper) + torch.zeros_like(b).index_add_(0, row, lower)


def _product(a: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """``a x`` rounded, and its rounding error (Dekker 1971)."""
    product = a * x
    (high, low), (x_high, x_low) = _halves(a), _halves(x)
    return product, low * x_low - (((product - high * x_high) - low * x_high) - high * x_low)


def _halves(a: Tensor) -> tuple[Tensor, Tensor]:
    """``a`` as a sum of two numbers of half the digits."""
    wide = (2.0**27 + 1) * a
    high = wide - (wide - a)
    return high, a - high


def column_norms(x: Tensor) -> Tensor:
    """The Euclidean norm of each column of ``x`` ``(n, k)``: ``(k,)``."""
    return x.norm(dim=0)


def largest_entries(x: Tensor) -> Tensor:
    """The largest magnitude in each column of ``x`` ``(n, k)``: ``(k,)``; NaN where there is one."""
    return x.abs().amax(0)


def _find(ascending: Tensor, wanted: Tensor) -> Tensor:
    """Where each of ``wanted`` stands in ``ascending``, or -1."""
    if len(ascending) == 0:
        return torch.full_like(wanted, -1)
    at = torch.searchsorted(ascending, wanted).clamp(max=len(ascending) - 1)
    return torch.where(ascending[at] == wanted, at, -1)


def _values_at(stored: Tensor, value: Tensor, place: Tensor) -> Tensor:
    at = _find(stored, place)
    if len(value) == 0:
        return value.new_zeros(len(place))
    return torch.where(at >= 0, value[at.clamp(min=0)], torch.zeros((), dtype=value.dtype, device=value.device))


def _first(found: Tensor) -> int:
    return int(found.nonzero()[0]) if bool(found.any()) else -1
