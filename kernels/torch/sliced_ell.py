"""Sparse matrices on devices: sliced ELLPACK storage, SELL-C-σ (Kreutzer, Hager, Wellein, Fehske and Bishop 2014).

A *slice* holds ``C`` consecutive rows (its ``height``), column by column: the j-th nonzero of the row in lane ``l`` is
in slot ``start + C j + l``, so that the loads of neighbouring threads are coalesced. Rows shorter than the longest of
their slice are padded; `sort_within_windows` orders rows by length within windows of σ rows, which keeps both the
padding short and the gathered vectors near. A row much longer than the others is stored by itself, contiguously, in one
piece or in several. Slices and pieces of long rows are the *tiles* of the matrix. A tile can have several *parts*, one
after the other, which a kernel traverses singly or together.

There are two modes of padding, each the cheaper for its kernels:

- masked: column -1. A kernel masks the gather, reads nothing for a slot of padding and never multiplies zero by a NaN;
- own row: the slot's own row, with value zero. No mask is needed and no column number is reserved, so that columns can
  count from the ``tile_base`` of their tile, in 16 bits where no tile reaches far, as on a grid.
"""

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from gabp.kernels.torch.offsets import offsets

SORTING_WINDOW = 4096  # σ: rows that are near in memory
PANELS = (8, 4, 2, 1)  # widths of the blocks of right-hand sides that kernels are compiled for
_REACH = 2**16  # rows that 16 bits tell apart
Parts = tuple[int, int]  # the first part, and the one after the last


@dataclass(frozen=True, eq=False)
class SlicedEll:
    """A sparse matrix in sliced ELLPACK storage; see the module.

    Attributes
    ----------
    rows, height, parts : int
        ``height`` is the number of rows of a slice, ``parts`` that of the parts of a row.
    tile_start : Tensor, int64, shape (parts * tiles + 1,)
        First slot of each part of each tile.
    tile_row : Tensor, int32, shape (tiles,)
        The first row of a slice; ``-1 - row`` for a piece of a long row.
    tile_base : Tensor, int32, shape (tiles,), or None
        The row that the columns of a tile count from, where padding points at its own row.
    long_row : Tensor, int32, shape (l,)
        The rows stored by themselves, ascending.
    long_tile : Tensor, int32, shape (l, 2)
        First tile of a long row, and the one after its last.
    column : Tensor, int32 or int16, shape (slots,)
    value : Tensor, shape (slots,)
    """

    rows: int
    height: int
    parts: int
    tile_start: Tensor
    tile_row: Tensor
    tile_base: Tensor | None
    long_row: Tensor
    long_tile: Tensor
    column: Tensor
    value: Tensor
    _nonzeros: dict = field(default_factory=dict, init=False, repr=False)

    def astype(self, dtype: torch.dtype) -> "SlicedEll":
        """The same matrix with its values rounded to ``dtype``."""
        return replace(self, value=self.value.to(dtype))

    @property
    def slots(self) -> int:
        """Places for nonzeros, padding included."""
        return len(self.column)

    @property
    def tiles(self) -> int:
        return len(self.tile_row)

    @property
    def slices(self) -> int:
        """Tiles that come before those of the long rows, where each of these is one piece and there is one phase."""
        return len(self.tile_row) - len(self.long_row)

    @property
    def nbytes(self) -> int:
        tensors = (self.tile_start, self.tile_row, self.long_row, self.long_tile, self.column, self.value)
        return sum(tensor.nbytes for tensor in tensors) + (0 if self.tile_base is None else self.tile_base.nbytes)

    def nonzeros(self, first: int, last: int, parts: Parts) -> tuple[Tensor, Tensor, Tensor]:
        """The nonzeros of some parts of the rows ``first:last``, in row order; of a matrix with masked padding.

        Returns
        -------
        count : Tensor, int64, shape (last - first,)
            Nonzeros of each row.
        slot, column : Tensor, int64
            Kept after the first call.
        """
        key = (first, last, parts)
        if key not in self._nonzeros:
            self._nonzeros[key] = self._find_nonzeros(first, last, parts)
        return self._nonzeros[key]

    def _find_nonzeros(self, first: int, last: int, parts: Parts) -> tuple[Tensor, Tensor, Tensor]:
        slot = torch.arange(self.slots, device=self.column.device)
        start = torch.searchsorted(self.tile_start, slot, right=True) - 1
        code = self.tile_row.long()[torch.div(start, self.parts, rounding_mode="floor")]
        row = torch.where(code >= 0, code + (slot - self.tile_start[start]) % self.height, -1 - code)
        part = start % self.parts
        wanted = (self.column >= 0) & (row >= first) & (row < last) & (part >= parts[0]) & (part < parts[1])
        slot = wanted.nonzero().flatten()
        slot = slot[torch.argsort(row[slot], stable=True)]
        count = torch.bincount(row[slot] - first, minlength=last - first)
        return count, slot, self.column[slot].long()


