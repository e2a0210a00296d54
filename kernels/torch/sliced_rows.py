"""Rows of a sparse matrix laid out for a GPU: slices of 32 rows, one lane a row, so that every load is coalesced.

The entries of a slice stand column by column: entry ``j`` of its row ``l`` is at ``begin + 32 j + l``, and rows shorter
than the longest of the slice are padded by the column -1. A row has two parts, *low* and *high*, that lie in the slice
one after the other; a kernel walks either of them, or both at once. A row longer than `LONG` would make its slice's
padding, and the wait for its lane, too long: it stands by itself, contiguous, and a whole program works on it.
"""

from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor

LANES = 32
LONG = 256  # entries; a lane that walks more alone holds up the whole device
TILE = 128  # rows of a program, four slices
MOST_PROGRAMS = 1024  # of a kernel that sums: the partial sums are few enough for one program to add up
LOW, HIGH, BOTH = (0, 1), (1, 2), (0, 2)  # from which to which of a slice's three bounds a part reaches
Part = tuple[int, int]


@dataclass(frozen=True, eq=False)
class SlicedRows:
    """A sparse matrix of ``rows`` rows; see the module.

    Attributes
    ----------
    rows : int
    short : int
        The kernel that gives each row a lane covers the rows before this one.
    bounds : Tensor, int64, shape (2 slices + 1,)
        Begin of the low part, begin of the high part, ... of each slice.
    long_row : Tensor, int64, shape (l,)
        The rows that stand by themselves; they have no entries in the slices.
    long_bounds : Tensor, int64, shape (2 l + 1,)
        As ``bounds``, of the long rows.
    column : Tensor, int32, shape (slots,)
        -1 where there is no entry.
    value : Tensor, shape (slots,)
    """

    rows: int
    short: int
    bounds: Tensor
    long_row: Tensor
    long_bounds: Tensor
    column: Tensor
    value: Tensor
    _entries: dict = field(default_factory=dict, init=False, repr=False)

    def astype(self, dtype: torch.dtype) -> "SlicedRows":
        """The same rows with their values rounded to ``dtype``."""
        return replace(self, value=self.value.to(dtype))

    @property
    def slots(self) -> int:
        """Places for entries, padding included."""
        return len(self.column)

    @property
    def nbytes(self) -> int:
        tensors = (self.bounds, self.long_row, self.long_bounds, self.column, self.value)
        return sum(tensor.nbytes for tensor in tensors)

    @cached_property
    def programs(self) -> int:
        """Programs of a kernel that sums over all rows: each leaves a partial sum."""
        return min(-(-self.short // TILE), MOST_PROGRAMS) + len(self.long_row)

    def entries(self, first: int, last: int, part: Part = BOTH) -> tuple[Tensor, Tensor, Tensor]:
        """Plain entries of the rows ``first:last``: how many each has, their slots and columns.

        In row order, low before high, as the literal twins of the kernels read them; kept once made.
        """
        key = (first, last, part)
        if key not in self._entries:
            self._entries[key] = self._find_entries(first, last, part)
        return self._entries[key]

    def _find_entries(self, first: int, last: int, part: Part) -> tuple[Tensor, Tensor, Tensor]:
        at = torch.arange(self.slots, device=self.column.device)
        half = torch.searchsorted(self.bounds, at, right=True) - 1
        row = half // 2 * LANES + at % LANES
        if len(self.long_row):
            long = torch.searchsorted(self.long_bounds, at, right=True) - 1
            alone = at >= self.long_bounds[0]
            row = torch.where(alone, self.long_row[long.clamp(min=0) // 2], row)
            half = torch.where(alone, long, half)
        wanted = (self.column >= 0) & (row >= first) & (row < last) & (half % 2 >= part[0]) & (half % 2 < part[1])
        at = wanted.nonzero().flatten()
        at = at[torch.argsort(row[at], stable=True)]
        count = torch.bincount(row[at] - first, minlength=last - first)
        return count, at, self.column[at].long()


def slice_rows(rows: int, row: Tensor, high: Tensor | None, column: Tensor, value: Tensor, short: int) -> SlicedRows:
    """Lay out entries, given in any order, none twice.

    Parameters
    ----------
    rows : int
    row, column : Tensor, int64, shape (m,)
    high : Tensor, bool, shape (m,), or None
        Which part of its row an entry belongs to; None puts all into the low one.
    value : Tensor, shape (m,)
    short : int
        Rows from here on are long ones. Before, those of more than `LONG` entries are.
    """
    device = row.device
    part = 2 * row if high is None else 2 * row + high
    order = torch.argsort(part * (int(column.max()) + 1 if len(column) else 1) + column)
    row, part, column, value = row[order], part[order], column[order], value[order]
    count = torch.bincount(part, minlength=2 * rows)
    rank = torch.arange(len(part), device=device) - (count.cumsum(0) - count)[part]

    alone = count.view(-1, 2).sum(1) > LONG
    alone[short:] = True
    slices = max(-(-short // LANES), 1)
    in_slices = torch.zeros(slices * LANES, 2, dtype=torch.int64, device=device)
    in_slices[:short] = torch.where(alone[:, None], 0, count.view(-1, 2))[:short]
    width = in_slices.view(slices, LANES, 2).amax(1)
    bounds = _offsets(LANES * width.reshape(-1))
    long_row = alone.nonzero().flatten()
    long_bounds = bounds[-1] + _offsets(count.view(-1, 2)[long_row].reshape(-1))

    slots = int(long_bounds[-1])
    slot = bounds[2 * (row // LANES).clamp(max=slices - 1) + part % 2] + rank * LANES + row % LANES
    if len(long_row):
        place = torch.zeros(rows, dtype=torch.int64, device=device)
        place[long_row] = torch.arange(len(long_row), device=device)
        slot = torch.where(alone[row], long_bounds[2 * place[row] + part % 2] + rank, slot)
    columns = torch.full((slots,), -1, dtype=torch.int32, device=device)
    columns[slot] = column.to(torch.int32)
    values = value.new_zeros(slots)
    values[slot] = value
    return SlicedRows(rows, short, bounds, long_row, long_bounds, columns, values)


def _offsets(count: Tensor) -> Tensor:
    offsets = torch.zeros(len(count) + 1, dtype=torch.int64, device=count.device)
    torch.cumsum(count, 0, out=offsets[1:])
    return offsets
