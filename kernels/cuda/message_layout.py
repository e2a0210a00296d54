"""The sliced layout of a symmetric model for message passing, built by tensor operations on the model's device.

A node's row in the layout is its *position*. A launch gives every tile of `gabp.kernels.torch.sliced_ell` one program:
its ``ROWS`` lanes are the rows of a slice, or share a piece of a long row, whose partial sums a second launch adds up.
Positions can be grouped by colours: a launch over the tiles of one colour is then a phase of a sequential sweep.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from gabp.kernels.cuda.sliced_ell import ROWS
from gabp.kernels.torch.sliced_ell import (
    SlicedEll,
    plan_slices,
    preceding,
    slice_widths,
    sort_within_windows,
    spread,
)

_PADDING_WORTH_A_SORT = 1.05  # slots with padding over slots without
_SHORTEST_LONG_ROW = 64
_LONGEST_PIECE = 16 * ROWS  # slots
_MOST_POSITIONS = 2**31 - 1


@dataclass(frozen=True)
class Phase:
    """The tiles and long rows that one launch works on, and the position after its rows."""

    first_tile: int
    tiles: int
    first_long: int
    long_rows: int
    end: int


@dataclass(frozen=True, eq=False)
class MessageLayout:
    """A symmetric model in position order; immutable.

    Attributes
    ----------
    matrix : SlicedEll
        The weights of the directed edges; columns are the positions of their sources, relative to the tiles.
    diagonal : Tensor, shape (positions,)
        1 where there is no node.
    node : Tensor, int32, shape (positions,)
        -1 where a position has none.
    position : Tensor, int64, shape (n,)
        Of each node.
    start : Tensor, int64, shape (n + 1,)
        First directed edge of each node in row order, as given.
    first_slot, stride : Tensor, int64, shape (n,)
        The j-th edge of a node is in slot ``first_slot + j stride``.
    tile_end : Tensor, int32, shape (tiles,)
        The position after the rows of the tile's colour.
    phases : tuple of Phase
        One for each colour.
    """

    matrix: SlicedEll
    diagonal: Tensor
    node: Tensor
    position: Tensor
    start: Tensor
    first_slot: Tensor
    stride: Tensor
    tile_end: Tensor
    phases: tuple[Phase, ...]

    @property
    def slots(self) -> int:
        """Places for messages, padding included."""
        return self.matrix.slots

    @property
    def column(self) -> Tensor:
        return self.matrix.column

    @property
    def positions(self) -> int:
        return len(self.node)

    def slot_of_edges(self) -> Tensor:
        """The slots of the directed edges in row order, shape (m,), int64."""
        return _slots_of_edges(self.start, self.first_slot, self.stride)

    def to_positions(self, values: Tensor, filler: float = 0.0) -> Tensor:
        """(n, k) values in the order of the positions, (positions, k)."""
        out = values.new_full((self.positions, *values.shape[1:]), filler)
        return out.index_copy_(0, self.position, values)


def arrange(
    start: Tensor, source: Tensor, weight: Tensor, diagonal: Tensor, colour: Tensor | None = None
) -> MessageLayout:
    """Lay out a symmetric model, given by its directed edges, for flooding, or for sweeps colour by colour.

    Parameters
    ----------
    start : Tensor, int64, shape (n + 1,)
    source : Tensor, int32, shape (m,)
    weight : Tensor, shape (m,)
    diagonal : Tensor, shape (n,)
    colour : Tensor, int64, shape (n,), optional
        0, 1, ...; no two neighbours share one.
    """
    n, device, degree = len(start) - 1, start.device, start.diff()
    longest = max(_SHORTEST_LONG_ROW, 4 * (int(start[-1]) // n + 1))
    long = degree > longest
    group = long.long() if colour is None else 2 * colour + long  # short and long rows of colour 0, of colour 1, ...
    position, positions, rows, padded = _place(group, torch.where(long, 0, degree), longest)
    slice_group = torch.repeat_interleave(torch.arange(len(rows), device=device), padded // ROWS)
    plan = plan_slices(
        degree.new_zeros(positions, 1).index_copy_(0, position, degree[:, None]),
        long.new_zeros(positions).index_copy_(0, position, long),
        ROWS,
        slices=(slice_group % 2 == 0).nonzero().flatten(),
        phase=slice_group // 2,
        longest_piece=_LONGEST_PIECE,
    )
    first_slot, stride = plan.first_slot[position, 0], plan.stride[position]
    slot = _slots_of_edges(start, first_slot, stride)
    node = torch.full((positions,), -1, dtype=torch.int32, device=device)
    node[position] = torch.arange(n, dtype=torch.int32, device=device)
    row = plan.tile_row.long()
    tile_phase = slice_group[torch.where(row >= 0, row, -1 - row) // ROWS] // 2
    end = padded.cumsum(0)[1::2]
    return MessageLayout(
        matrix=plan.store_relative(slot, position.to(torch.int32)[source.long()], weight),
        diagonal=diagonal.new_ones(positions).index_copy_(0, position, diagonal),
        node=node,
        position=position,
        start=start,
        first_slot=first_slot,
        stride=stride,
        tile_end=end[tile_phase].to(torch.int32),
        phases=_phases(tile_phase, rows[1::2], end),
    )


def _place(group: Tensor, length: Tensor, longest: int) -> tuple[Tensor, int, Tensor, Tensor]:
    """The position of each node, their number, the nodes of each group, and its positions, padded to whole slices."""
    n, device, groups = len(group), group.device, 2 * int(group.max() // 2) + 2
    rows = torch.bincount(group, minlength=groups)
    padded = (rows + ROWS - 1) // ROWS * ROWS
    positions = int(padded.sum())
    if positions > _MOST_POSITIONS:
        raise ValueError("too many nodes for 32-bit indices")
    order = torch.argsort(group, stable=True)
    place = preceding(padded - rows)[group[order]] + torch.arange(n, device=device)
    width = slice_widths(length.new_zeros(positions, 1).index_copy_(0, place, length[order, None]), ROWS)
    if ROWS * int(width.sum()) > _PADDING_WORTH_A_SORT * int(length.sum()) + 8 * ROWS:
        order = sort_within_windows(group, groups, length, longest)
    position = torch.empty_like(place)
    position[order] = place
    return position, positions, rows, padded


def _phases(tile_phase: Tensor, long_rows: Tensor, end: Tensor) -> tuple[Phase, ...]:
    tiles = torch.bincount(tile_phase, minlength=len(end))
    table = torch.stack([preceding(tiles), tiles, preceding(long_rows), long_rows, end], 1)
    return tuple(Phase(*line) for line in table.tolist())


def _slots_of_edges(start: Tensor, first_slot: Tensor, stride: Tensor) -> Tensor:
    degree, edges = start.diff(), torch.arange(int(start[-1]), device=start.device)
    first = first_slot - start[:-1] * stride
    return spread(first, degree, len(edges)) + edges * spread(stride, degree, len(edges))