@dataclass(frozen=True, eq=False)
class SlicePlan:
    """Where the nonzeros of each row are stored: tiles as in `SlicedEll`, without columns and values.

    Attributes
    ----------
    first_slot : Tensor, int64, shape (rows, parts)
        The j-th nonzero of a part of a row is in slot ``first_slot + j stride``.
    stride : Tensor, int64, shape (rows,)
    """

    height: int
    tile_start: Tensor
    tile_row: Tensor
    long_row: Tensor
    long_tile: Tensor
    first_slot: Tensor
    stride: Tensor

    def store_masked(self, slot: Tensor, column: Tensor, value: Tensor) -> SlicedEll:
        """Store nonzeros at ``slot``; padding has the column -1."""
        columns = torch.full((int(self.tile_start[-1]),), -1, dtype=torch.int32, device=column.device)
        columns[slot] = column.to(torch.int32)
        return self._store(slot, columns, None, value)

    def store_relative(self, slot: Tensor, column: Tensor, value: Tensor) -> SlicedEll:
        """Store nonzeros at ``slot``, columns relative to their tiles; padding points at its own row, for one part."""
        columns = self._own_rows()
        columns[slot] = column.to(torch.int32)
        columns, base = _relative(columns, self.tile_start, self.height)
        return self._store(slot, columns, base, value)

    def _store(self, slot: Tensor, columns: Tensor, base: Tensor | None, value: Tensor) -> SlicedEll:
        values = value.new_zeros(len(columns))
        values[slot] = value
        rows, parts = self.first_slot.shape
        tiles = (self.tile_start, self.tile_row, base, self.long_row, self.long_tile)
        return SlicedEll(rows, self.height, parts, *tiles, columns, values)

    def _own_rows(self) -> Tensor:
        """The row of each slot, int32."""
        length = self.tile_start.diff()
        slot = torch.arange(int(self.tile_start[-1]), device=length.device)
        lane = (slot - spread(self.tile_start[:-1], length, len(slot))) % self.height
        code = spread(self.tile_row.long(), length, len(slot))
        return torch.where(code >= 0, code + lane, -1 - code).to(torch.int32)


