"""Sliced ELLPACK storage: every nonzero once, in either mode of padding."""

import numpy as np
import pytest
import torch

from gabp.kernels.torch.multigrid_levels import LONG_ROW, SLICE_HEIGHT
from gabp.kernels.torch.sliced_ell import SORTING_WINDOW, from_coordinates, plan_slices, preceding, sort_within_windows

HEIGHT, LONGEST = 4, 6


def random_matrix(rows: int) -> torch.Tensor:
    """A square matrix of short rows, empty ones and, every seventh, full ones."""
    rng = np.random.default_rng(rows)
    density = np.where(np.arange(rows) % 7 == 6, 1.0, rng.choice([0.0, 0.1, 0.2], rows))
    return torch.from_numpy(rng.uniform(1, 2, (rows, rows)) * (rng.random((rows, rows)) < density[:, None]))


def dense(rows: int, count: torch.Tensor, column: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    found = torch.zeros(len(count), rows, dtype=torch.float64)
    found[torch.repeat_interleave(torch.arange(len(count)), count), column] = value
    return found


@pytest.mark.parametrize("rows", [1, 20, 37])
def test_masked_padding_and_parts(rows):
    A = random_matrix(rows)
    row, column = A.nonzero().T
    given = torch.from_numpy(np.random.default_rng(0).permutation(len(row)))
    row, column = row[given], column[given]
    matrix = from_coordinates(
        rows, row, column, A[row, column], part=column > row, height=HEIGHT, longest=LONGEST, sliced=rows - rows // 10
    )
    assert int((matrix.column >= 0).sum()) == len(row)
    assert not matrix.value[matrix.column < 0].any()
    later = torch.arange(rows) > torch.arange(rows)[:, None]
    for first, last in ((0, rows), (rows // 3, rows // 2 + 1)):
        for parts, chosen in (((0, 1), ~later), ((1, 2), later), ((0, 2), torch.ones_like(later))):
            count, slot, columns = matrix.nonzeros(first, last, parts)
            found = dense(rows, count, columns, matrix.value[slot])
            assert torch.equal(found, torch.where(chosen, A, 0.0)[first:last])


@pytest.mark.parametrize("rows", [4, 20, 36])
@pytest.mark.parametrize("phases", [1, 2])
def test_padding_at_its_own_row_pieces_and_phases(rows, phases):
    A = random_matrix(rows)
    row, column = A.nonzero().T
    length = torch.bincount(row, minlength=rows)
    long = length > LONGEST
    phase = torch.arange(rows // HEIGHT) % phases
    plan = plan_slices(length[:, None], long, HEIGHT, slices=rows // HEIGHT, phase=phase, longest_piece=2 * HEIGHT)
    slot = plan.first_slot[row, 0] + (torch.arange(len(row)) - preceding(length)[row]) * plan.stride[row]
    matrix = plan.store_relative(slot, column, A[row, column])
    tile = torch.repeat_interleave(torch.arange(matrix.tiles), matrix.tile_start.diff())
    lane = (torch.arange(matrix.slots) - matrix.tile_start[tile]) % HEIGHT
    code = matrix.tile_row.long()[tile]
    own, source = torch.where(code >= 0, code + lane, -1 - code), matrix.tile_base[tile].long() + matrix.column
    padding = torch.ones(matrix.slots, dtype=torch.bool).index_fill_(0, slot, False)
    assert torch.equal(source[padding], own[padding]) and not matrix.value[padding].any()
    found = torch.zeros_like(A)
    found[own[slot], source[slot]] = matrix.value[slot]
    assert torch.equal(found, A)
    first_row = torch.where(matrix.tile_row >= 0, matrix.tile_row, -1 - matrix.tile_row).long()
    assert bool((phase[first_row // HEIGHT].diff() >= 0).all())
    for k, (first, last) in zip(long.nonzero().flatten().tolist(), matrix.long_tile.tolist(), strict=True):
        assert matrix.tile_row[first:last].tolist() == [-1 - k] * -(-int(length[k]) // (2 * HEIGHT))


def test_rows_are_sorted_by_length_within_windows_of_their_group():
    n = 2 * SORTING_WINDOW + 100
    generator = torch.Generator().manual_seed(0)
    group = (torch.rand(n, generator=generator) < 0.3).long()
    length = torch.randint(0, 9, (n,), generator=generator)
    order = sort_within_windows(group, 2, length, 8)
    assert torch.equal(order.sort().values, torch.arange(n)) and bool((group[order].diff() >= 0).all())
    for g in range(2):
        members = (group == g).nonzero().flatten()
        found = order[group[order] == g]
        for begin in range(0, len(members), SORTING_WINDOW):
            window = found[begin : begin + SORTING_WINDOW]
            assert torch.equal(window.sort().values, members[begin : begin + SORTING_WINDOW])
            assert bool((length[window].diff() <= 0).all())


def test_long_rows_are_stored_by_themselves():
    n = 2 * LONG_ROW
    row = torch.cat([torch.zeros(n, dtype=torch.int64), torch.arange(1, 40)])
    column = torch.cat([torch.arange(n), torch.zeros(39, dtype=torch.int64)])
    value = torch.ones(len(row), dtype=torch.float64)
    rows = from_coordinates(40, row, column, value, height=SLICE_HEIGHT, longest=LONG_ROW)
    assert rows.long_row.tolist() == [0]
    assert rows.slots == n + 64
