"""The sliced layout of the slots, built by torch operations where the model is.

A node's place in the layout is its *position*. Slots come in *tiles*, one for each program of a launch. The tile of a
*slice* holds the slots of ``ROWS`` consecutive positions: the j-th of lane l is at ``begin + ROWS j + l``, so that
neighbouring threads touch neighbouring addresses. A row that is much longer than the others would fill its slice with
padding; its slots stand in tiles of their own, side by side, and its sums are joined by a second launch. A padding slot
has weight zero and points at its own row. Columns count from a position in the middle of those that their tile points
at: where no tile reaches far, as in a grid, they take 16 bits.

Positions can be grouped by colours, so that a launch over the tiles of one colour is a phase of a sequential
sweep.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gabp.kernels.cuda.programs import ROWS

_WINDOW = 4096  # rows sorted by degree together: near in memory, equal in length
_PADDING_WORTH_A_SORT = 1.05  # slots with padding over slots without
_SHORTEST_LONG_ROW = 64
_LONG_TILE = 16 * ROWS  # slots
_MOST_POSITIONS = 2**31 - 1
_REACH = 2**16  # positions that 16 bits tell apart


@dataclass(frozen=True)
class Phase:
    """The tiles and long rows that one launch works on, and the position behind its rows."""

    first_tile: int
    tiles: int
    first_long: int
    long_rows: int
    behind: int


@dataclass(frozen=True, eq=False)
class Layout:
    """A symmetric model in position order; immutable.

    Attributes
    ----------
    start : Tensor, int64, shape (n + 1,)
        As given: slots of the nodes in row order.
    position : Tensor, int64, shape (n,)
        Of each node.
    node : Tensor, int32, shape (positions,)
        -1 where a position has none.
    first_slot, stride : Tensor, int64, shape (n,)
        The j-th slot of a node is at ``first_slot + j stride``.
    tile_start : Tensor, int64, shape (tiles + 1,)
    tile_row : Tensor, int32, shape (tiles,)
        The first position of a slice; ``-1 - position`` for a tile of a long row.
    tile_base : Tensor, int32, shape (tiles,)
        The position that the tile's columns count from.
    tile_behind : Tensor, int32, shape (tiles,)
        The position behind the rows of the tile's colour.
    long_row : Tensor, int32, shape (long rows,)
        Positions.
    long_tile : Tensor, int32, shape (long rows, 2)
        First tile of a long row and the one behind its last.
    phases : tuple of Phase
        One for each colour.
    column : Tensor, int16 or int32, shape (slots,)
        Position of the source, less the base of its tile.
    weight : Tensor, shape (slots,)
    diagonal : Tensor, shape (positions,)
        1 where there is no node.
    """

    start: Tensor
    position: Tensor
    node: Tensor
    first_slot: Tensor
    stride: Tensor
    tile_start: Tensor
    tile_row: Tensor
    tile_base: Tensor
    tile_behind: Tensor
    long_row: Tensor
    long_tile: Tensor
    phases: tuple[Phase, ...]
    column: Tensor
    weight: Tensor
    diagonal: Tensor

    @property
    def slots(self) -> int:
        """Places for messages, padding included."""
        return len(self.column)

    @property
    def positions(self) -> int:
        return len(self.node)

    @property
    def tiles(self) -> int:
        return len(self.tile_row)

    def slot_of_edges(self) -> Tensor:
        """Where the slots in row order are in the layout, shape (m,), int64."""
        degree = self.start.diff()
        first = self.first_slot - self.start[:-1] * self.stride
        edges = torch.arange(int(self.start[-1]), device=self.start.device)
        return _spread(first, degree, edges) + edges * _spread(self.stride, degree, edges)

    def to_positions(self, values: Tensor, filler: float = 0.0) -> Tensor:
        """(n, k) values in the order of the positions, (positions, k)."""
        out = values.new_full((self.positions, *values.shape[1:]), filler)
        return out.index_copy_(0, self.position, values)


def arrange(start: Tensor, source: Tensor, weight: Tensor, diagonal: Tensor, colour: Tensor | None = None) -> Layout:
    """Lay out a symmetric model, given as slots, for flooding, or for sweeps colour by colour.

    Parameters
    ----------
    start : Tensor, int64, shape (n + 1,)
    source : Tensor, int32, shape (m,)
    weight : Tensor, shape (m,)
    diagonal : Tensor, shape (n,)
    colour : Tensor, int64, shape (n,), optional
        0, 1, ...; no two neighbours share one.
    """
    plan = _plan(start, torch.zeros_like(start[:-1]) if colour is None else colour)
    slot = plan.slot_of_edges()
    column = _own_positions(plan)
    column[slot] = plan.position.to(torch.int32)[source.long()]
    padded = weight.new_zeros(len(column))
    padded[slot] = weight
    column, base = _relative(column, plan.tile_start)
    diagonal = plan.to_positions(diagonal, filler=1.0)
    return replace(plan, tile_base=base, column=column, weight=padded, diagonal=diagonal)


def _plan(start: Tensor, colour: Tensor) -> Layout:
    n, device = len(colour), start.device
    degree = start.diff()
    longest = max(_SHORTEST_LONG_ROW, 4 * (int(start[-1]) // n + 1))
    long = degree > longest
    group = 2 * colour + long  # short and long rows of colour 0, of colour 1, ...
    groups = 2 * int(colour.max()) + 2
    rows = torch.bincount(group, minlength=groups)
    padded = (rows + ROWS - 1) // ROWS * ROWS
    group_position, positions = _before(padded), int(padded.sum())
    if positions > _MOST_POSITIONS:
        raise ValueError("too many nodes for 32-bit indices")

    order = torch.argsort(group, stable=True)
    rank = torch.arange(n, device=device) - _before(rows)[group[order]]
    short_degree = torch.where(long, 0, degree)
    place = group_position[group[order]] + rank  # of order[i]
    width = _widths(place, short_degree[order], positions)
    if ROWS * int(width.sum()) > _PADDING_WORTH_A_SORT * int(short_degree.sum()) + 8 * ROWS:
        key = (group[order] * n + rank // _WINDOW) * (longest + 1) + longest - short_degree[order]
        order = order[torch.argsort(key, stable=True)]
        width = _widths(place, short_degree[order], positions)
    position = torch.empty_like(place)
    position[order] = place

    # the tiles: the slices of a colour, then those of its long rows
    slice_group = torch.repeat_interleave(torch.arange(groups, device=device), padded // ROWS)
    slices = (slice_group % 2 == 0).nonzero().flatten()
    long_row = position[long].sort().values
    long_node = torch.empty_like(place).new_full((positions,), 0)
    long_node[position] = torch.arange(n, device=device)
    slots_left = (degree[long_node[long_row]] + ROWS - 1) // ROWS * ROWS
    parts = (slots_left + _LONG_TILE - 1) // _LONG_TILE
    part_row = torch.repeat_interleave(torch.arange(len(long_row), device=device), parts)
    part = torch.arange(len(part_row), device=device) - _before(parts)[part_row]
    length = torch.cat([width[slices] * ROWS, (slots_left[part_row] - part * _LONG_TILE).clamp(max=_LONG_TILE)])
    code = torch.cat([slices * ROWS, -1 - long_row[part_row]])
    tile_group = torch.cat([slice_group[slices], group[long_node[long_row]][part_row]])
    by_group = torch.argsort(tile_group, stable=True)
    place_of_tile = torch.empty_like(by_group)
    place_of_tile[by_group] = torch.arange(len(by_group), device=device)
    tile_start = _offsets(length[by_group])

    first_part = place_of_tile[len(slices) + _before(parts)]
    tile_of_slice = torch.zeros(positions // ROWS, dtype=torch.int64, device=device)
    tile_of_slice[slices] = place_of_tile[: len(slices)]
    first_slot = tile_start[tile_of_slice[position // ROWS]] + position % ROWS
    first_slot[long_node[long_row]] = tile_start[first_part]

    behind = (group_position + padded)[1::2]
    node = torch.full((positions,), -1, dtype=torch.int32, device=device)
    node[position] = torch.arange(n, dtype=torch.int32, device=device)
    empty = torch.empty(0, device=device)
    return Layout(
        start=start,
        position=position,
        node=node,
        first_slot=first_slot,
        stride=torch.where(long, 1, ROWS),
        tile_start=tile_start,
        tile_row=code[by_group].to(torch.int32),
        tile_base=empty,
        tile_behind=behind[tile_group[by_group] // 2].to(torch.int32),
        long_row=long_row.to(torch.int32),
        long_tile=torch.stack([first_part, first_part + parts], 1).to(torch.int32),
        phases=_phases(tile_group, rows, behind),
        column=empty,
        weight=empty,
        diagonal=empty,
    )


def _phases(tile_group: Tensor, rows: Tensor, behind: Tensor) -> tuple[Phase, ...]:
    tiles = torch.bincount(tile_group // 2, minlength=len(behind))
    long_rows = rows[1::2]
    table = torch.stack([_before(tiles), tiles, _before(long_rows), long_rows, behind], 1)
    return tuple(Phase(*line) for line in table.tolist())


def _widths(place: Tensor, degree: Tensor, positions: int) -> Tensor:
    """The longest row of each slice, short rows only."""
    width = torch.zeros(positions // ROWS, dtype=torch.int64, device=place.device)
    return width.scatter_reduce_(0, place // ROWS, degree, "amax")


def _own_positions(plan: Layout) -> Tensor:
    """For each slot the position of its own row, which padding points at; int32."""
    length = plan.tile_start.diff()
    slots = torch.arange(int(plan.tile_start[-1]), device=length.device)
    lane = (slots - _spread(plan.tile_start[:-1], length, slots)) % ROWS
    code = _spread(plan.tile_row.long(), length, slots)
    return torch.where(code >= 0, code + lane, -1 - code).to(torch.int32)


def _relative(column: Tensor, tile_start: Tensor) -> tuple[Tensor, Tensor]:
    """Columns from the middle of their tile's, in 16 bits where all of them fit; and the tiles' middles, int32."""
    counts = tile_start.diff() // ROWS
    rounds = column.view(-1, ROWS)
    tile = torch.repeat_interleave(torch.arange(len(counts), device=column.device), counts, output_size=len(rounds))
    first = column.new_zeros(len(counts))
    last = first.scatter_reduce(0, tile, rounds.amax(1), "amax", include_self=False)
    first = first.scatter_reduce(0, tile, rounds.amin(1), "amin", include_self=False)
    base = first + (last - first + 1) // 2
    relative = rounds - base[tile][:, None]
    fits = bool((last - first < _REACH).all())
    return relative.flatten().to(torch.int16 if fits else torch.int32), base


def _spread(values: Tensor, counts: Tensor, like: Tensor) -> Tensor:
    return torch.repeat_interleave(values, counts, output_size=len(like))


def _before(counts: Tensor) -> Tensor:
    """Sums of all counts before each."""
    return counts.cumsum(0) - counts


def _offsets(counts: Tensor) -> Tensor:
    offsets = torch.zeros(len(counts) + 1, dtype=torch.int64, device=counts.device)
    torch.cumsum(counts, 0, out=offsets[1:])
    return offsets