def plan_slices(
    length: Tensor,
    long: Tensor,
    height: int,
    *,
    slices: Tensor | int,
    phase: Tensor | None = None,
    longest_piece: int | None = None,
) -> SlicePlan:
    """Choose the tiles of a sparse matrix and the place of every nonzero.

    Parameters
    ----------
    length : Tensor, int64, shape (rows, parts)
        Nonzeros of each part of each row.
    long : Tensor, bool, shape (rows,)
        The rows stored by themselves.
    height : int
        Rows of a slice.
    slices : Tensor, int64, or int
        The slices that are stored, ascending, or the number of them, from the first; the other rows are long, or none.
    phase : Tensor, int64, shape (slices of all rows,), optional
        The tiles of phase 0, its slices before its long rows, come before those of phase 1, ...; default: one phase.
    longest_piece : int, optional
        Slots of the pieces of a long row, a multiple of ``height``, to which the last one is padded; for one part.
        Default: a long row is one piece, without padding.
    """
    device, (rows, parts) = length.device, length.shape
    width = slice_widths(torch.where(long[:, None], 0, length), height)
    if isinstance(slices, int):
        count, stored, slice_length = slices, torch.arange(slices, device=device), width[:slices]
    else:
        count, stored, slice_length = len(slices), slices, width[slices]
    long_row = long.nonzero().flatten()
    piece_row, piece_length, pieces = _cut_long_rows(length[long_row], height, longest_piece)
    tile_length = torch.cat([height * slice_length, piece_length])
    tile_row = torch.cat([height * stored, -1 - long_row[piece_row]])
    first_tile = torch.arange(len(tile_row), device=device)
    if phase is not None:
        by_phase = torch.argsort(torch.cat([phase[stored], phase[long_row[piece_row] // height]]), stable=True)
        tile_length, tile_row = tile_length[by_phase], tile_row[by_phase]
        first_tile[by_phase] = first_tile.clone()
    tile_start = offsets(tile_length.flatten())
    long_tile = first_tile[count + preceding(pieces)]

    lane = torch.arange(rows, device=device)
    tile = torch.div(lane, height, rounding_mode="floor")
    if not isinstance(slices, int) or phase is not None:
        of_slice = torch.zeros(len(width), dtype=torch.int64, device=device)
        of_slice[stored] = first_tile[:count]
        tile = of_slice[tile]
    tile[long_row] = long_tile
    starts = tile_start[:-1].view(-1, parts)
    first_slot = starts[tile.clamp(max=len(starts) - 1)] + torch.where(long, 0, lane % height)[:, None]
    return SlicePlan(
        height,
        tile_start,
        tile_row.to(torch.int32),
        long_row.to(torch.int32),
        torch.stack([long_tile, long_tile + pieces], 1).to(torch.int32),
        first_slot,
        torch.where(long, 1, height),
    )


def from_coordinates(
    rows: int,
    row: Tensor,
    column: Tensor,
    value: Tensor,
    *,
    height: int,
    longest: int,
    part: Tensor | None = None,
    sliced: int | None = None,
) -> SlicedEll:
    """Store nonzeros given in any order, none twice, with masked padding; in each part of a row columns ascend.

    Parameters
    ----------
    rows : int
    row, column : Tensor, int64, shape (m,)
    value : Tensor, shape (m,)
    height : int
        Rows of a slice.
    longest : int
        Rows of more nonzeros are stored by themselves.
    part : Tensor, shape (m,), optional
        0 or 1: two parts; default: one.
    sliced : int, optional
        The rows from here on are stored by themselves too, and have no slices.
    """
    device, parts = row.device, 1 if part is None else 2
    place = row if part is None else 2 * row + part
    order = torch.argsort(place * (int(column.max()) + 1 if len(column) else 1) + column)
    place, column, value = place[order], column[order], value[order]
    length = torch.bincount(place, minlength=parts * rows)
    rank = torch.arange(len(place), device=device) - preceding(length)[place]
    length = length.view(rows, parts)
    long = length.sum(1) > longest
    sliced = rows if sliced is None else sliced
    long[sliced:] = True
    plan = plan_slices(length, long, height, slices=-(-sliced // height))
    slot = plan.first_slot.view(-1)[place] + rank * plan.stride[torch.div(place, parts, rounding_mode="floor")]
    return plan.store_masked(slot, column, value)


def sort_within_windows(group: Tensor, groups: int, length: Tensor, longest: int) -> Tensor:
    """An order of rows: by group, and within each window of `SORTING_WINDOW` rows of a group by descending length.

    Parameters
    ----------
    group : Tensor, int64, shape (n,)
        0, 1, ..., ``groups`` - 1.
    length : Tensor, int64, shape (n,)
        0, 1, ..., ``longest``; rows of equal length stay in their order.
    """
    n, device = len(group), group.device
    by_group = torch.argsort(group, stable=True)
    first = preceding(torch.bincount(group, minlength=groups))
    window = torch.empty_like(group)
    window[by_group] = (torch.arange(n, device=device) - first[group[by_group]]) // SORTING_WINDOW
    windows = n // SORTING_WINDOW + 1
    return torch.argsort((group * windows + window) * (longest + 1) + longest - length, stable=True)


def slice_widths(length: Tensor, height: int) -> Tensor:
    """The longest row of each slice, shape (slices, parts), from the lengths (rows, parts)."""
    rows, parts = length.shape
    slices = -(-rows // height)
    if rows % height:
        length = torch.nn.functional.pad(length, (0, 0, 0, slices * height - rows))
    return length.view(slices, height, parts).amax(1)


def preceding(counts: Tensor) -> Tensor:
    """Sums of all counts before each."""
    return counts.cumsum(0) - counts


def spread(values: Tensor, counts: Tensor, total: int) -> Tensor:
    """Each of ``values`` so many times, ``total`` in all; does not wait for the device."""
    return torch.repeat_interleave(values, counts, output_size=total)


def _cut_long_rows(length: Tensor, height: int, longest_piece: int | None) -> tuple[Tensor, Tensor, Tensor]:
    """The long row of each piece, the slots of its parts, and the pieces of each long row."""
    rows = torch.arange(len(length), device=length.device)
    if longest_piece is None:
        return rows, length, torch.ones_like(rows)
    slots = (length[:, 0] + height - 1) // height * height
    pieces = (slots + longest_piece - 1) // longest_piece
    row = torch.repeat_interleave(rows, pieces)
    before = (torch.arange(len(row), device=length.device) - preceding(pieces)[row]) * longest_piece
    return row, (slots[row] - before).clamp(max=longest_piece)[:, None], pieces


def _relative(column: Tensor, tile_start: Tensor, height: int) -> tuple[Tensor, Tensor]:
    """Columns from the middle of their tile's, in 16 bits where all of them fit; and the tiles' middles, int32."""
    counts = tile_start.diff() // height
    rounds = column.view(-1, height)
    tile = spread(torch.arange(len(counts), device=column.device), counts, len(rounds))
    first = column.new_zeros(len(counts))
    last = first.scatter_reduce(0, tile, rounds.amax(1), "amax", include_self=False)
    first = first.scatter_reduce(0, tile, rounds.amin(1), "amin", include_self=False)
    base = first + (last - first + 1) // 2
    relative = rounds - base[tile][:, None]
    fits = bool((last - first < _REACH).all())
    return relative.flatten().to(torch.int16 if fits else torch.int32), base
